"""Plots: loss, quality against steps and against what it costs, drift over long video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from videodiff.comparison.best import has_interval
from videodiff.comparison.record import Comparison, Draw, ModelRecord, Training
from videodiff.metrics.directory import headline, metric_info
from videodiff.report.chart import Chart, Point, Series, legend
from videodiff.report.markup import Html, element, join
from videodiff.report.number_format import duration, memory, plain, short
from videodiff.report.section_results import floors, guided, shown, stage_training
from videodiff.report.table import metric_names
from videodiff.say import counted

MOST_DRIFTS = 6  # charts along long videos
LOG_FROM = 20.0  # ratio of largest and smallest value from which an axis is logarithmic


def names_of(comparison: Comparison) -> list[str]:
    """Of the models, in the order of their colours."""
    return [model.name for model in comparison.models]


def curves_section(comparison: Comparison) -> Html | None:
    """Losses, one chart per model and stage: their scales have nothing in common."""
    charts = []
    for i, model in enumerate(comparison.models):
        for training, stage in ((stage_training(model), "first stage"), (model.training, "model")):
            chart = training and loss_chart(training, model.name, i, stage if model.first_stage else "")
            if chart:
                charts.append(chart)
    if not charts:
        return None
    note = "Losses of different models measure different things: read the shape of a curve, not its height."
    key = "Solid: training. Dashed: validation."
    return join(element("p", f"{note} {key}", class_="note"), element("div", charts, class_="charts"))


def loss_chart(training: Training, name: str, index: int, stage: str) -> Html | None:
    """One model's losses over the optimizer steps."""
    series = []
    for key, curve in training.curves.items():
        points = [
            Point(step, value) for step, value in curve if value == value and abs(value) != float("inf")
        ]
        if points:
            series.append(Series(key, index, points, dashed=not key.startswith("train")))
    if not series:
        return None
    values = [p.y for s in series for p in s.points]
    said = "; ".join(
        f"{s.name} from {plain(s.points[0].y)} to {plain(s.points[-1].y)} in {counted(len(s.points), 'point')}"
        for s in series
    )
    title = f"{name}, {stage}" if stage else name
    log = min(values) > 0 and max(values) / min(values) > LOG_FROM
    return Chart(title, "optimizer steps", "loss", series, log_y=log).figure(said + ".")


def metric_point(draw: Draw, metric: str, x: float, words: str) -> Point | None:
    """A draw's value of a metric at `x`, with its interval."""
    entry = draw.metrics.get(metric)
    if not entry or entry.get("value") is None:
        return None
    interval = tuple(entry["interval"]) if entry.get("interval") else None
    return Point(x, entry["value"], interval, f"{words}: {plain(entry['value'])}")


def tradeoffs_section(comparison: Comparison) -> Html | None:
    """Quality against seconds, memory, parameters and operations; against steps where several were generated."""
    metric = headline(metric_names([shown(model) for model in comparison.models]))
    if metric is None:
        return None
    charts = [steps_chart(comparison, metric), seconds_chart(comparison, metric)]
    for title, label, timing, cost, say in (
        ("memory", "peak memory, MiB", True, _peak, lambda v: memory(v * 2**20)),
        ("parameters", "parameters, millions", False, _parameters, lambda v: short(v * 1e6)),
        ("operations", "GFLOP per video", False, _flop, lambda v: short(v * 1e9, "FLOP")),
    ):
        charts.append(cost_chart(comparison, metric, title, label, cost, say, timing))
    charts = [chart for chart in charts if chart]
    if not charts:
        return None
    info = metric_info(metric)
    note = (
        f"{info.label} of the draw in the table, with 95 % intervals. The stepped line is the Pareto front: nothing "
        "here is both cheaper and better than a point on it."
    )
    return join(
        element("p", note, class_="note"),
        legend(names_of(comparison)),
        element("div", charts, class_="charts"),
    )


def _peak(model: ModelRecord) -> float | None:
    found = model.draws[0].timing.get("peak_memory_bytes") if model.draws else None
    return None if found is None else found / 2**20


def _parameters(model: ModelRecord) -> float | None:
    return sum(model.parameters.values()) / 1e6 or None


def _flop(model: ModelRecord) -> float | None:
    found = model.draws[0].flop_per_video if model.draws else None
    return None if found is None else found / 1e9


def _y_label(metric: str) -> str:
    info = metric_info(metric)
    return f"{info.label} {info.arrow}".strip()


def _front(metric: str) -> str | None:
    better = metric_info(metric).better
    return better if better in ("lower", "higher") else None


def _levels(comparison: Comparison, metric: str) -> list[tuple[float, str]]:
    floor = floors(comparison).get(metric)
    return [] if floor is None else [(floor, "real clips")]


def cost_chart(
    comparison: Comparison,
    metric: str,
    title: str,
    label: str,
    cost: Callable[[ModelRecord], float | None],
    say: Callable[[float], str],
    timing: bool,
) -> Html | None:
    """One point per model: `metric` against `cost`."""
    series = []
    for i, model in enumerate(comparison.models):
        x = cost(model)
        point = metric_point(model.draws[0], metric, x, f"{model.name}, {say(x)}") if x is not None else None
        if point:
            series.append(Series(model.name, i, [point], marks=True))
    if not series:
        return None
    costs = [s.points[0].x for s in series]
    chart = Chart(
        f"{metric_info(metric).label} against {title}", label, _y_label(metric), series, _levels(comparison, metric),
        log_x=max(costs) > 4 * min(costs), labels=True, front=_front(metric), timing=timing,
    )  # fmt: skip
    return chart.figure("; ".join(s.points[0].says for s in series) + ".")


