"""The record of a leaderboard: systems trained for equal seconds on several seeds; its folder, rows and tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from videodiff import atomic
from videodiff.comparison.best import best_of, penalty
from videodiff.comparison.over_seeds import HOW_COMBINED, system_record
from videodiff.comparison.record import Clips, Comparison, ModelClips, ModelRecord
from videodiff.comparison.results import read_comparison
from videodiff.comparison.stored_clips import read_clips
from videodiff.comparison.tables import Cell, Table, cell_of, grouped, metric_names, title_of
from videodiff.comparison.tables import seconds as duration
from videodiff.metrics.directory import better, headline, metric_info
from videodiff.migrations import FORMATS, migrated
from videodiff.names import markdown_text
from videodiff.reading import read_mapping

RECORD = "leaderboard.json"
RATES = (
    "A rate that falls over the whole training falls over the steps that the seconds were expected to hold: a few "
    "steps, not counted, told before what one takes. A warm-up is as long as the config says."
)
OF_SECONDS = (
    "Means over the seeds. Start-up and measuring the speed are CPU seconds, evaluation is on the clock."
)
COUNTED = (
    "Counted is all that the training process does from the first batch on: reading clips, encoding them, steps, "
    "saving. Not counted, and stated apart: start-up, measuring the speed, evaluation. There is no validation and no "
    "sampling in between."
)


@dataclass
class TrainedStage:
    """One training that is done.

    Args:
        title: ``first stage`` or ``model``.
        steps: optimizer steps.
        seconds: of compute that counted.
        starting: CPU seconds of its starts, which did not count.
    """

    title: str
    steps: int
    seconds: float
    starting: float


@dataclass
class Trained:
    """A system with one seed.

    Args:
        seed: of its trainings.
        stages: that are done.
        evaluation_seconds: on the clock; None before it is measured.
    """

    seed: int
    stages: list[TrainedStage] = field(default_factory=list)
    evaluation_seconds: float | None = None

    def stage(self, title: str) -> TrainedStage | None:
        """One that is done, or None."""
        return next((stage for stage in self.stages if stage.title == title), None)


@dataclass
class Entry:
    """A system.

    Args:
        name: in the table, and of its folder.
        configs: its own, then overlays.
        options: words that change them.
        digest: of all that shapes its trainings.
        planned: stage -> steps over which its rate falls.
        probe_seconds: CPU seconds of the steps that told so.
        runs: one for each seed.
    """

    name: str
    configs: list[str]
    options: list[str]
    digest: str
    planned: dict[str, int] = field(default_factory=dict)
    probe_seconds: float = 0.0
    runs: list[Trained] = field(default_factory=list)

    def run(self, seed: int) -> Trained:
        """With a seed, new if it is not there."""
        found = next((run for run in self.runs if run.seed == seed), None)
        if found is None:
            found = Trained(seed)
            self.runs = sorted([*self.runs, found], key=lambda run: run.seed)
        return found


@dataclass
class Leaderboard:
    """All systems of a folder.

    Args:
        settings: what is the same for all: seconds, the first stages' share, and how clips are generated and measured.
        data: what identifies the real clips.
        machine: on which the first of them were trained.
        entries: in the order in which they came.
    """

    settings: dict[str, Any]
    data: dict[str, Any]
    machine: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def entry(self, name: str) -> Entry | None:
        """A system by its name."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def write(self, folder: Path) -> None:
        """Write the record, whole."""
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_json(folder / RECORD, {"format": FORMATS["leaderboard"], **asdict(self)})


