"""prepare: a data set checked, resized once and written in a form that is fast to read."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videodiff.cli.arguments import LightParser
from videodiff.cli.outputs import output_folder
from videodiff.cores import cores
from videodiff.frame_size import size_option
from videodiff.names import shell_word
from videodiff.say import counted, none_can_be
from videodiff.usage import UsageError, did_you_mean
from videodiff.words import real, whole, writable

EPILOG = """forms:
  video    one mp4 per video with a key frame every 12 frames (default); --quality lossless keeps every bit
  packed   uint8 frames in one file per split, so that training decodes nothing; 12 KiB per frame of 64 x 64
  shards   webdataset tar files of such mp4s, which training can also read over http

To resume an interrupted prepare, repeat the command; the resulting bytes are the same.

examples:
  videodiff prepare my_videos/ --check
  videodiff prepare my_videos/ --size 64 --out data/mine
  videodiff prepare phone/ --size 80x48 --resize letterbox --out data/portrait
  videodiff prepare ucf101 --size 64 --frames 16 --form packed --out data/ucf101
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``prepare``."""
    p = LightParser(
        "videodiff prepare",
        description="Check a data set, resize it once, and write it in a form that is fast to read.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("source", metavar="NAME|DIR", help="a public data set by name, or any folder of videos or frames")
    add("--out", type=writable, help="folder to write")
    add("--size", type=size_option(1, 32_768), metavar="N|HxW", default=64,
        help="height and width of the frames in pixels, one number for a square (default 64)")  # fmt: skip
    add("--frames", type=whole(), default=1, help="leave out videos with fewer frames (default 1)")
    add(
        "--fps",
        type=real(most=10_000),
        help="resample every video to this rate by nearest frames (default: keep every frame)",
    )
    add("--form", default="video", help="video, packed or shards (default video)")
    add("--quality", default="high", help="quality of videos: high (about 45 dB) or lossless (default high)")
    add(
        "--resize",
        default="antialias",
        help="resize rule, the same as data.resize of training: antialias, which crops to the proportions (default), "
        "letterbox, squeeze, ...",
    )
    add("--layout", default="auto", help="layout of the folder, as in data.layout (default: detected)")
    add(
        "--classes",
        default="auto",
        choices=("auto", "folder", "none"),
        help="source of the classes, as in data.classes (default auto)",
    )
    add("--captions", metavar="HOW", help="txt, a .csv or a .jsonl file, as in data.captions (default none)")
    add(
        "--val_fraction",
        type=float,
        default=0.1,
        help="share held out for validation if there is no val split (default 0.1)",
    )
    add(
        "--downloads",
        type=Path,
        default=Path("data/downloads"),
        help="folder for downloads of public sets (default data/downloads)",
    )
    add("--workers", type=whole(0, 1024), help="processes (default: one per core, at most 16)")
    add("--check", action="store_true", help="only read every video and report; write nothing")
    add("--json", action="store_true", help="print the report on stdout as JSON")
    return p


def run(argv: Sequence[str]) -> int:
    """Parse, prepare or check, report; returns the exit code."""
    args = parser().parse_args(argv)
    if args.out is None and not args.check:
        raise UsageError("prepare needs --out DIR (or --check, which writes nothing)")
    check_source(args.source)
    workers = min(cores(), 16) if args.workers is None else args.workers
    from videodiff.data.prepare import Settings

    settings = {
        name: getattr(args, name)
        for name in (
            "size",
            "frames",
            "fps",
            "form",
            "quality",
            "resize",
            "layout",
            "classes",
            "captions",
            "val_fraction",
        )
    }
    _checked(Settings, settings)  # before anything is fetched
    root, layout = find_set(args)
    report = work(args, root, _checked(Settings, {**settings, "layout": layout}), workers)
    print(json.dumps(report.as_dict(), indent=1) if args.json else table(report, args.out))
    if not report.kept:
        raise UsageError(none_can_be("used", len(report.lines), "video", str(root)))
    return 0


def _checked(build: Any, settings: dict[str, Any]) -> Any:
    try:
        return build(**settings)
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def work(args: argparse.Namespace, root: str, settings: Any, workers: int) -> Any:
    """Check, verify or prepare; a folder that cannot be written is refused before the work begins."""
    from videodiff.data.prepare import check, prepare, verify
    from videodiff.data.prepared import is_prepared

    line = ProgressLine("check" if args.check else "prepare")
    if args.check:
        try:
            return verify(root, line) if is_prepared(root) else check(root, settings, workers, line)
        finally:
            line.close()
    with output_folder(args.out, goes_on=True):
        try:
            return prepare(root, str(args.out), settings, workers, line)
        finally:
            line.close()


def check_source(source: str) -> None:
    """Refuse what is neither a folder nor a public set.

    Raises:
        UsageError: with the nearest name.
    """
    from videodiff.data.download import SETS

    if not os.path.exists(source) and source not in SETS:
        raise UsageError(
            f"no folder and no public data set {source!r}{did_you_mean(source, SETS)}; sets: {', '.join(SETS)}"
        )


def find_set(args: argparse.Namespace) -> tuple[str, str]:
    """Folder and layout of a data set: a folder as it is, a public set by its name.

    Raises:
        UsageError: for a folder that was prepared already.
        FileNotFoundError: for a public set that must be fetched by hand.
    """
    source = args.source
    if os.path.exists(source):
        from videodiff.data.prepared import is_prepared

        if is_prepared(source) and not args.check:
            raise UsageError(
                f"{source} is prepared already; prepare it from its source, or verify it with --check"
            )
        return source, args.layout
    from videodiff.data.download import SETS, obtain

    root = obtain(source, args.downloads / source, lambda line: print(line, file=sys.stderr, flush=True))
    return str(root), SETS[source].layout if args.layout == "auto" else args.layout


class ProgressLine:
    """Videos or clips done, speed and time left, on stderr: in place on a terminal, else a line every half minute.

    Args:
        what: is being done.
        unit: what is counted.
    """

    def __init__(self, what: str, unit: str = "videos") -> None:
        self.what, self.unit = what, unit
        self.began, self.last = time.monotonic(), 0.0
        self.first: int | None = None
        self.is_open = False

    def __call__(self, done: int, total: int, left_out: int) -> None:
        now = time.monotonic()
        self.first = done - 1 if self.first is None else self.first  # what an earlier call had finished
        terminal = sys.stderr.isatty()
        if done < total and now - max(self.last, self.began) < (0.5 if terminal else 30.0):
            return
        if done == total and not terminal and now - self.began < 30.0:
            return
        self.last = now
        speed = (done - self.first) / max(now - self.began, 1e-6)
        text = (
            f"{self.what}  {done}/{total} {self.unit}  {left_out} left out  {speed:.3g} {self.unit}/s  "
            f"{(total - done) / max(speed, 1e-6):.0f} s left"
        )
        print(
            f"\r\033[K{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True
        )
        self.is_open = terminal

    def close(self) -> None:
        """End the line on a terminal."""
        if self.is_open:
            print(file=sys.stderr)
        self.is_open = False


def table(report: Any, out: Path | None) -> str:
    """The report for people: counts, and every video left out with its reason."""
    record = report.as_dict()
    from videodiff.data.suffix import by_suffix

    rows = [
        f"{counted(len(report.lines), 'video')}, {sum(report.kept.values())} good, "
        f"{counted(record['frames'], 'frame')} in them"
    ]
    if report.formats:
        rows.append(f"  read as video: {by_suffix(report.formats)}")
    rows += [f"  {split:12}{count:8}" for split, count in report.kept.items()]
    rows += [f"  {reason:12}{count:8}  left out" for reason, count in sorted(report.reasons.items())]
    if report.duplicates:
        rows.append(f"  {'duplicate':12}{report.duplicates:8}  the same bytes as another video (kept)")
    rows += [f"  {note}" for note in report.notes]
    rows += [f"{line['path']}: {line['reason']}: {line['message']}" for line in record["bad"]]
    if report.form is not None and out is not None:
        rows.append(
            f"{out}: {report.form}, {report.num_bytes / 1e6:.1f} MB; train with --data.root {shell_word(out)}"
        )
    return "\n".join(rows)
