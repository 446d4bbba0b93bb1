"""The tables of a comparison: their cells, and which value is best; ``formats.py`` writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from videodiff.comparison.best import best_of
from videodiff.comparison.record import Comparison, Draw, Metrics, ModelRecord
from videodiff.data.real_clips import shown
from videodiff.metrics.directory import OF_WORDS, better

MARKED = (
    "Best is marked only where its interval lies apart from all others' and from those of clips made without a model; "
    "a model that such clips beat on the protocol's distance is best in nothing."
)


@dataclass
class Cell:
    """What stands in one place of a table.

    Args:
        text: value, with its interval if it has one.
        is_best: whether it is marked.
    """

    text: str
    is_best: bool = False


@dataclass
class Table:
    """Rows of cells under a head.

    Args:
        title: in one line.
        head: of each column.
        rows: of models.
        apart: rows that are none: baselines, the floor.
        note: below the table.
    """

    title: str
    head: list[str]
    rows: list[list[Cell]]
    apart: list[list[Cell]] = field(default_factory=list)
    note: str = ""


def tables(comparison: Comparison) -> list[Table]:
    """All tables of a comparison; one without rows is left out."""
    many = any(len(model.draws) > 1 for model in comparison.models)
    found = [
        quality(comparison),
        of_words(comparison),
        origins(comparison),
        cost(comparison.models),
        reconstruction(comparison.models),
        *([by_steps(comparison)] if many else []),
        drifts(comparison.models),
        published(comparison.published),
    ]
    return [table for table in found if table.rows]


def quality(comparison: Comparison) -> Table:
    """The metrics of the protocol: the first draw of each model, then baselines and floor."""
    first, protocol = comparison.models[0].draws[0], comparison.protocol
    names = metric_names([model.draws[0].metrics for model in comparison.models])
    names = [name for name in names if name not in OF_WORDS]
    rows, apart = beside_others(comparison, names)
    return Table(
        f"Protocol {protocol['name']} [{protocol['hash']}]: {clips_of(comparison, first)}, "
        f"{first.sampler} in {first.steps} steps, seed {comparison.settings.get('seed')}"
        + (f"; conditioned on {first.conditioned_on}" if first.conditioned_on else ""),
        ["model", *map(title_of, names)],
        rows,
        apart,
        f"In brackets: 95 % interval. {MARKED}",
    )


def of_words(comparison: Comparison) -> Table:
    """Whether clips show what they were told in words, in a table of its own; empty where that was not measured."""
    names = metric_names([model.draws[0].metrics for model in comparison.models])
    names = [name for name in names if name in OF_WORDS]
    rows, apart = beside_others(comparison, names) if names else ([], [])
    return Table("What clips were told in words", ["model", *map(title_of, names)], rows, apart)


def beside_others(comparison: Comparison, names: Sequence[str]) -> tuple[list[list[Cell]], list[list[Cell]]]:
    """Rows of the first draw of each model, and those of baselines, floor and chance."""
    firsts = [model.draws[0] for model in comparison.models]
    rows = metric_rows(
        names,
        [[Cell(model.name)] for model in comparison.models],
        [d.metrics for d in firsts],
        without_model(comparison),
    )
    apart = [
        [Cell(base["name"]), *(cell_of(base["metrics"].get(name)) for name in names)]
        for base in comparison.baselines
        if any(name in base["metrics"] for name in names)
    ]
    for key, words in (("floor", "other real clips (floor)"), ("chance", "a guess (chance)")):
        values = [firsts[0].metrics[name].get(key) if name in firsts[0].metrics else None for name in names]
        if any(value is not None for value in values):
            apart.append([Cell(words), *(Cell(number(value)) for value in values)])
    return rows, apart


def clips_of(comparison: Comparison, draw: Draw) -> str:
    """How many clips there are of each side."""
    given, draws = comparison.protocol.get("given"), comparison.protocol.get("draws", 1)
    if not given:
        return f"{draw.count} clips of {draw.frames} frames each side"
    each = "" if draws == 1 else f", {draws} draws of each"
    return f"{draw.count // draws} real clips of {draw.frames} frames continued from the first {given}{each}"


def origins(comparison: Comparison) -> Table:
    """How the clips that each model learnt from are made, beside those that all are judged on; empty if all agree."""
    reference = comparison.settings.get("reference") or {}
    rows = [[Cell(model.name), *origin(model.data)] for model in comparison.models if reference]
    return Table(
        "Real clips: one reference for all, whatever each learnt from",
        ["model", "root", "resolution", "resize", "fps", "frame stride"],
        rows,
        [[Cell("the reference"), *origin(reference)]],
        f"Generated clips of another size are brought to the reference's by its rule, {reference.get('resize')}; the "
        "nearest training clips are each model's own.",
    )


def origin(data: Mapping[str, Any]) -> list[Cell]:
    """Cells of one row of :func:`origins`."""
    place = data.get("root") or data.get("dataset")
    return [
        Cell(str(place)),
        *(Cell(shown(k, data.get(k))) for k in ("resolution", "resize", "fps", "frame_stride")),
    ]


def metric_names(found: Sequence[Metrics]) -> list[str]:
    """Names of all metrics in the order in which they come."""
    return list(dict.fromkeys(name for metrics in found for name in metrics))


def title_of(name: str) -> str:
    """Head of a metric's column: its name and which way is better."""
    arrow = {"lower": " (lower)", "higher": " (higher)", "real": " (as real)"}
    return name + arrow.get(better(name), "")


