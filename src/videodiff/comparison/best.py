"""Which value of a column is best.

The best has an interval that lies apart from all others', is better than clips made without a model by more than the
intervals, and is of a model that no such clips beat on the protocol's distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from videodiff.metrics.directory import DISTANCES, Direction, better

# A bootstrap of clips that all gave one value has no width, which says little: of n such clips up to 3/n of all may
# give another (the rule of three). From this many on that is 3 %.
ENOUGH = 100

Entries = Mapping[str, Mapping[str, Any]]


def penalty(entry: Mapping[str, Any], way: Direction) -> float:
    """A value on the scale of :func:`penalty_interval`; towards the real clips, but without theirs, as it is."""
    value, floor = entry["value"], entry.get("floor")
    if way == "higher":
        return -value
    return abs(value - floor) if way == "real" and floor is not None else value


def penalty_interval(entry: Mapping[str, Any] | None, way: Direction) -> tuple[float, float] | None:
    """The interval of a value on a scale where lower is better, or None where nothing can be said.

    Towards the real clips (``real``) the scale is the distance from their value, which stands as ``floor``.
    """
    if not entry or entry.get("value") is None or not entry.get("interval") or way == "none":
        return None
    low, high = entry["interval"]
    if low == high and entry.get("count", 0) < ENOUGH:
        return None
    if way == "lower":
        return low, high
    if way == "higher":
        return -high, -low
    floor = entry.get("floor")
    if floor is None:
        return None
    ends = sorted((abs(low - floor), abs(high - floor)))
    return (0.0 if low <= floor <= high else ends[0]), ends[1]


def has_interval(entry: Mapping[str, Any] | None) -> bool:
    """Whether a value has an interval that says something: of few clips that all gave one value it does not."""
    return penalty_interval(entry, "lower") is not None


def is_better(
    entry: Mapping[str, Any] | None, other: Mapping[str, Any] | None, way: Direction
) -> bool | None:
    """Whether a value lies on the better side of another by more than the intervals; None where one has no interval."""
    ours, theirs = penalty_interval(entry, way), penalty_interval(other, way)
    return None if ours is None or theirs is None else ours[1] < theirs[0]


def best_towards(
    entries: Sequence[Mapping[str, Any] | None],
    way: Direction,
    without_model: Sequence[Mapping[str, Any] | None] = (),
) -> int | None:
    """Position of the one value whose interval lies wholly on the better side of every other's.

    None if any value has no interval (what is unknown cannot be beaten), if intervals touch, or if there is nothing to
    compare with; a model without this metric takes no part. Intervals that do not overlap are a stricter test than a
    difference at the same level: what is marked is safe, what is not marked may still differ.

    Args:
        entries: of the models, one metric.
        way: in which it is better.
        without_model: the same metric of clips made without a model: they are never best, but must be beaten.
    """
    there = [i for i, entry in enumerate(entries) if entry and entry.get("value") is not None]
    penalties = [(i, penalty_interval(entries[i], way)) for i in there]
    found = [(i, interval) for i, interval in penalties if interval is not None]
    if len(found) < 2 or len(found) < len(penalties):
        return None
    best, interval = min(found, key=lambda pair: pair[1][1])
    if not all(interval[1] < other[0] for i, other in found if i != best):
        return None
    rivals = [entry for entry in without_model if entry and entry.get("value") is not None]
    return best if all(is_better(entries[best], rival, way) for rival in rivals) else None


def best_of(
    records: Sequence[Entries],
    names: Sequence[str],
    without_model: Sequence[Entries] = (),
) -> dict[str, int | None]:
    """For each metric the position of the model that is marked as best, or None.

    A model that clips made without one beat on the protocol's distance, by more than the intervals, is best in nothing.

    Args:
        records: metrics of the models.
        names: of the metrics.
        without_model: metrics of noise and frozen frames.
    """
    distance = distance_of(records)
    beaten = {
        i
        for i, record in enumerate(records)
        for base in without_model
        if distance and is_better(base.get(distance), record.get(distance), "lower")
    }
    found = {
        name: best_towards(
            [record.get(name) for record in records], better(name), [base.get(name) for base in without_model]
        )
        for name in names
    }
    return {name: None if best in beaten else best for name, best in found.items()}


def distance_of(records: Sequence[Entries]) -> str | None:
    """The distance that the protocol of these metrics is about, None where no distance was measured."""
    return next((name for name in DISTANCES if any(name in record for record in records)), None)
