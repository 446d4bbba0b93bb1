"""demo: train the three models on the built-in data for equal time, and put them beside each other on one page."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videodiff.cli.arguments import LightParser
from videodiff.cli.errors import UsageError
from videodiff.names import shell_word

OVERLAY = "with/demo"
SECONDS_BESIDE = (
    25.0  # per model: loading, drawing and measuring, on two cores; only the time left is made of it
)


SAMPLER = "dpmpp"  # its last step starts where next to no noise is left: blacks are black in few steps


@dataclass(frozen=True)
class Stage:
    """One training of the demo.

    Args:
        title: what is said while it runs.
        config: shipped name.
        share: of the time of its model.
        first_stage: config of the training whose autoencoder it needs.
    """

    title: str
    config: str
    share: float = 1.0
    first_stage: str | None = None


# Equal time for each model: one training of VDM, two of the latent models.
STAGES = (
    Stage("VDM", "vdm_digits"),
    Stage("LVDM, first stage", "lvdm_autoencoder_digits", 0.4),
    Stage("LVDM, second stage", "lvdm_digits", 0.6, "lvdm_autoencoder_digits"),
    Stage("PVDM, first stage", "pvdm_autoencoder_digits", 0.4),
    Stage("PVDM, second stage", "pvdm_digits", 0.6, "pvdm_autoencoder_digits"),
)
MODELS = ("vdm_digits", "lvdm_digits", "pvdm_digits")


def parser() -> argparse.ArgumentParser:
    """The options of ``demo``."""
    p = LightParser(
        "videodiff demo",
        description="Train VDM, LVDM and PVDM on the built-in digits for the same time, compare them, write a page.",
    )
    p.add_argument("--minutes", type=float, default=7.0, help="of training, all models together (default 7)")
    p.add_argument("--steps", type=int, default=20, help="sampler steps (default 20)")
    p.add_argument(
        "--num_clips", type=int, default=64, help="clips of each model that are measured (default 64)"
    )
    p.add_argument(
        "-c",
        "--config",
        action="append",
        default=[],
        metavar="OVERLAY",
        help=f"laid over every model's config, repeatable (always: {OVERLAY})",
    )
    p.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="folder of the demo (default runs/demo)"
    )
    return p


def run(argv: Sequence[str]) -> int:
    """Train, compare, tell where the page is; returns the exit code."""
    args = parser().parse_args(argv)
    if not args.minutes > 0:
        raise UsageError(f"--minutes must be above 0, got {args.minutes}")
    for name, least in (("steps", 1), ("num_clips", 2)):
        if getattr(args, name) < least:
            raise UsageError(f"--{name} must be at least {least}, got {getattr(args, name)}")
    from videodiff.checkpoints import new_run_directory

    clock = Clock(args.minutes)
    folders = train_all(args, clock)
    report = new_run_directory("report", args.out)  # a demo that is run again keeps the report of the first
    clock.say("comparing: the same real clips, noise and sampler for all")
    frames = clip_frames([folders[name] for name in MODELS])
    call([
        "compare", *(str(folders[name]) for name in MODELS), "--out", str(report), "--frames", str(frames),
        "--sampler", SAMPLER, "--steps", str(args.steps), "--num_clips", str(args.num_clips),
        "--long_frames", str(3 * frames), "--long_videos", "4",
    ])  # fmt: skip
    clock.say("done")
    for line in verdicts(json.loads((report / "results.json").read_text(encoding="utf-8"))):
        print(line)
    print(
        f"\nreport: {(report / 'index.html').resolve()}\n\nnext:\n"
        f"  videodiff generate --ckpt_path {shell_word(folders['pvdm_digits'])} --frames 128 --num_samples 4\n"
        f"  videodiff fit --out {shell_word(folders['vdm_digits'])} --trainer.max_steps 8000     # go on training\n"
        "  videodiff fit --config vdm_digits --data.root my_videos/       # your own videos"
    )
    return 0


def verdicts(results: dict[str, Any]) -> list[str]:
    """Whether each model lies before clips made without one, by intervals that do not touch; what to do if not."""
    metrics = {"evaluator_fd": "evaluator-FD", "rand_fd": "rand-FD"}
    lines = ["", "before clips made without a model, by more than the 95 % intervals:"]
    is_behind = False
    for model in results["models"]:
        ours = model["draws"][0]["metrics"]
        said = []
        for baseline in results["baselines"]:
            theirs = baseline["metrics"]
            there = [key for key in metrics if has_interval(ours, key) and has_interval(theirs, key)]
            wins = [metrics[key] for key in there if ours[key]["interval"][1] < theirs[key]["interval"][0]]
            fails = [metrics[key] for key in there if metrics[key] not in wins]
            is_behind = is_behind or bool(fails)
            words = [f"yes in {', '.join(wins)}"] if wins else []
            words += [f"no in {', '.join(fails)}"] if fails else []
            said.append(f"{baseline['name']}: {'; '.join(words) or 'not measured'}")
        lines.append(f"  {model['name']:6s} {'   '.join(said)}")
    if is_behind:
        lines.append("  a no asks for more training; docs/results.md has sizes and times that get there")
    return lines


def has_interval(metrics: dict[str, Any], name: str) -> bool:
    """Whether a metric was measured with an interval."""
    return bool((metrics.get(name) or {}).get("interval"))


class Clock:
    """Lines on stderr with the time since the start and about how much is left.

    Args:
        minutes: of training, all models together.
    """

    def __init__(self, minutes: float) -> None:
        self.started = time.monotonic()
        self.training_left = 60 * minutes
        self.beside = SECONDS_BESIDE * len(MODELS)

    def say(self, text: str) -> None:
        """One line about what begins now."""
        left = "" if text == "done" else f", about {self.training_left + self.beside:.0f} s left"
        line = f"[demo {time.monotonic() - self.started:4.0f} s{left}] {text}"
        print(line, file=sys.stderr, flush=True)


def train_all(args: argparse.Namespace, clock: Clock) -> dict[str, Path]:
    """Train every stage for its share of the time; the run folder of each config."""
    from videodiff.checkpoints import new_run_directory

    folders: dict[str, Path] = {}
    for stage in STAGES:
        seconds = max(round(60 * args.minutes * stage.share / len(MODELS)), 1)
        folders[stage.config] = new_run_directory(stage.config, args.out)
        clock.say(f"{stage.title}: {seconds} s of training in {folders[stage.config]}")
        words = []
        if stage.first_stage is not None:
            words = ["--model.autoencoder.checkpoint", str(folders[stage.first_stage])]
        train(stage.config, [OVERLAY, *args.config], folders[stage.config], seconds, words)
        clock.training_left -= seconds
    return folders


def train(config: str, overlays: Sequence[str], folder: Path, seconds: int, words: Sequence[str]) -> None:
    """One training that stops when its time is up."""
    limit = f"00:{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    files = [word for name in (config, *overlays) for word in ("--config", name)]
    bounds = ["--trainer.max_time", limit, "--trainer.max_steps", "-1", "--samples.every_n_steps", "0"]
    call(["fit", *files, *words, "--out", str(folder), *bounds])


def clip_frames(folders: Sequence[Path]) -> int:
    """Frames of a clip that all models draw."""
    from videodiff.checkpoints import load_run

    return min(load_run(folder).video_shape[1] for folder in folders)


def call(argv: list[str]) -> None:
    """One videodiff command, in this process."""
    from videodiff.cli import main

    code = main(argv)
    if code != 0:
        raise SystemExit(code)
