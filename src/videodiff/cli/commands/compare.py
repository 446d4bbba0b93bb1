"""compare: several runs side by side on the same clips, noise and protocol; tables, and one page that shows them."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videodiff.cli.arguments import LightParser
from videodiff.cli.condition import add_flags, conditions_of
from videodiff.words import real, whole, writable

ROOT = Path("report")  # a folder for each comparison in it

EPILOG = """examples:
  videodiff compare runs/vdm_digits runs/pvdm_digits --frames 16 --num_clips 64
  videodiff compare vdm_digits lvdm_digits --frames 16 --steps 10,25,50 --sampler ddim,dpmpp    # quality against steps
  videodiff compare vdm_digits pvdm_digits --long_frames 128                                    # drift of long video
  videodiff compare vdm_digits --guidance 0,1,2,4                       # unconditional, by class, and guided: a curve
  videodiff compare vdm_digits lvdm_digits --protocol evaluator:given=4:draws=4:best_of=4                 # prediction
  videodiff compare vdm_sky pvdm_sky --data.root data/sky --data.resolution 128 --data.resize antialias
"""
# Arguments of VideoDataModule that one reference for all runs may be given by.
REFERENCE = {
    "root": ("DIR", "folder of the real clips"),
    "dataset": ("NAME", "built-in set, in place of a folder"),
    "layout": ("NAME", "how the folder is laid out (default: detected)"),
    "preset": ("NAME", "split and reading of a paper's code"),
    "resolution": (
        "N|HxW",
        "height and width in pixels; generated clips of another size are brought to it by the same rule",
    ),
    "resize": (
        "RULE",
        "how frames get their size: antialias, bilinear, lanczos, squeeze, letterbox or decoder",
    ),
    "fps": ("F", "frames per second at which videos are read"),
    "frame_stride": ("N", "distance between the frames of a clip"),
    "view": ("CAMERA", "of BAIR: image_main or image_aux1"),
    "classes": ("HOW", "auto, folder or none"),
    "clip_list": ("FILE", "the videos to take"),
    "captions": ("HOW", "txt, FILE.csv, FILE.jsonl or generated: what models of words are told"),
    "held_out_words": ("'[TEXT, ...]'", "words by which clips are held out, for test_clips"),
    "test_clips": ("HOW", "all, or held_out"),
    "missing_captions": ("HOW", "empty, or leave_out"),
    "train_split": ("SPLIT", "train, or all"),
    "fold": ("N", "of UCF-101's split files"),
    "val_fraction": ("X", "share of the training videos kept for validation where there is no such split"),
    "num_train_clips": ("N", "limit of training videos"),
    "num_val_clips": ("N", "limit of validation videos"),
    "num_test_clips": ("N", "limit of test videos"),
}


def parser() -> argparse.ArgumentParser:
    """The options of ``compare``."""
    p = LightParser(
        "videodiff compare",
        usage="videodiff compare RUN... [options]",
        description="Compare trained models: same real clips, same noise, same sampler and steps, same protocol.\n"
        "Writes OUT/results.{json,csv,md,tex} and OUT/index.html.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("runs", nargs="+", metavar="RUN", help="run directory, name, RUN/best, RUN/last or a checkpoint file")
    add(
        "--protocol",
        metavar="P",
        help="how to measure, e.g. styleganv or random (built-in data: evaluator; else styleganv)",
    )
    add("--num_clips", type=whole(2), metavar="N", help="clips of each side (default: the protocol's)")
    add("--steps", type=whole_numbers, default=(50,), metavar="N[,N...]", help="sampler steps (default 50)")
    add(
        "--sampler",
        type=words,
        default=("ddim",),
        metavar="S[,S...]",
        help="ddim, dpmpp, ancestral (default ddim); the table shows the first with the first --steps",
    )
    add(
        "--clip_model",
        metavar="DIR",
        help="folder of CLIP as transformers saves it: also the similarity of frames to the words that clips were "
        "told, and of successive frames",
    )
    add_flags(p, besides="guidance")
    add(
        "--guidance",
        type=scales,
        metavar="W[,W...]",
        help="scale of classifier-free guidance, 1 is none and 0 without condition; several give a curve (default: the "
        "models')",
    )
    add(
        "--long_frames",
        type=whole(0),
        default=0,
        metavar="F",
        help="also generate videos of this many frames and measure their drift (default 0: none)",
    )
    add("--long_videos", type=whole(), default=8, metavar="N", help="number of long videos (default 8)")
    add(
        "--shown", type=whole(0), default=16, metavar="N", help="clips of each model on the page (default 16)"
    )
    add("--seed", type=int, default=0, help="seed of noise, real clips and windows (default 0)")
    add(
        "--batch_size",
        type=whole(1, 100_000),
        default=16,
        help="videos generated at once; does not change them (default 16)",
    )
    add("--device", default="auto", help="auto, cpu or cuda (default auto)")
    add(
        "--out",
        type=writable,
        metavar="DIR",
        help="where to write (default: a folder in report/, named after what is compared)",
    )
    add("--trust", action="append", default=[], metavar="MODULE", help="also allow classes of this module")
    add(
        "--keep_clips",
        action="store_true",
        help="also write OUT/clips.npz: the clips of the page, pixel for pixel",
    )
    add("--json", action="store_true", help="print the record on stdout instead of the table")
    reference = p.add_argument_group(
        "one reference",
        "Real clips for runs that were trained on differently made ones, e.g. at 64 and at 256 pixels. What is not\n"
        "given is what all runs have in common; with --data.root or --data.dataset defaults choose the videos.",
    )
    for name, (metavar, text) in REFERENCE.items():
        reference.add_argument(f"--data.{name}", metavar=metavar, help=text)
    return p


def reference_of(args: argparse.Namespace) -> dict[str, Any]:
    """What is given of the reference, checked as ``test`` checks its ``--data`` options.

    Raises:
        UsageError: for a value that no data module takes, led by its option.
    """
    given = {name: getattr(args, f"data.{name}") for name in REFERENCE}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return {}
    from videodiff.config import check_options

    words = [word for name, value in given.items() for word in (f"--data.{name}", value)]
    module = {"data": {"class_path": "videodiff.data.VideoDataModule", "init_args": {}}}
    return check_options(words, "test", module)["data"]["init_args"]


def check_some_there(runs: Sequence[str]) -> None:
    """Refuse names none of which is a run's, before torch is imported.

    Raises:
        FileNotFoundError: that names each and says which runs there are.
    """
    from videodiff.checkpoints import resolve_checkpoint
    from videodiff.say import none_can_be

    missing = []
    for run in runs:
        try:
            resolve_checkpoint(run)
            return
        except FileNotFoundError as error:
            missing.append(str(error))
        except (ValueError, OSError):  # there, and damaged: it is passed over by name
            return
    if missing:
        alone = len(missing) == 1
        words = missing[0] if alone else f"{none_can_be('compared', len(runs), 'run')} ({'; '.join(missing)})"
        raise FileNotFoundError(words)


def whole_numbers(text: str) -> tuple[int, ...]:
    """``10,25`` -> (10, 25)."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be whole numbers, e.g. 10,25,50, got {text!r}") from None