def read_leaderboard(folder: Path) -> Leaderboard | None:
    """The leaderboard of a folder, None where there is none.

    Raises:
        ValueError: if the file holds something else.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    found = migrated("leaderboard", read_mapping(path, "record of a leaderboard"), path)
    try:
        entries = [
            Entry(**{**entry, "runs": [
                Trained(**{**run, "stages": [TrainedStage(**stage) for stage in run["stages"]]})
                for run in entry["runs"]
            ]})
            for entry in found["entries"]
        ]  # fmt: skip
        known = {f.name: found[f.name] for f in fields(Leaderboard)}
        return Leaderboard(**{**known, "entries": entries})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no record of a leaderboard ({type(error).__name__}: {error})") from error


def run_folder(folder: Path, name: str, seed: int, stage: str) -> Path:
    """Of one training, or of an evaluation."""
    return folder / name / f"seed_{seed}" / stage


# --- measured systems -------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """A system that is measured with one seed or more.

    Args:
        entry: of the record.
        runs: those that are measured.
        comparisons: one for each, as ``compare`` wrote it.
        model: all of them as one.
    """

    entry: Entry
    runs: list[Trained]
    comparisons: list[Comparison]
    model: ModelRecord


def rows_of(board: Leaderboard, folder: Path) -> list[Row]:
    """All measured systems, the best by the headline metric first.

    Raises:
        ValueError: if they were not measured alike.
    """
    found = []
    for entry in board.entries:
        runs = [run for run in entry.runs if run.evaluation_seconds is not None]
        comparisons = [
            read_comparison(run_folder(folder, entry.name, run.seed, "evaluation")) for run in runs
        ]
        if runs:
            model = system_record(entry.name, [each.models[0] for each in comparisons])
            found.append(Row(entry, runs, comparisons, model))
    hashes = {each.protocol.get("hash") for row in found for each in row.comparisons}
    if len(hashes) > 1:
        raise ValueError(
            f"{folder}: its systems were measured by protocols of {len(hashes)} kinds; begin another folder"
        )
    metric = headline(metric_names([row.model.draws[0].metrics for row in found]))

    def place(row: Row) -> float:
        measured = row.model.draws[0].metrics.get(metric or "") or {}
        return (
            penalty(measured, better(metric))
            if metric and measured.get("value") is not None
            else float("inf")
        )

    return sorted(found, key=place)


def comparison_of(board: Leaderboard, rows: Sequence[Row], command: str) -> Comparison:
    """The systems as models of one comparison; what is the same for all is that of the first."""
    first = rows[0].comparisons[0]
    settings = {key: value for key, value in first.settings.items() if key not in ("weights", "notes")}
    notes = dict.fromkeys(
        note for row in rows for each in row.comparisons for note in each.settings.get("notes") or []
    )
    return Comparison(
        protocol=first.protocol, settings={**settings, **board.settings, "notes": list(notes)}, data=first.data,
        models=[row.model for row in rows], baselines=first.baselines, versions=first.versions, command=command,
    )  # fmt: skip


def clips_of(folder: Path, rows: Sequence[Row]) -> Clips:
    """The clips of every system's first seed."""
    real, models = None, {}
    words: list[str] = []
    for row in rows:
        kept = read_clips(run_folder(folder, row.entry.name, row.runs[0].seed, "evaluation"))
        real, words = kept.real if real is None else real, words or kept.words
        found = next(iter(kept.models.values()))
        models[row.entry.name] = ModelClips(found.samples, found.reconstructions)
    assert real is not None  # there is a row
    return Clips(real, models, words=words)


# --- words and tables -------------------------------------------------------------------------------------------------


def sentences(board: Leaderboard, comparison: Comparison) -> list[tuple[str, str]]:
    """What the leaderboard says, as topic and sentence."""
    settings, models = board.settings, comparison.models
    found = []
    metrics = [model.draws[0].metrics for model in models]
    metric = headline(metric_names(metrics))
    if metric is not None:
        best = best_of(metrics, [metric], [base["metrics"] for base in comparison.baselines])[metric]
        ahead = f"{models[0].name}, {metric_info(metric).label} {cell_of(metrics[0].get(metric)).text}"
        if len(models) == 1:
            told = ahead
        elif best == 0:
            told = f"{ahead}; its interval lies apart from all others' and from those of clips made without a model"
        else:
            told = (
                f"{ahead}; but its interval is not apart from all others', or clips made without a model do as well: "
                "nothing is decided"
            )
        found.append(("Ahead", f"{told}."))
    kind = "device seconds" if settings["device"] != "cpu" else "CPU seconds of one thread"
    share = f"{100 * settings['first_stage_share']:g} %"
    found.append(
        (
            "Equal seconds",
            f"Every system had {settings['seconds']:g} {kind} with each seed; one with a first stage spent {share} of "
            "them there.",
        )
    )
    found += [("Counted", COUNTED), ("Rates", RATES), ("Intervals", HOW_COMBINED)]
    return found


def quality(comparison: Comparison) -> Table:
    """Metrics of all systems, and of clips made without a model."""
    found = [model.draws[0].metrics for model in comparison.models]
    names = metric_names(found)
    best = best_of(found, names, [base["metrics"] for base in comparison.baselines])
    rows = [
        [Cell(model.name), *(cell_of(metrics.get(name), best[name] == i) for name in names)]
        for i, (model, metrics) in enumerate(zip(comparison.models, found, strict=True))
    ]
    apart = [
        [Cell(base["name"]), *(cell_of(base["metrics"].get(name)) for name in names)]
        for base in comparison.baselines
    ]
    draw = comparison.models[0].draws[0]
    title = f"{draw.count} clips of {draw.frames} frames each side, {draw.sampler} in {draw.steps} steps"
    return Table(title, ["system", *map(title_of, names)], rows, apart, HOW_COMBINED)


