"""demo: train the three models on the built-in data for equal time, and compare them on one page that grows."""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videodiff.cli.arguments import LightParser
from videodiff.cli.demo_page import EVERY_S
from videodiff.cli.demo_plan import MINUTES, MODELS, PROBE, Lanes, Plan, Stage, in_order, makespan, plan
from videodiff.cli.errors import one_line
from videodiff.cores import cores
from videodiff.names import shell_word
from videodiff.usage import UsageError
from videodiff.words import writable

if TYPE_CHECKING:
    from videodiff.cli.demo_page import DemoPage
    from videodiff.cli.side_by_side import SideBySide, Training

OVERLAY = "with/demo"
# Of each model on two idle cores, only used for the time left: opening it; generating and measuring 64 clips and four
# long videos in 20 steps.
SECONDS_OPENING, SECONDS_MEASURING = 5.0, 20.0
BESIDE_OTHERS = (
    1.65  # how much longer a step takes where two trainings share two cores than one alone with both
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
        "--out", type=writable, default=Path("runs/demo"), help="folder of the demo (default runs/demo)"
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
    overlays = [OVERLAY, *args.config]
    check_configs(overlays)
    from videodiff.cli.side_by_side import SideBySide, get_ready

    clock = Clock()
    get_ready()
    from videodiff.checkpoints import new_run_directory
    from videodiff.cli.demo_page import DemoPage

    place = new_run_directory("report", args.out)  # a demo that is run again keeps the report of the first
    lanes, trainings = Lanes.of(cores()), []
    page = DemoPage(place / "index.html", overlays, args.steps, SAMPLER)
    try:
        page.write()
        clock.say(f"open it now, it grows and reloads itself: {page.path.resolve()}")
        show_shipped(page, clock)
        beside = f", {lanes.count} at a time" if lanes.count > 1 else ""
        clock.say(f"measuring the speed of this machine: {PROBE_STEPS} steps of {PROBE.title}{beside}")
        slowness = measured_slowness(overlays, lanes)
        page.plan = budget = plan(slowness, args.minutes, lanes.count)
        measuring = SECONDS_MEASURING * args.num_clips * args.steps / (64 * 20)
        clock.expect(budget, lanes, (SECONDS_OPENING + measuring) * (budget.models + len(page.shipped)))
        if budget.line:
            clock.say(budget.line)
        with SideBySide(lanes.count, lanes.threads) as side, threads(1):
            trainings = side.all = planned(budget, lanes.count, overlays, args.out)
            train_all(side, budget, page, clock)
        done = {each.name: each.folder for each in trainings if each.state == "done"}
        models = [name for name in budget.names if page.trained_name(name) in page.runs]
        if not models:
            raise RuntimeError("; ".join(f"{each.name}: {each.reason}" for each in trainings if each.reason))
        page.now = "Trained; measuring all models. A page with figures follows."
        page.write(trainings)
        clock.say("comparing: the same real clips, noise and sampler for all")
        compare(page, trainings, args, place)
    except BaseException as error:
        page.write(trainings, f"The demo was ended before its end: {one_line(error)}.")
        raise
    clock.end()
    for line in verdicts(json.loads((place / "results.json").read_text(encoding="utf-8"))):
        print(line)
    tell_next(place, done, models, page.shipped)
    return int(len(models) < budget.models)


def check_configs(overlays: Sequence[str]) -> None:
    """Find every mistake in the overlays that the texts show, before anything is loaded or begun."""
    from videodiff.config import find_config

    for name in overlays:
        find_config(name)


def tell_next(place: Path, done: dict[str, Path], models: Sequence[str], shipped: dict[str, str]) -> None:
    """Where the page is, and commands to go on with."""
    best = next(reversed(shipped.values()), None)
    of_shipped = (
        f"  videodiff generate --ckpt_path {best} --num_samples 16     # comes with videodiff\n"
        if best
        else ""
    )
    print(
        f"\nreport: {(place / 'index.html').resolve()}\n\nnext:\n{of_shipped}"
        f"  videodiff generate --ckpt_path {shell_word(done[models[-1]])} --frames 128 --num_samples 4\n"
        f"  videodiff fit --out {shell_word(done[models[0]])} --trainer.max_steps 8000     # go on training\n"
        "  videodiff fit --config vdm_digits --data.root my_videos/       # your own videos"
    )


def show_shipped(page: "DemoPage", clock: "Clock") -> None:
    """The clips of the models that come with the package, one after the other; one line for each."""
    from videodiff.checkpoints.shipped import shipped_names

    wanted = [name for name in shipped_names() if name.partition("/")[2] in MODELS]
    for name in wanted:
        try:
            clock.say(page.add_shipped(name))
        except (ValueError, RuntimeError, OSError) as error:  # the demo can do without
            clock.say(f"{name} is left out: {one_line(error)}")
        page.write()
    if not wanted:
        clock.say("no trained models come with this installation; clips follow with the first training")


def compare(page: "DemoPage", trainings: "Sequence[Training]", args: argparse.Namespace, place: Path) -> None:
    """Measure all models of the page by one protocol, and put a page with figures in place of the growing one.

    Args:
        page: the growing one; it says how far measuring is.
        trainings: that it tells of.
        args: of the command.
        place: folder of the page.
    """
    from videodiff.checkpoints.shipped import shipped_record
    from videodiff.cli.commands.compare import Lines, command_of, write_report
    from videodiff.comparison import Settings, compare_runs

    runs = {page.runs[name].spec: page.runs[name] for name in page.names() if name in page.runs}
    frames = min(run.frames for run in runs.values())
    words = [
        *runs, "--frames", str(frames), "--sampler", SAMPLER, "--steps", str(args.steps), "--num_clips",
        str(args.num_clips), "--long_frames", str(3 * frames), "--long_videos", "4",
    ]  # fmt: skip
    settings = Settings(
        num_clips=args.num_clips, samplers=(SAMPLER,), steps=(args.steps,), frames=frames, long_frames=3 * frames,
        long_videos=4,
    )  # fmt: skip
    lines = Lines()

    def progress(what: str, done: int, total: int) -> None:
        lines(what, done, total)
        page.beat(f"Trained; measuring: {what} {done} of {total}. A page with figures follows.", trainings)

    comparison, clips = compare_runs(list(runs), settings, progress, command_of(words), opened=runs)
    for model in comparison.models:
        if model.run in page.shipped.values():
            record = shipped_record(model.run)
            model.training.seconds = model.training.seconds or 60 * record["minutes"]
            model.warnings.append(
                f"comes with videodiff as {model.run}: trained on {record['machine']}, not by this demo"
            )
    write_report(comparison, clips, place)


def verdicts(results: dict[str, Any]) -> list[str]:
    """Whether each model lies before clips made without one, by intervals that do not touch; what to do if not."""
    from videodiff.metrics.directory import metric_info

    metrics = {name: metric_info(name).label for name in ("evaluator_fd", "rand_fd")}
    lines = ["", "before clips made without a model, by more than the 95 % intervals:"]
    is_behind, width = False, max(len(model["name"]) for model in results["models"])
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
        lines.append(f"  {model['name']:{width}s} {'   '.join(said)}")
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
        self.until: float | None = None
        self.training = self.beside = 0.0
        self.planned, self.taken = 0.0, 0.0

    def expect(self, budget: Plan, lanes: Lanes, beside: float) -> None:
        """Count on a plan from now on, and on seconds of two idle cores for what is done when it is over."""
        self.until = time.monotonic()
        self.training = makespan(budget.names, lanes.count) * budget.share * budget.pace
        self.beside = beside * budget.pace / (BESIDE_OTHERS if lanes.count > 1 else 1.0)

    def trained(self, planned: float, taken: float) -> None:
        """A training is over; those that follow are expected to be as much slower than planned."""
        self.planned, self.taken = self.planned + planned, self.taken + taken

    @property
    def pace(self) -> float:
        """Seconds that trainings took for one that was planned."""
        return self.taken / self.planned if self.planned else 1.0

    def left(self) -> float | None:
        """Seconds, about; None before there is a plan."""
        if self.until is None:
            return None
        return max(self.training * self.pace - (time.monotonic() - self.until), 0.0) + self.beside

    def say(self, text: str) -> None:
        """One line about what begins now."""
        left = self.left()
        self.line("" if left is None else f", about {left:.0f} s left", text)

    def end(self) -> None:
        """The last line."""
        self.line("", "done")

    def line(self, left: str, text: str) -> None:
        """One line with the time since the start."""
        print(f"[demo {time.monotonic() - self.started:4.0f} s{left}] {text}", file=sys.stderr, flush=True)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside, this process computes in so many threads: trainings have the others."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measured_slowness(overlays: Sequence[str], lanes: Lanes) -> float:
    """Time that a training step takes here and now, beside as many others as there will be, over that of the plan."""
    from videodiff.callbacks.record import read_metrics
    from videodiff.cli.side_by_side import SideBySide, Training

    bounds = ["--trainer.max_time", f"00:00:00:{PROBE_SECONDS}", "--trainer.log_every_n_steps", "1"]
    bounds += ["--trainer.limit_val_batches", "0"]
    name, found = "throughput/seconds_per_step", []
    with tempfile.TemporaryDirectory() as place, SideBySide(lanes.count, lanes.threads) as side:
        for number in range(lanes.count):
            folder = Path(place) / f"probe_{number}"
            words = fit_words(PROBE, overlays, folder, PROBE_STEPS, bounds)
            side.all.append(Training(folder.name, words, Path(place) / f"{number}.log", folder))
        side.begin()
        while not side.is_over:
            for probe in side.wait(EVERY_S):
                if probe.state == "failed":
                    raise (UsageError if probe.code == 2 else RuntimeError)(probe.reason)
        for probe in side.all:
            lines = read_metrics(probe.folder / "metrics.jsonl")
            seconds = [line[name] for line in lines if name in line]
            found.append(statistics.median(seconds[WARM_STEPS:] or seconds[-1:]))
    return statistics.mean(found) * PROBE.steps / PROBE.seconds


def planned(budget: Plan, lanes: int, overlays: Sequence[str], out: Path) -> "list[Training]":
    """The trainings of a plan in their order, each with a run folder of its own."""
    from videodiff.checkpoints import new_run_directory
    from videodiff.cli.side_by_side import Training

    stages = in_order(budget.names, lanes)
    folders = {stage.config: new_run_directory(stage.config, out) for stage in stages}
    found = []
    for stage in stages:
        folder, words = folders[stage.config], []
        if stage.first_stage is not None:
            words = ["--model.autoencoder.checkpoint", str(folders[stage.first_stage])]
        words = fit_words(stage, overlays, folder, budget.steps(stage), words)
        log = folder.with_name(f"{folder.name}.log")
        found.append(Training(stage.config, words, log, folder, stage.first_stage))
    return found


def train_all(side: "SideBySide", budget: Plan, page: "DemoPage", clock: Clock) -> None:
    """Train every stage for its share of the plan; the page grows with each, and on a beat."""
    stages = {stage.config: stage for name in MODELS for stage in MODELS[name]}
    begin(side, stages, budget, clock)
    while not side.is_over:
        ended = side.wait(EVERY_S)
        for each in ended:
            if each.state == "failed":
                clock.say(f"{stages[each.name].title} failed: {each.reason} (log {each.log})")
            else:
                clock.trained(budget.seconds(stages[each.name]), each.seconds)
                clock.say(f"{stages[each.name].title}: trained in {each.seconds:.0f} s")
        begin(
            side, stages, budget, clock
        )  # before the clips of those that ended, so that no core waits for them
        for each in ended:
            if each.state == "done":
                show(page, each, clock)
        page.now = f"Training: about {(clock.left() or 0.0) / 60:.0f} minutes are left, measuring included."
        page.write(side.all)


def begin(side: "SideBySide", stages: dict[str, Stage], budget: Plan, clock: Clock) -> None:
    """Begin the trainings that there is room for, with a line for each."""
    for each in side.begin():
        stage = stages[each.name]
        if each.state == "failed":
            clock.say(f"{stage.title} is left out: {each.reason}")
            continue
        seconds = budget.seconds(stage) * clock.pace
        clock.say(f"{stage.title}: {budget.steps(stage)} steps, about {seconds:.0f} s, log {each.log}")


def show(page: "DemoPage", training: "Training", clock: Clock) -> None:
    """Put what a training has reached on the page."""
    model = next(name for name in MODELS if training.name in [stage.config for stage in MODELS[name]])
    try:
        if training.name == model:
            page.add_trained(model, training.folder)
        else:
            page.add_first_stage(model, training.folder)
    except (ValueError, RuntimeError) as error:  # of what it generates: the others have a page to fill
        clock.say(f"no clips of {training.name}: {one_line(error)}")


def fit_words(
    stage: Stage, overlays: Sequence[str], folder: Path, steps: int, words: Sequence[str] = ()
) -> list[str]:
    """The words of one training; a rate that falls over a number of steps falls over these."""
    from videodiff.config import find_config, read_configs

    names = (stage.config, *overlays)
    bounds = ["--trainer.max_steps", str(steps), "--samples.every_n_steps", "0"]
    model = read_configs([find_config(name) for name in names], "fit")["model"]["init_args"]
    if "total_iters" in (model.get("lr_scheduler") or {}).get("init_args", {}):
        bounds += ["--model.lr_scheduler.total_iters", str(steps)]
    files = [word for name in names for word in ("--config", name)]
    return ["fit", *files, "--out", str(folder), *bounds, *words]