def alike(model: ModelRecord) -> list[Draw]:
    """Draws whose numbers may share an axis with the first: as many clips of as many frames."""
    return [d for d in model.draws if (d.count, d.frames) == (model.draws[0].count, model.draws[0].frames)]


def steps_chart(comparison: Comparison, metric: str) -> Html | None:
    """Quality against the steps of the sampler, if clips of a model were generated with several."""
    if all(len({d.steps for d in alike(m)}) < 2 for m in comparison.models if m.draws):
        return None
    return _draws_chart(comparison, metric, "steps", "sampler steps", lambda d: float(d.steps), str, False)


def seconds_chart(comparison: Comparison, metric: str) -> Html | None:
    """Quality against seconds per video, every draw of every model."""
    return _draws_chart(
        comparison,
        metric,
        "seconds",
        "seconds per video",
        lambda d: d.timing.get("seconds_per_video"),
        duration,
        True,
    )


def _draws_chart(
    comparison: Comparison,
    metric: str,
    title: str,
    label: str,
    place: Callable[[Draw], float | None],
    say: Callable[[float], str],
    timing: bool,
) -> Html | None:
    series = []
    for i, model in enumerate(comparison.models):
        by_sampler: dict[tuple[str, float], list[Point]] = {}
        for draw in alike(model) if model.draws else []:
            x = place(draw)
            words = f"{model.name}, {draw.sampler.removesuffix('Sampler')} {draw.steps} steps{guided(draw)}"
            if title == "seconds" and x is not None:
                words += f", {say(x)}"
            point = None if x is None else metric_point(draw, metric, x, words)
            if point:
                by_sampler.setdefault((draw.sampler, draw.guidance), []).append(point)
        for k, points in enumerate(by_sampler.values()):
            joined = sorted(points, key=lambda p: p.x)
            series.append(Series(model.name, i, joined, marks=True, dashed=k > 0))
    places = [p.x for s in series for p in s.points]
    if not places:
        return None
    log = min(places) > 0 and max(places) > 4 * min(places)
    chart = Chart(
        f"{metric_info(metric).label} against {title}", label, _y_label(metric), series, _levels(comparison, metric),
        log_x=log, labels=True, front=_front(metric) if timing else None, timing=timing,
    )  # fmt: skip
    return chart.figure("; ".join(p.says for s in series for p in s.points) + ".")


def drift_section(comparison: Comparison) -> Html | None:
    """Quality along long videos, window by window; no curve without intervals."""
    entries = [part["metrics"] for model in comparison.models for part in model.drift]
    names = metric_names(entries)
    if not names:
        return None
    first = headline(names)
    directed = [name for name in names if metric_info(name).better != "none"]
    chosen = list(dict.fromkeys([*([first] if first else []), *directed, *names]))
    shown = [name for name in chosen if any(has_interval(entry.get(name)) for entry in entries)][:MOST_DRIFTS]
    count = videos_text(entries)
    note = f"Each mark is a window of frames, measured like a clip of its own, with its 95 % interval over {count}."
    note += " A model that does not drift stays level; where intervals overlap, a difference may be chance."
    without = [
        metric_info(name).label for name in chosen if not any(has_interval(e.get(name)) for e in entries)
    ]
    if without:
        note += f" Without a curve, as {count} give no interval: {', '.join(dict.fromkeys(without))}."
    charts = [drift_chart(comparison, metric) for metric in shown]
    return join(
        element("p", note, class_="note"),
        legend(names_of(comparison)) if charts else None,
        element("div", charts, class_="charts") if charts else None,
    )


def videos_text(entries: Sequence[Mapping[str, Mapping[str, Any]]]) -> str:
    """``8 videos of each model``: on how many the windows were measured."""
    counts = sorted(
        {max((e.get("count") or 0 for e in entry.values()), default=0) for entry in entries} - {0}
    )
    return f"{' or '.join(map(str, counts)) or 'an unknown number of'} videos of each model"


def drift_chart(comparison: Comparison, metric: str) -> Html:
    """One metric against the frame in the middle of each window; windows without an interval have no mark.

    Models stand a little beside each other, so that no interval hides another.
    """
    series, gaps = [], 0
    for i, model in enumerate(comparison.models):
        points = []
        for part in model.drift:
            entry = part["metrics"].get(metric) or {}
            if not has_interval(entry):
                gaps += entry.get("value") is not None
                continue
            first, last = part["frames"]
            low, high = entry["interval"]
            words = f"{model.name}, frames {first} to {last}, {entry.get('count')} videos: "
            words += f"{plain(entry['value'])} ({plain(low)} to {plain(high)})"
            aside = (i - (len(comparison.models) - 1) / 2) * 0.04 * (last - first + 1)
            points.append(Point((first + last) / 2 + aside, entry["value"], (low, high), words))
        if points:
            series.append(Series(model.name, i, points, marks=True))
    entries = [part["metrics"].get(metric, {}) for model in comparison.models for part in model.drift]
    count = videos_text([{metric: entry} for entry in entries])
    title = f"{metric_info(metric).label} along the video, {count}"
    if gaps:
        title += f"; {gaps} window{'s' * (gaps > 1)} without an interval left out"
    # the floor of these few clips, not of the table's many: a distance grows as clips get fewer
    floor = [entry.get("floor") for entry in entries]
    levels = [(value, "real clips") for value in floor[:1] if value is not None]
    chart = Chart(title, "frame", _y_label(metric), series, levels)
    return chart.figure("; ".join(p.says for s in series for p in s.points) + ".")
