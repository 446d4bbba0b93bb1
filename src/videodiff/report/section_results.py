"""The numbers of a comparison: metrics, first stages, costs, other draws, and rows of papers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from videodiff.comparison.record import Comparison, Draw, ModelRecord, Training
from videodiff.data.real_clips import shown as told
from videodiff.metrics.directory import OF_WORDS, headline, metric_info
from videodiff.report.markup import Html, element, join
from videodiff.report.number_format import NONE, duration, memory, plain, short
from videodiff.report.table import (
    best_models,
    column_head,
    footnotes,
    metric_cell,
    metric_head,
    metric_names,
    metric_table,
    model_head,
    plain_table,
)

COSTS = (
    ("parameters", "Of all parts that generate: the network, and the first stage where there is one."),
    ("training steps", "Optimizer steps of the checkpoint, without those of its first stage."),
    ("clips seen", "Optimizer steps times the clips of a step."),
    ("training time", "Seconds per step as recorded, summed; without validation, samples and pauses."),
    ("per training step", "Operations forward and backward, encoding included; a multiply-add counts as two."),
    ("sampler", "With its steps, for all models alike unless given otherwise."),
    ("per video", "Operations of sampling and decoding one video; a multiply-add counts as two."),
    ("seconds per video", "Median over batches, the first left out where there are others; on the machine that made "
     "this page."),
    ("peak memory", "Of one batch, weights included, on the machine that made this page."),
)  # fmt: skip
STEPS = COSTS[1:4]
ORIGIN = ("resolution", "resize", "fps", "frame_stride")


def shown(model: ModelRecord) -> Mapping[str, Any]:
    """The metrics of the draw that the table shows."""
    return model.draws[0].metrics if model.draws else {}


def floors(comparison: Comparison) -> dict[str, float]:
    """What real clips get, by metric; from the first model that has it."""
    return beside(comparison, "floor")


def beside(comparison: Comparison, key: str) -> dict[str, float]:
    """What stands under a key beside the values of each metric; from the first model that has it."""
    found: dict[str, float] = {}
    for model in comparison.models:
        for name, entry in shown(model).items():
            if entry.get(key) is not None:
                found.setdefault(name, entry[key])
    return found


def results_section(comparison: Comparison) -> Html:
    """The main table."""
    models = [(model.name, shown(model)) for model in comparison.models]
    others = [(baseline["name"], baseline["metrics"]) for baseline in comparison.baselines]
    names = metric_names([record for _, record in [*models, *others]])
    note = (
        "Each value stands above its 95 % interval. ★ marks the best value of a column only where its interval lies "
        "apart from that of every other model and of the clips made without one; a model that those beat on the "
        "protocol's distance is best in nothing."
    )
    floor, chance = floors(comparison), beside(comparison, "chance")
    plain_names = [name for name in names if name not in OF_WORDS]
    told_names = [name for name in names if name in OF_WORDS]
    words = metric_table(models, others, floor, chance, "What clips were told in words", told_names)
    return join(
        metric_table(models, others, floor, chance, names=plain_names),
        words if told_names else None,
        element("p", note, class_="note"),
        footnotes(names),
    )


def origins_section(comparison: Comparison) -> Html | None:
    """How the clips that each model learnt from are made, where all are judged on one reference of another kind."""
    reference = comparison.settings.get("reference")
    if not reference:
        return None
    heads = ["model", "root", "resolution", "resize", "fps", "frame stride"]

    def cells(data: Mapping[str, Any]) -> list[Html | str]:
        place = str(data.get("root") or data.get("dataset"))
        return [place, *(told(name, data.get(name)) for name in ORIGIN)]

    rows = [[model_head(model.name, i), *cells(model.data)] for i, model in enumerate(comparison.models)]
    rows.append(["the reference", *cells(reference)])
    note = (
        f"Numbers are against clips of the reference. Generated clips of another size were brought to its own by "
        f"its rule, {reference.get('resize')}, and are shown as generated. Nearest training clips are each model's own."
    )
    return join(plain_table(heads, rows, "data"), element("p", note, class_="note"))


def costs_section(comparison: Comparison) -> Html:
    """What the weights and a video cost."""
    heads = ["model", *(column_head(*head) for head in COSTS)]
    rows = []
    for i, model in enumerate(comparison.models):
        draw, training = model.draws[0] if model.draws else None, model.training
        parts = ", ".join(f"{name} {short(count)}" for name, count in model.parameters.items())
        total = join(short(sum(model.parameters.values())), element("small", parts, class_="spread"))
        rows.append([
            model_head(model.name, i), total, f"{training.steps:,}", _count(training.clips),
            duration(training.seconds), short(training.flop_per_step, "FLOP"), *_draw_costs(draw),
        ])  # fmt: skip
    return plain_table(heads, rows, "costs")


def _draw_costs(draw: Draw | None) -> list[Html | str]:
    if draw is None:
        return [NONE] * 4
    seconds, peak = draw.timing.get("seconds_per_video"), draw.timing.get("peak_memory_bytes")
    size = draw.timing.get("batch_size")
    batch = element("small", f"{size:g} at once", class_="spread") if size else None
    return [
        join(
            draw.sampler.removesuffix("Sampler"),
            element("small", f"{draw.steps} steps{guided(draw)}", class_="spread"),
        ),
        short(draw.flop_per_video, "FLOP"),
        element("td", duration(seconds), batch, class_="number", data_timing=True),
        element("td", memory(peak), class_="number", data_timing=True),
    ]


def guided(draw: Draw) -> str:
    """Its scale, where there is guidance."""
    return "" if draw.guidance == 1 else f", guidance {draw.guidance:g}"


def _count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def stage_training(model: ModelRecord) -> Training | None:
    """Training of a model's first stage, None where it has none or nothing is known."""
    found = (model.first_stage or {}).get("training")
    if not isinstance(found, Mapping):
        return found
    known = {f.name for f in fields(Training)}
    return Training(**{key: value for key, value in found.items() if key in known})