def spent(rows: Sequence[Row]) -> Table:
    """What the seconds went to, on average over the seeds."""
    head = [
        "system", "seeds", "parameters", "steps", "first stage: steps", "seconds", "first stage: seconds", "start-up",
        "measuring speed", "evaluation",
    ]  # fmt: skip
    found = []
    for row in rows:
        cells = [row.entry.name, str(len(row.runs)), grouped(sum(row.model.parameters.values()))]
        stages = [[run.stage(title) for run in row.runs] for title in ("model", "first stage")]
        there = [[stage for stage in of_title if stage is not None] for of_title in stages]
        cells += [grouped(fmean(stage.steps for stage in each)) if each else "-" for each in there]
        cells += [f"{fmean(stage.seconds for stage in each):.1f}" if each else "-" for each in there]
        cells.append(duration(fmean(sum(stage.starting for stage in run.stages) for run in row.runs)))
        cells.append(duration(row.entry.probe_seconds) if row.entry.probe_seconds else "-")
        cells.append(duration(fmean(run.evaluation_seconds or 0.0 for run in row.runs)))
        found.append([Cell(text) for text in cells])
    return Table(
        "What the seconds went to",
        head,
        found,
        note=OF_SECONDS,
    )


def by_seed(rows: Sequence[Row]) -> Table:
    """Every seed on its own, with intervals over clips."""
    names = metric_names([row.model.draws[0].metrics for row in rows])
    found = [
        [
            Cell(row.entry.name), Cell(str(run.seed)), Cell(grouped(run.stages[-1].steps)),
            *(cell_of(each.models[0].draws[0].metrics.get(name)) for name in names),
        ]
        for row in rows
        for run, each in zip(row.runs, row.comparisons, strict=True)
    ]  # fmt: skip
    return Table(
        "Every seed",
        ["system", "seed", "steps", *map(title_of, names)],
        found,
        note="Intervals are over clips alone.",
    )


def write_texts(
    folder: Path, comparison: Comparison, rows: Sequence[Row], said: Sequence[tuple[str, str]]
) -> None:
    """Write ``leaderboard.md`` and ``leaderboard.csv``."""
    parts = ["# Leaderboard\n", "\n".join(f"- {topic}: {markdown_text(text)}" for topic, text in said) + "\n"]
    for table in (quality(comparison), spent(rows), by_seed(rows)):
        parts.append(markdown_table(table))
    atomic.write_text(folder / "leaderboard.md", "\n".join(parts), errors="backslashreplace")
    atomic.write_text(folder / "leaderboard.csv", comma_separated(rows), errors="backslashreplace")


def markdown_table(table: Table) -> str:
    """A table under its title; the best bold, what is no model in italics."""

    def line(texts: Sequence[str]) -> str:
        return f"| {' | '.join(texts)} |"

    lines = [f"## {markdown_text(table.title)}\n", line([markdown_text(text) for text in table.head])]
    lines.append(line(["---"] * len(table.head)))
    for row in table.rows:
        lines.append(
            line([f"**{markdown_text(c.text)}**" if c.is_best else markdown_text(c.text) for c in row])
        )
    for row in table.apart:
        first, *others = (markdown_text(cell.text) for cell in row)
        lines.append(line([f"*{first}*", *others]))
    return "\n".join(lines) + "\n" + (f"\n{markdown_text(table.note)}\n" if table.note else "")


def comma_separated(rows: Sequence[Row]) -> str:
    """A line for every system and seed, and one for the mean of its seeds; numbers in full."""
    names = metric_names([row.model.draws[0].metrics for row in rows])
    head = ["system", "seed", "parameters", "steps", "seconds", "first_stage_steps", "first_stage_seconds"]
    head += [
        "starting_seconds",
        "evaluation_seconds",
        *(part for n in names for part in (n, f"{n}_low", f"{n}_high")),
    ]
    file = io.StringIO()
    writer = csv.DictWriter(file, head, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        size = sum(row.model.parameters.values())
        for run, each in zip(row.runs, row.comparisons, strict=True):
            first, last = run.stage("first stage"), run.stages[-1]
            writer.writerow({
                "system": row.entry.name, "seed": run.seed, "parameters": size, "steps": last.steps,
                "seconds": last.seconds, "first_stage_steps": first and first.steps,
                "first_stage_seconds": first and first.seconds,
                "starting_seconds": sum(stage.starting for stage in run.stages),
                "evaluation_seconds": run.evaluation_seconds, **cells(each.models[0].draws[0].metrics, names),
            })  # fmt: skip
        mean = {
            "system": row.entry.name,
            "seed": "mean",
            "parameters": size,
            "steps": row.model.training.steps,
        }
        writer.writerow(mean | cells(row.model.draws[0].metrics, names))
    return file.getvalue()


def cells(metrics: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Value and interval of each metric by column."""
    found: dict[str, Any] = {}
    for name in names:
        entry = metrics.get(name) or {}
        low, high = entry.get("interval") or (None, None)
        found |= {name: entry.get("value"), f"{name}_low": low, f"{name}_high": high}
    return found
