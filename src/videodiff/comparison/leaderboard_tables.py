"""What a leaderboard says in sentences and tables, and their files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from videodiff import atomic
from videodiff.comparison.best import best_of
from videodiff.comparison.formats import markdown_table
from videodiff.comparison.leaderboard import Leaderboard
from videodiff.comparison.leaderboard_rows import Row
from videodiff.comparison.over_seeds import HOW_COMBINED
from videodiff.comparison.record import Comparison
from videodiff.comparison.tables import Cell, Table, cell_of, grouped, metric_names, title_of
from videodiff.comparison.tables import seconds as duration
from videodiff.metrics.directory import headline, metric_info
from videodiff.names import markdown_text

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
    parts += [markdown_table(table) for table in (quality(comparison), spent(rows), by_seed(rows))]
    atomic.write_text(folder / "leaderboard.md", "\n".join(parts), errors="backslashreplace")
    atomic.write_text(folder / "leaderboard.csv", comma_separated(rows), errors="backslashreplace")


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