def stages_section(comparison: Comparison) -> Html | None:
    """Reconstruction by the first stages, and their training; None if all models work on pixels."""
    staged = [(i, model) for i, model in enumerate(comparison.models) if model.first_stage]
    if not staged:
        return None
    records = [(model.first_stage or {}).get("metrics", {}) for _, model in staged]
    names = metric_names(records)
    best = best_models(records, names)
    heads = ["model", *map(metric_head, names), *(column_head(*head) for head in STEPS)]
    rows = []
    for k, (i, model) in enumerate(staged):
        training = stage_training(model)
        cells = [metric_cell(records[k].get(name), best[name] == k) for name in names]
        known = [NONE] * 3 if training is None else [
            f"{training.steps:,}", _count(training.clips), duration(training.seconds)]  # fmt: skip
        rows.append([model_head(model.name, i), *cells, *known])
    return plain_table(heads, rows, "first stages")


def draws_section(comparison: Comparison) -> Html | None:
    """All draws of all models, if any has more than one."""
    if all(len(model.draws) < 2 for model in comparison.models):
        return None
    metric = headline(metric_names([d.metrics for m in comparison.models for d in m.draws]))
    heads = ["model", "sampler", "steps", "guidance", "frames", "clips", *([metric_head(metric)] if metric else []),
             "per video", "seconds per video"]  # fmt: skip
    rows = []
    for i, model in enumerate(comparison.models):
        for draw in model.draws:
            seconds = duration(draw.timing.get("seconds_per_video"))
            rows.append([
                model_head(model.name, i), draw.sampler.removesuffix("Sampler"), str(draw.steps),
                f"{draw.guidance:g}", str(draw.frames), str(draw.count),
                *([metric_cell(draw.metrics.get(metric))] if metric else []),
                short(draw.flop_per_video, "FLOP"), element("td", seconds, class_="number", data_timing=True),
            ])  # fmt: skip
    return element("details", element("summary", "All draws"), plain_table(heads, rows, "all draws"))


def published_section(comparison: Comparison) -> Html | None:
    """Rows of papers: never ours, and measured otherwise."""
    if not comparison.published:
        return None
    rows = []
    for row in comparison.published:
        info = metric_info(str(row.get("metric", "")))
        value = row.get("value")
        shown_value = plain(value) if isinstance(value, int | float) else str(value)
        rows.append([
            row.get("model", ""), row.get("data", ""), str(row.get("frames", NONE)), f"{info.label} {info.arrow}",
            element("td", shown_value, class_="number"), row.get("protocol", ""), row.get("source", ""),
        ])  # fmt: skip
    heads = ["model", "data", "frames", "metric", "value", "protocol", "source"]
    note = (
        "From papers, copied as printed: other data, budgets, counts and machines. They are here for orientation and "
        "cannot be compared with the table above."
    )
    return join(
        element("p", note, class_="note"), plain_table(heads, rows, "published figures", numbers=False)
    )
