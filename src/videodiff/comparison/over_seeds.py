"""Several trainings of one system, measured on the same clips, as one row: means, clips and seeds in one interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from videodiff.comparison.record import Draw, Metrics, ModelRecord, Training
from videodiff.metrics.intervals import repeats_interval

HOW_COMBINED = (
    "Values are means over the seeds. Their 95 % interval joins two: over seeds, Student's t of the mean; over clips, "
    "the root mean square of the seeds' own intervals, which more seeds do not narrow, as all are measured on the same "
    "real clips. Half-widths are added in squares; the noise of generated clips is in both, so the interval errs on "
    "the wide side. With one seed it is the interval over clips alone."
)


def over_seeds(entries: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """One metric of several trainings as one entry.

    Args:
        entries: of each seed, as results hold them; None where it was not measured.

    Returns:
        ``value``, the mean; ``interval``, see :data:`HOW_COMBINED`; ``over_clips`` and ``over_seeds``, its two parts,
        None where unknown; ``seeds``, the values; ``count`` and ``floor`` as of the first.
    """
    there = [entry for entry in entries if entry and entry.get("value") is not None]
    if not there:
        return {"value": None, "interval": None, "seeds": [], "over_clips": None, "over_seeds": None}
    values = [float(entry["value"]) for entry in there]
    mean = fmean(values)
    clips = seeds = None
    if all(entry.get("interval") for entry in there):
        below = math.sqrt(
            fmean((value - entry["interval"][0]) ** 2 for value, entry in zip(values, there, strict=True))
        )
        above = math.sqrt(
            fmean((entry["interval"][1] - value) ** 2 for value, entry in zip(values, there, strict=True))
        )
        clips = [mean - below, mean + above]
    if len(values) > 1:
        found = repeats_interval(values)
        seeds = [found.low, found.high]
    parts = [part for part in (clips, seeds) if part is not None]
    interval = [
        mean + sign * math.hypot(*(part[end] - mean for part in parts)) for end, sign in ((0, -1), (1, 1))
    ]
    if (
        interval
        and parts
        and min(entry["value"] for entry in there) >= 0
        and (clips is None or clips[0] >= 0)
    ):
        interval[0] = max(interval[0], 0.0)  # a distance or a share: no seed's own interval goes below
    known = {key: there[0][key] for key in ("count", "floor") if there[0].get(key) is not None}
    return {
        **known, "value": mean, "interval": interval if parts else None, "seeds": values, "over_clips": clips,
        "over_seeds": seeds,
    }  # fmt: skip


def metrics_over_seeds(records: Sequence[Metrics]) -> Metrics:
    """:func:`over_seeds` of every metric that any of the trainings has."""
    names = dict.fromkeys(name for record in records for name in record)
    return {name: over_seeds([record.get(name) for record in records]) for name in names}


def system_record(name: str, trained: Sequence[ModelRecord]) -> ModelRecord:
    """The trainings of one system as one model of a table: means of what differs, the rest of the first.

    Args:
        name: of the system.
        trained: one for each seed, the first draw of each is taken.

    Raises:
        ValueError: if there is none.
    """
    if not trained:
        raise ValueError(f"{name}: no training of it was measured")
    first = trained[0]
    draws = [each.draws[0] for each in trained]
    stage = None
    if first.first_stage is not None:
        stages = [each.first_stage or {} for each in trained]
        stage = {
            **first.first_stage,
            "metrics": metrics_over_seeds([found.get("metrics", {}) for found in stages]),
        }
    warnings = dict.fromkeys(text for each in trained for text in each.warnings)
    return replace(
        first,
        name=name,
        training=mean_training([each.training for each in trained]),
        draws=[mean_draw(draws)],
        first_stage=stage,
        nearest=[],
        drift=[],
        warnings=list(warnings),
    )


def mean_draw(draws: Sequence[Draw]) -> Draw:
    """The draws of all seeds as one."""
    timing = {key: mean_of([draw.timing.get(key) for draw in draws]) for key in draws[0].timing}
    return replace(draws[0], metrics=metrics_over_seeds([draw.metrics for draw in draws]), timing=timing)


def mean_training(trainings: Sequence[Training]) -> Training:
    """The cost of a training, on average; curves are of the first."""
    clips = mean_of([training.clips for training in trainings])
    return replace(
        trainings[0],
        steps=round(fmean(training.steps for training in trainings)),
        clips=None if clips is None else round(clips),
        seconds=mean_of([training.seconds for training in trainings]),
    )


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None if a value is not known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
