"""demo: train the three models on the built-in data for equal time, and compare them on one page."""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videodiff.cli.arguments import LightParser
from videodiff.cli.demo_plan import MINUTES, MODELS, PROBE, Plan, Stage, plan
from videodiff.names import shell_word
from videodiff.usage import UsageError

OVERLAY = "with/demo"
SECONDS_BESIDE = (
    25.0  # per model: loading, generating and measuring, on two idle cores; only used for the time left
)
PROBE_STEPS, PROBE_SECONDS = 20, 30
WARM_STEPS = 3  # take longer than the others
SAMPLER = "dpmpp"  # its last step starts where next to no noise is left: blacks are black in few steps


def parser() -> argparse.ArgumentParser:
    """The options of ``demo``."""
    p = LightParser(
        "videodiff demo",
        description="Train VDM, LVDM and PVDM on the built-in digits for the same time, compare them, write a page.",
    )
    p.add_argument(
        "--minutes",
        type=float,
        help=f"approximate training time of all models together (default {MINUTES:g}, more on a slow or busy machine)",
    )
    p.add_argument("--steps", type=int, default=20, help="sampler steps (default 20)")
    p.add_argument("--num_clips", type=int, default=64, help="clips measured of each model (default 64)")
    p.add_argument(
        "-c",
        "--config",
        action="append",
        default=[],
        metavar="OVERLAY",
        help=f"overlay for every model's config, repeatable (always: {OVERLAY})",
    )
    p.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="folder of the demo (default runs/demo)"
    )
    return p


def run(argv: Sequence[str]) -> int:
    """Train, compare, print where the page is; returns the exit code."""
    args = parser().parse_args(argv)
    if args.minutes is not None and not 0 < args.minutes < math.inf:
        raise UsageError(f"--minutes must be above 0, got {args.minutes}")
    for name, least in (("steps", 1), ("num_clips", 2)):
        if getattr(args, name) < least:
            raise UsageError(f"--{name} must be at least {least}, got {getattr(args, name)}")
    from videodiff.checkpoints import new_run_directory

    clock = Clock()
    clock.say(f"measuring the speed of this machine: {PROBE_STEPS} steps of {PROBE.title}")
    slowness = measured_slowness([OVERLAY, *args.config])
    budget = plan(slowness, args.minutes)
    clock.expect(budget, slowness)
    if budget.line:
        clock.say(budget.line)
    models = list(MODELS)[: budget.models]
    folders = train_all(models, budget, args, clock)
    report = new_run_directory("report", args.out)  # a demo that is run again keeps the report of the first
    clock.say("comparing: the same real clips, noise and sampler for all")
    frames = clip_frames([folders[name] for name in models])
    call([
        "compare", *(str(folders[name]) for name in models), "--out", str(report), "--frames", str(frames),
        "--sampler", SAMPLER, "--steps", str(args.steps), "--num_clips", str(args.num_clips),
        "--long_frames", str(3 * frames), "--long_videos", "4",
    ])  # fmt: skip
    clock.end()
    for line in verdicts(json.loads((report / "results.json").read_text(encoding="utf-8"))):
        print(line)
    print(
        f"\nreport: {(report / 'index.html').resolve()}\n\nnext:\n"
        f"  videodiff generate --ckpt_path {shell_word(folders[models[-1]])} --frames 128 --num_samples 4\n"
        f"  videodiff fit --out {shell_word(folders['vdm_digits'])} --trainer.max_steps 8000     # go on training\n"
        "  videodiff fit --config vdm_digits --data.root my_videos/       # your own videos"
    )
    return 0


