"""A leaderboard being made: checks, the speed of trainings, trainings and evaluations side by side, the page."""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml

from videodiff import atomic
from videodiff.callbacks.budget import SECONDS, spent
from videodiff.callbacks.record import read_metrics
from videodiff.checkpoints import load_checkpoint, resolve_checkpoint
from videodiff.cli.leaderboard_plan import (
    MODEL,
    WARM_STEPS,
    Job,
    Stage,
    System,
    fit_words,
    probe_words,
    to_probe,
)
from videodiff.cli.side_by_side import SideBySide, Training, get_ready
from videodiff.comparison.compare import asked_protocol
from videodiff.comparison.folder import CLIPS
from videodiff.comparison.leaderboard import Entry, Leaderboard, TrainedStage, run_folder
from videodiff.comparison.leaderboard_rows import clips_of, comparison_of, rows_of
from videodiff.comparison.leaderboard_tables import by_seed, sentences, write_texts
from videodiff.comparison.leaderboard_tables import spent as spent_table
from videodiff.comparison.results import read_comparison
from videodiff.comparison.settings import Settings
from videodiff.comparison.tables import cell_of, metric_names, title_of
from videodiff.config import build_data, build_model, read_configs
from videodiff.cores import cores
from videodiff.data.real_clips import differences
from videodiff.evaluation.real import data_record
from videodiff.report.leaderboard_page import write_leaderboard_page
from videodiff.say import counted
from videodiff.usage import UsageError

PAGE = "index.html"
EVERY_S = 30.0  # between two looks at trainings that run
SHOWN = 8  # clips of every system on the page
EVALUATION = "evaluation"


def run(job: Job, settings: dict[str, Any], board: Leaderboard | None) -> int:
    """Everything that needs torch; returns the exit code."""
    say = Lines()
    get_ready()
    torch.set_num_threads(1)
    board = checked(job, settings, board)
    for system in job.systems:
        if (entry := board.entry(system.name)) is None:
            entry = Entry(system.name, list(system.configs), list(system.options), system.digest)
            board.entries.append(entry)
        for seed in range(job.seeds):
            entry.run(seed)
    board.write(job.out)
    measure_speed(job, board, say)
    failed = train(job, board, say)
    rows = rows_of(board, job.out)
    if not rows:
        raise RuntimeError("; ".join(failed) or "no system was trained")
    comparison = comparison_of(board, rows, job.command)
    said = sentences(board, comparison)
    write_texts(job.out, comparison, rows, said)
    page = write_leaderboard_page(
        comparison, clips_of(job.out, rows), said, [spent_table(rows), by_seed(rows)], job.out / PAGE
    )
    tell(rows, said)
    print(f"\npage: {page.resolve()}")
    for line in failed:
        say(line)
    return int(bool(failed))


# --- before anything is trained ---------------------------------------------------------------------------------------


def checked(job: Job, settings: dict[str, Any], board: Leaderboard | None) -> Leaderboard:
    """The leaderboard, once all systems are known to have the same real clips.

    Raises:
        UsageError: for the first system whose clips differ, in one line.
    """
    reference, name = (board.data, "the leaderboard") if board is not None else (None, "")
    lengths = []
    for system in job.systems:
        stage = system.stages[-1]
        config = read_configs(stage.configs, "fit", stage.options, job.trusted)
        data, shape = build_data(config, job.trusted), shape_of(system, config, job.trusted)
        lengths.append(shape[1])
        asked = Settings(settings["protocol"], frames=settings["frames"])
        split = asked_protocol(data, asked, shape[1]).split
        found = {**data_record(data, split), "size": "{}x{}".format(*shape[-2:])}
        if reference is None:
            reference, name = found, system.name
        different = differences(reference, found, split)
        if not different and reference["size"] != found["size"]:
            different = [f"resolution of generated clips {reference['size']} against {found['size']}"]
        if different:
            raise UsageError(
                f"{name} and {system.name} cannot be compared: {', '.join(different)}; leave one out"
            )
    if board is not None:
        return board
    assert reference is not None  # there is a system
    frames = settings["frames"] or min(lengths)
    return Leaderboard({**settings, "frames": frames}, reference, machine(job.at_a_time))