def scales(text: str) -> float | tuple[float, ...]:
    """``2`` -> 2.0, ``1,2,4`` -> (1.0, 2.0, 4.0)."""
    found = tuple(real(0)(word) for word in text.split(","))
    return found[0] if len(found) == 1 else found


def words(text: str) -> tuple[str, ...]:
    """``ddim,dpmpp`` -> ("ddim", "dpmpp")."""
    return tuple(text.split(","))


def run(argv: Sequence[str]) -> int:
    """Parse, compare, write, tell; returns the exit code."""
    args = parser().parse_args(argv)
    if args.protocol is not None:
        from videodiff.evaluation.protocol import get_protocol

        get_protocol(args.protocol)
    check_some_there(args.runs)
    if args.clip_model is not None:
        from videodiff.text.folder import check_clip

        check_clip(args.clip_model)
    from videodiff.comparison.folder import check_folder
    from videodiff.comparison.settings import Settings

    settings = Settings(
        args.protocol, args.num_clips, args.sampler, args.steps, args.frames, args.long_frames, args.long_videos,
        args.shown, args.seed, args.guidance, args.batch_size, args.device, tuple(args.trust), reference_of(args),
        {name: value for name, value in conditions_of(args).items() if name not in ("frames", "guidance")},
        args.clip_model,
    )  # fmt: skip
    if args.out is not None:
        check_folder(args.out)
    from videodiff.comparison import compare_runs

    places: list[Path] = []
    comparison, clips = compare_runs(
        args.runs, settings, Lines(), command_of(argv), lambda facts: places.append(place_of(args.out, facts))
    )
    (out,) = places
    write_report(comparison, clips, out)
    if args.keep_clips:
        from videodiff.comparison.stored_clips import write_clips

        write_clips(clips, out)
    if args.json:
        from videodiff.comparison.results import record_text

        print(record_text(comparison), end="")
        return 0
    from videodiff.comparison.formats import terminal

    print(terminal(comparison))
    print(f"\nreport: {out / 'index.html'}")
    return 0


def place_of(out: Path | None, facts: dict[str, Any]) -> Path:
    """The folder to write, made before generating: one of its own for every comparison unless one is named.

    Raises:
        FileExistsError: if what is there would be lost.
    """
    from videodiff.comparison.folder import check_folder, check_same
    from videodiff.comparison.names import report_name

    place = out or ROOT / report_name(facts)
    check_folder(place)
    check_same(place, facts)
    return place


def write_report(comparison: Any, clips: Any, out: Path) -> Path:
    """Write ``results.{json,csv,md,tex}`` and ``index.html``, each whole or not at all.

    Args:
        comparison: from :func:`~videodiff.comparison.compare_runs`.
        clips: of the page.
        out: folder; an older report in it is replaced, anything else refused.

    Returns:
        The page.
    """
    from videodiff.comparison import write_results
    from videodiff.report import write_page

    write_results(comparison, out)
    return write_page(comparison, clips, out / "index.html")


def command_of(argv: Sequence[str]) -> str:
    """The command as it can be given again; where it writes does not matter."""
    kept, queue = [], list(argv)
    while queue:
        word = queue.pop(0)
        if word == "--out":
            queue[:1] = []
        elif word not in ("--json", "--keep_clips") and not word.startswith("--out="):
            kept.append(word)
    return shlex.join(["videodiff", "compare", *kept])


class Lines:
    """Progress on stderr: in place on a terminal, else a line for every new thing and every half minute."""

    def __init__(self, every_seconds: float = 30.0) -> None:
        self.every_seconds, self.said, self.what = every_seconds, 0.0, ""
        self.began = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        now, terminal = time.monotonic(), sys.stderr.isatty()
        is_new = what != self.what
        if is_new:
            self.began = now
        if not is_new and now - self.said < (0.5 if terminal else self.every_seconds):
            return
        self.what, self.said = what, now
        left = f", {(now - self.began) / done * (total - done):.0f} s left" if done and not is_new else ""
        line = f"{what} {done}/{total}{left}"
        print(f"\r\033[K{line}" if terminal else f"videodiff: {line}", end="" if terminal else "\n",
              file=sys.stderr, flush=True)  # fmt: skip