def verdicts(results: dict[str, Any]) -> list[str]:
    """Whether each model lies before clips made without one, by intervals that do not touch; what to do if not."""
    from videodiff.metrics.directory import metric_info

    metrics = {name: metric_info(name).label for name in ("evaluator_fd", "rand_fd")}
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
    """Lines on stderr with the time since the start and, once there is a plan, about how much is left."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.training_left: float | None = None
        self.beside, self.pace = 0.0, 1.0

    def expect(self, budget: Plan, slowness: float) -> None:
        """Count on a plan from now on."""
        self.training_left = 60 * budget.minutes
        self.beside = SECONDS_BESIDE * budget.models * slowness

    def trained(self, planned: float, taken: float) -> None:
        """A training is over; those that follow are expected to be as much slower than planned."""
        self.training_left = (self.training_left or 0.0) - planned
        self.pace = taken / planned

    def say(self, text: str) -> None:
        """One line about what begins now."""
        left = ""
        if self.training_left is not None:
            left = f", about {max(self.training_left, 0.0) * self.pace + self.beside:.0f} s left"
        self.line(left, text)

    def end(self) -> None:
        """The last line."""
        self.line("", "done")

    def line(self, left: str, text: str) -> None:
        """One line with the time since the start."""
        print(f"[demo {time.monotonic() - self.started:4.0f} s{left}] {text}", file=sys.stderr, flush=True)


def measured_slowness(overlays: Sequence[str]) -> float:
    """Time that a training step takes here and now, over that on the machine of the plan."""
    from videodiff.callbacks.record import read_metrics

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "probe"
        bounds = ["--trainer.max_time", f"00:00:00:{PROBE_SECONDS}", "--trainer.log_every_n_steps", "1"]
        bounds += ["--trainer.limit_val_batches", "0"]
        train(PROBE, overlays, run, PROBE_STEPS, bounds)
        lines = read_metrics(run / "metrics.jsonl")
    name = "throughput/seconds_per_step"
    seconds = [line[name] for line in lines if name in line]
    return statistics.median(seconds[WARM_STEPS:] or seconds[-1:]) * PROBE.steps / PROBE.seconds


def train_all(models: Sequence[str], budget: Plan, args: argparse.Namespace, clock: Clock) -> dict[str, Path]:
    """Train every stage for its share of the plan; the run folder of each config."""
    from videodiff.checkpoints import new_run_directory

    folders: dict[str, Path] = {}
    whole = sum(stage.seconds for name in models for stage in MODELS[name])
    for stage in (stage for name in models for stage in MODELS[name]):
        steps, planned = budget.steps(stage), 60 * budget.minutes * stage.seconds / whole
        folders[stage.config] = new_run_directory(stage.config, args.out)
        clock.say(
            f"{stage.title}: {steps} steps, about {planned * clock.pace:.0f} s, in {folders[stage.config]}"
        )
        words = []
        if stage.first_stage is not None:
            words = ["--model.autoencoder.checkpoint", str(folders[stage.first_stage])]
        began = time.monotonic()
        train(stage, [OVERLAY, *args.config], folders[stage.config], steps, words)
        clock.trained(planned, time.monotonic() - began)
    return folders


def train(stage: Stage, overlays: Sequence[str], folder: Path, steps: int, words: Sequence[str]) -> None:
    """One training; a rate that falls over a number of steps falls over these."""
    from videodiff.config import find_config, read_configs

    names = (stage.config, *overlays)
    bounds = ["--trainer.max_steps", str(steps), "--samples.every_n_steps", "0"]
    rates = (
        read_configs([find_config(name) for name in names], "fit")["model"]["init_args"].get("lr_scheduler")
        or {}
    )
    if "total_iters" in rates.get("init_args", {}):
        bounds += ["--model.lr_scheduler.total_iters", str(steps)]
    files = [word for name in names for word in ("--config", name)]
    call(["fit", *files, *words, "--out", str(folder), *bounds])


def clip_frames(folders: Sequence[Path]) -> int:
    """Number of frames of a clip that all models can generate."""
    from videodiff.checkpoints import load_run

    return min(load_run(folder).video_shape[1] for folder in folders)


def call(argv: list[str]) -> None:
    """One videodiff command, in this process."""
    from videodiff.cli import main

    code = main(argv)
    if code != 0:
        raise SystemExit(code)