def without_model(comparison: Comparison) -> list[Metrics]:
    """Metrics of clips made without a model, which the best must beat."""
    return [base["metrics"] for base in comparison.baselines]


def metric_rows(
    names: Sequence[str],
    heads: list[list[Cell]],
    found: Sequence[Metrics],
    baselines: Sequence[Metrics] = (),
) -> list[list[Cell]]:
    """Rows of metrics with the best of each column marked, if it beats the baselines too."""
    best = best_of(found, names, baselines)
    return [
        [*head, *(cell_of(metrics.get(name), best[name] == i) for name in names)]
        for i, (head, metrics) in enumerate(zip(heads, found, strict=True))
    ]


def cost(models: Sequence[ModelRecord]) -> Table:
    """What each model costs to train and to sample."""
    head = [
        "model", "parameters", "training steps", "clips seen", "training", "of first stage", "FLOP per step",
        "FLOP per video", "seconds per video", "peak memory",
    ]  # fmt: skip
    rows = []
    for model in models:
        training, draw = model.training, model.draws[0]
        stage = (model.first_stage or {}).get("training") or {}
        texts = [
            model.name, grouped(sum(model.parameters.values())), grouped(training.steps or None),
            grouped(training.clips), seconds(training.seconds), seconds(stage.get("seconds")),
            prefixed(training.flop_per_step), prefixed(draw.flop_per_video),
            number(draw.timing.get("seconds_per_video"), 3), mebibytes(draw.timing.get("peak_memory_bytes")),
        ]  # fmt: skip
        rows.append([Cell(text) for text in texts])
    return Table(
        "Cost",
        head,
        rows,
        note="FLOP: two per multiply-add. Seconds and memory are of this machine; memory is that of one batch.",
    )


def reconstruction(models: Sequence[ModelRecord]) -> Table:
    """First stages on the same real clips; the best is among those with one."""
    staged = [(model.name, model.first_stage["metrics"]) for model in models if model.first_stage]
    found = [metrics for _, metrics in staged]
    names = metric_names(found)
    rows = metric_rows(names, [[Cell(name)] for name, _ in staged], found)
    return Table("Reconstruction by the first stage", ["model", *map(title_of, names)], rows)