def shape_of(system: System, config: dict[str, Any], trusted: Sequence[str]) -> tuple[int, ...]:
    """``[channels, frames, height, width]`` of the clips that a system draws; nothing of it is trained or allocated.

    Args:
        system: with its stages.
        config: of its model, merged.
        trusted: modules from ``--trust``.
    """
    with tempfile.TemporaryDirectory() as place:
        if len(system.stages) > 1:  # not the shipped config of that name, but what will be trained
            first = system.stages[0]
            path = Path(place) / "first_stage.yaml"
            atomic.write_text(
                path, yaml.safe_dump(read_configs(first.configs, "fit", first.options, trusted))
            )
            stage = config["model"]["init_args"]["autoencoder"]["init_args"]
            stage.update(checkpoint=str(path.with_suffix("")), config=str(path))
        with torch.device("meta"):
            return tuple(int(size) for size in build_model(config, trusted).video_shape)


def measure_speed(job: Job, board: Leaderboard, say: Lines) -> None:
    """Find the steps over which rates fall, by a few steps of each such stage, beside as many others as there will be.

    Raises:
        UsageError: if the seconds of a stage do not hold one step.
    """
    trainings, stages = [], {}
    for system in job.systems:
        entry = board.entry(system.name)
        before: Training | None = None
        assert entry is not None  # it was made
        if all(stage.falls is None or stage.key in entry.planned for stage in system.stages):
            continue
        for stage in to_probe(system):
            folder = unused(job.out / system.name / "speed" / stage.key)
            words = probe_words(stage, folder, None if before is None else before.folder)
            training = Training(
                str(folder),
                words,
                folder.with_suffix(".log"),
                folder,
                None if before is None else before.name,
            )
            stages[training.name] = (entry, stage)
            trainings.append(training)
            before = training
    if not trainings:
        return
    names = {entry.name for entry, _ in stages.values()}
    what = counted(len(names), "system")
    say(f"measuring the speed of {what} with a rate that falls to the end: {', '.join(sorted(names))}")
    with SideBySide(job.at_a_time) as side:
        side.all = trainings
        side.begin()
        while not side.is_over:
            for ended in side.wait(EVERY_S):
                entry, stage = stages[ended.name]
                if ended.state == "failed":
                    raise (UsageError if ended.code == 2 else RuntimeError)(f"{entry.name}: {ended.reason}")
                plan_steps(board, entry, stage, ended.folder)
            side.begin()
    board.write(job.out)


def plan_steps(board: Leaderboard, entry: Entry, stage: Stage, folder: Path) -> None:
    """Set the steps that a stage's seconds are expected to hold."""
    times = [line[SECONDS] for line in read_metrics(folder / "metrics.jsonl") if SECONDS in line]
    each = [later - sooner for sooner, later in pairwise(times)]
    step = statistics.median(each[WARM_STEPS - 1 :] or each or times)
    have = stage.share * board.settings["seconds"]
    if step > have:
        raise UsageError(
            f"{entry.name}: --seconds {board.settings['seconds']:g} are too few: one step of its {stage.title} takes "
            f"{step:.2g}, and it has {have:.2g}"
        )
    entry.planned[stage.key] = max(round(have / max(step, 1e-6)), 1)
    entry.probe_seconds += times[-1]


def unused(folder: Path) -> Path:
    """A folder that is not there: this one, or it with a number."""
    number, found = 1, folder
    while found.exists():
        number += 1
        found = folder.with_name(f"{folder.name}_{number}")
    return found


# --- trainings and evaluations ----------------------------------------------------------------------------------------


def train(job: Job, board: Leaderboard, say: Lines) -> list[str]:
    """Train and measure what is not done yet; lines about what failed.

    Raises:
        UsageError: for bad input that only a training finds, such as seconds that hold no step.
    """
    stages, failed = {}, []
    with SideBySide(job.at_a_time) as side:
        for seed in range(job.seeds):  # all systems with the first seed, then all with the next
            for system in job.systems:
                for training, stage in to_do(job, board, system, seed):
                    stages[training.name] = (system, seed, stage)
                    side.all.append(training)
        side.all.sort(
            key=lambda training: stages[training.name][2] is None
        )  # evaluations wait for a free core
        if not side.all:
            say("nothing is left to train or measure; the page is made anew")
        announce(side, stages, say)
        while not side.is_over:
            for ended in side.wait(EVERY_S):
                system, seed, stage = stages[ended.name]
                if ended.state == "failed":
                    if ended.code == 2:
                        raise UsageError(f"{system.name}, seed {seed}: {ended.reason}")
                    failed.append(f"{ended.name} failed: {ended.reason} (log {ended.log})")
                    say(failed[-1])
                    continue
                say(note(job, board, system, seed, stage, ended))
            failed += announce(side, stages, say)
    return failed


def announce(side: SideBySide, stages: dict[str, Any], say: Lines) -> list[str]:
    """Begin what there is room for, with a line each; lines about those that cannot begin."""
    lost = []
    for begun in side.begin():
        if begun.state == "failed":
            lost.append(f"{begun.name} is left out: {begun.reason}")
            say(lost[-1])
        else:
            left = sum(each.state == "waiting" for each in side.all)
            say(f"{begun.name} begins" + (f", {left} wait" if left else ""))
    return lost


