"""Which way a metric is better, and which value of a column is best: one whose interval lies apart from all others'."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Direction = Literal["lower", "higher", "real", "none"]

# A bootstrap of clips that all gave one value has no width, which says little: of n such clips up to 3/n of all may
# give another (the rule of three). From this many on that is 3 %.
ENOUGH = 100

BETTER: dict[str, Direction] = {
    **dict.fromkeys(("fvd", "fvd_inf", "kvd", "evaluator_fd", "rand_fd", "lpips"), "lower"),
    **dict.fromkeys(("evaluator_is", "is_k400", "is", "psnr", "ssim"), "higher"),
    **dict.fromkeys(("digit_present", "digit_identity", "digit_speed_in_range"), "higher"),
    **dict.fromkeys(("digit_residual", "cloud_spread", "cloud_horizon_error"), "lower"),
    **dict.fromkeys(("cloud_drift_in_range", "cloud_horizon"), "higher"),
    **dict.fromkeys(("digit_speed", "cloud_speed", "cloud_drift_x", "cloud_drift_y"), "real"),
}


def better(name: str) -> Direction:
    """Which way a metric is better; ``real`` is towards the value of the real clips, its floor."""
    return BETTER.get(re.sub(r"_splits\d+$", "", name), "none")


def best_index(entries: Sequence[Mapping[str, Any] | None], name: str) -> int | None:
    """``best_towards`` the way in which the metric of this name is better."""
    return best_towards(entries, better(name))


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


def best_towards(entries: Sequence[Mapping[str, Any] | None], way: Direction) -> int | None:
    """Position of the one value whose interval lies wholly on the better side of every other's.

    None if any value has no interval (what is unknown cannot be beaten), if intervals touch, or if there is nothing to
    compare with; a model without this metric takes no part. Intervals that do not overlap are a stricter test than a
    difference at the same level: what is marked is safe, what is not marked may still differ.
    """
    there = [i for i, entry in enumerate(entries) if entry and entry.get("value") is not None]
    found = [(i, penalty_interval(entries[i], way)) for i in there]
    if len(found) < 2 or any(interval is None for _, interval in found):
        return None
    best, interval = min(found, key=lambda pair: pair[1][1])
    return best if all(interval[1] < other[0] for i, other in found if i != best) else None