def by_steps(comparison: Comparison) -> Table:
    """Quality against sampler, steps, guidance and seconds: every draw of every model."""
    pairs: list[tuple[ModelRecord, Draw]] = [(m, draw) for m in comparison.models for draw in m.draws]
    names = metric_names([draw.metrics for _, draw in pairs])
    guided = len({draw.guidance for _, draw in pairs}) > 1
    heads = [
        [
            Cell(model.name),
            Cell(draw.sampler),
            Cell(str(draw.steps)),
            *([Cell(f"{draw.guidance:g}"), Cell(draw.conditioned_on or "-")] if guided else []),
            Cell(number(draw.timing.get("seconds_per_video"), 3)),
        ]
        for model, draw in pairs
    ]
    told = ["guidance", "conditioned on"] if guided else []
    head = ["model", "sampler", "steps", *told, "seconds per video", *map(title_of, names)]
    found = [draw.metrics for _, draw in pairs]
    if len({draw.conditioned_on for _, draw in pairs}) > 1:  # scores of two kinds have no best among them
        rows = [
            [*h, *(cell_of(record.get(n)) for n in names)] for h, record in zip(heads, found, strict=True)
        ]
    else:
        rows = metric_rows(names, heads, found, without_model(comparison))
    return Table(f"Quality against steps{' and guidance' if guided else ''}", head, rows)


def drifts(models: Sequence[ModelRecord]) -> Table:
    """Metrics of windows of long videos; nothing is marked, as time and not models are compared."""
    pairs = [(model, window) for model in models for window in model.drift]
    names = metric_names([window["metrics"] for _, window in pairs])
    counts = sorted({count for _, window in pairs if (count := videos_of(window)) is not None})
    of = f" ({' or '.join(map(str, counts))} videos of each model)" if counts else ""
    rows = [
        [
            Cell(model.name),
            Cell("{} to {}".format(*window["frames"])),
            *(cell_of(window["metrics"].get(name)) for name in names),
        ]
        for model, window in pairs
    ]
    return Table(
        f"Drift over long video{of}",
        ["model", "frames", *map(title_of, names)],
        rows,
        note="In brackets: 95 % interval over the videos. A value without one says little: it may be chance.",
    )


def videos_of(window: dict[str, Any]) -> int | None:
    """How many videos a window of a long video was measured on."""
    return max((entry.get("count") or 0 for entry in window["metrics"].values()), default=0) or None


def published(rows: Sequence[dict[str, Any]]) -> Table:
    """Figures of papers, under their own protocols."""
    head = ["model", "data", "frames", "protocol", "metric", "value", "source"]
    return Table(
        "Published figures, as printed in papers",
        head,
        [[Cell(str(row[key])) for key in head] for row in rows],
        note="Measured by others under other protocols: not to be compared with the figures above.",
    )


# --- numbers ------------------------------------------------------------------------------------------------------


def cell_of(entry: dict[str, Any] | None, is_best: bool = False) -> Cell:
    """``3.14 [2.9, 3.4]``, or a dash where there is no value."""
    if not entry or entry.get("value") is None:
        return Cell("-")
    text = number(entry["value"])
    if entry.get("interval"):
        low, high = entry["interval"]
        text += f" [{number(low, 3)}, {number(high, 3)}]"
    return Cell(text, is_best)


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits, without an exponent where none is needed."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def grouped(value: float | None) -> str:
    """A whole number with its thousands apart."""
    return "-" if value is None else f"{int(value):,}"


def seconds(value: float | None) -> str:
    """A duration in seconds, minutes or hours."""
    if value is None:
        return "-"
    size, unit = (3600, "h") if value >= 5400 else (60, "min") if value >= 90 else (1, "s")
    return f"{number(value / size, 3)} {unit}"


def prefixed(value: float | None) -> str:
    """A large count with its power of a thousand."""
    if value is None:
        return "-"
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{number(value / size, 3)} {prefix}"
    return number(value, 3)


def mebibytes(value: float | None) -> str:
    """Bytes in MiB or GiB."""
    if value is None:
        return "-"
    return f"{number(value / 2**30, 3)} GiB" if value >= 2**30 else f"{number(value / 2**20, 3)} MiB"
