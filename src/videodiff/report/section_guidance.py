"""What guidance trades: quality against what shows that clips follow their condition, scale by scale, as a curve."""

from __future__ import annotations

from collections.abc import Sequence

from videodiff.comparison.record import Comparison, Draw, ModelRecord
from videodiff.metrics.directory import headline, metric_info
from videodiff.report.chart import Chart, Point, Series, legend
from videodiff.report.markup import Html, element, join
from videodiff.report.number_format import plain
from videodiff.report.table import metric_cell, metric_head, metric_names, model_head, plain_table

# What a higher scale buys, each across a chart with the distance from the data up. Unconditional clips have no class to
# be accurate in, but a score.
BOUGHT = (
    "class_accuracy",
    "named_digit",
    "named_colour",
    "named_direction",
    "text_similarity",
    "evaluator_is",
    "is",
    "is_k400",
)
# Those that say how far clips follow what they were told stand against what that costs, too.
FOLLOWS, COST = BOUGHT[:5], "diversity"


def scales_of(model: ModelRecord) -> list[Draw]:
    """The draws of a model that differ from the first in guidance alone, by scale; none where there is one scale."""
    if not model.draws:
        return []
    first = model.draws[0]
    alike = [
        draw
        for draw in model.draws
        if (draw.sampler, draw.steps, draw.frames, draw.count)
        == (first.sampler, first.steps, first.frames, first.count)
    ]
    return sorted(alike, key=lambda draw: draw.guidance) if len(alike) > 1 else []


def guidance_section(comparison: Comparison) -> Html | None:
    """The curve, each of its two metrics against the scale, and the figures; None where no model has several scales."""
    curves = [(i, model, scales_of(model)) for i, model in enumerate(comparison.models)]
    curves = [curve for curve in curves if curve[2]]
    if not curves:
        return None
    names = metric_names([draw.metrics for _, _, draws in curves for draw in draws])
    up = headline(names)
    bought = [name for kind in BOUGHT for name in names if name == kind or name.startswith(f"{kind}_splits")]
    charts = [tradeoff(curves, across, up) for across in bought if up]
    paid = [COST] if COST in names else []
    charts += [tradeoff(curves, COST, name) for name in bought if name in FOLLOWS and paid]
    charts += [against_scale(curves, name) for name in (up, *bought, *paid) if name]
    note = "The same clips, noise, sampler and steps at several scales of guidance; the number at a mark is the scale. "
    note += "At 1 there is no guidance; at 0 nothing of the class or the words is left, so clips are unconditional."
    return join(
        element("p", note, class_="note"),
        legend([model.name for model in comparison.models]),
        element("div", [chart for chart in charts if chart], class_="charts"),
        figures(curves, names),
    )


def tradeoff(curves: Sequence[tuple[int, ModelRecord, list[Draw]]], across: str, up: str) -> Html | None:
    """One metric against another, a mark for each scale, joined in the order of the scales."""
    series = []
    for i, model, draws in curves:
        points = []
        for draw in draws:
            x, y = draw.metrics.get(across) or {}, draw.metrics.get(up) or {}
            if x.get("value") is None or y.get("value") is None:
                continue
            says = (
                f"{model.name}, guidance {draw.guidance:g} ({draw.conditioned_on}): {metric_info(up).label} "
            )
            says += f"{plain(y['value'])}, {metric_info(across).label} {plain(x['value'])}"
            interval = tuple(y["interval"]) if y.get("interval") else None
            points.append(Point(x["value"], y["value"], interval, says, f"{draw.guidance:g}"))
        if points:
            series.append(Series(model.name, i, points, marks=True))
    if not series:
        return None
    title = f"{metric_info(up).label} against {metric_info(across).label}, by guidance"
    chart = Chart(title, label_of(across), label_of(up), series)
    return chart.figure("; ".join(point.says for s in series for point in s.points) + ".")


def against_scale(curves: Sequence[tuple[int, ModelRecord, list[Draw]]], metric: str) -> Html | None:
    """One metric against the scale."""
    series = []
    for i, model, draws in curves:
        points = []
        for draw in draws:
            entry = draw.metrics.get(metric) or {}
            if entry.get("value") is not None:
                interval = tuple(entry["interval"]) if entry.get("interval") else None
                says = f"{model.name}, guidance {draw.guidance:g}: {plain(entry['value'])}"
                points.append(Point(draw.guidance, entry["value"], interval, says))
        if points:
            series.append(Series(model.name, i, points, marks=True))
    if not series:
        return None
    entries = [draw.metrics.get(metric) or {} for _, _, draws in curves for draw in draws]
    levels = [
        (value, words)
        for key, words in (("floor", "real clips"), ("chance", "chance"))
        if (value := next((entry[key] for entry in entries if entry.get(key) is not None), None)) is not None
    ]
    chart = Chart(
        f"{metric_info(metric).label} against guidance", "guidance", label_of(metric), series, levels
    )
    return chart.figure("; ".join(point.says for s in series for point in s.points) + ".")


def label_of(metric: str) -> str:
    """Of an axis: the metric and which way it is better."""
    info = metric_info(metric)
    return f"{info.label} {info.arrow}".strip()


def figures(curves: Sequence[tuple[int, ModelRecord, list[Draw]]], names: Sequence[str]) -> Html:
    """All metrics at every scale."""
    heads = ["model", "guidance", "conditioned on", *map(metric_head, names)]
    rows = [
        [
            model_head(model.name, i), f"{draw.guidance:g}", draw.conditioned_on,
            *(metric_cell(draw.metrics.get(name)) for name in names),
        ]
        for i, model, draws in curves
        for draw in draws
    ]  # fmt: skip
    return plain_table(heads, rows, "guidance")