def to_do(job: Job, board: Leaderboard, system: System, seed: int) -> list[tuple[Training, Stage | None]]:
    """The trainings of a system with a seed that are not done, and its evaluation (without a stage)."""
    entry = board.entry(system.name)
    assert entry is not None  # it was made
    made = entry.run(seed)
    found: list[tuple[Training, Stage | None]] = []
    folder: Path | None = None
    needs: str | None = None
    for stage in system.stages:
        before, folder = folder, run_folder(job.out, system.name, seed, stage.key)
        if made.stage(stage.title) is not None:
            continue
        seconds = stage.share * board.settings["seconds"]
        words = fit_words(stage, folder, seed, seconds, before, entry.planned.get(stage.key))
        if board.settings["device"] == "cuda":
            words += ["--trainer.accelerator", "gpu", "--trainer.devices", "1"]
        else:
            words += ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]
        found.append(
            (Training(name_of(system, seed, stage.title), words, log_of(folder), folder, needs), stage)
        )
        needs = found[-1][0].name
    place = run_folder(job.out, system.name, seed, EVALUATION)
    if made.evaluation_seconds is None:
        assert folder is not None  # every system has a model
        words = evaluation_words(board.settings, folder, place, job.trusted)
        found.append((Training(name_of(system, seed, EVALUATION), words, log_of(place), place, needs), None))
    return found


def name_of(system: System, seed: int, what: str) -> str:
    """What a training is called in lines on the terminal."""
    return f"{system.name}, seed {seed}" if what == MODEL else f"{system.name}, seed {seed}, {what}"


def log_of(folder: Path) -> Path:
    """Beside a run's folder."""
    return folder.with_name(f"{folder.name}.log")


def evaluation_words(settings: dict[str, Any], model: Path, out: Path, trusted: Sequence[str]) -> list[str]:
    """The words of one evaluation: a comparison of one run."""
    words = ["compare", str(model), "--keep_clips", "--shown", str(SHOWN), "--out", str(out)]
    for name in ("num_clips", "sampler", "steps", "frames", "seed", "device"):
        words += [f"--{name}", str(settings[name])]
    if settings["protocol"] is not None:
        words += ["--protocol", settings["protocol"]]
    return [*words, *(word for module in trusted for word in ("--trust", module))]


def note(
    job: Job, board: Leaderboard, system: System, seed: int, stage: Stage | None, ended: Training
) -> str:
    """Put what has ended on record; a line about it."""
    entry = board.entry(system.name)
    assert entry is not None  # it was made
    made = entry.run(seed)
    if stage is None:
        read_comparison(ended.folder)
        assert (ended.folder / CLIPS).is_file()
        made.evaluation_seconds = round(ended.seconds, 2)
        text = f"measured in {ended.seconds:.0f} s"
    else:
        checkpoint = load_checkpoint(resolve_checkpoint(str(ended.folder)))
        times = spent(checkpoint)
        done = TrainedStage(
            stage.title,
            int(checkpoint["global_step"]),
            round(times["seconds"], 3),
            round(times["starting"], 3),
        )
        made.stages.append(done)
        text = f"{done.steps} steps in {done.seconds:.1f} s of compute, {ended.seconds:.0f} s on the clock"
    board.write(job.out)
    return f"{ended.name}: {text}"


def tell(rows: Sequence[Any], said: Sequence[tuple[str, str]]) -> None:
    """The headline and the table on the terminal."""
    print("\n".join(f"{topic}: {text}" for topic, text in said[:2]))
    names = metric_names([row.model.draws[0].metrics for row in rows])
    lines = [["system", *(row.entry.name for row in rows)], ["seeds", *(str(len(row.runs)) for row in rows)]]
    lines.append(["steps", *(f"{row.model.training.steps:,}" for row in rows)])
    for name in names:
        lines.append([title_of(name), *(cell_of(row.model.draws[0].metrics.get(name)).text for row in rows)])
    widths = [max(len(line[at]) for line in lines) for at in range(len(rows) + 1)]
    print()
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


class Lines:
    """Lines on stderr with the time since the start."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"[leaderboard {time.monotonic() - self.started:4.0f} s] {text}", file=sys.stderr, flush=True)


def machine(at_a_time: int) -> dict[str, Any]:
    """What seconds are worth."""
    return {
        "platform": platform.platform(),
        "processor": processor(),
        "cores": cores(),
        "at_a_time": at_a_time,
        "threads": 1,
    }


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
