"""Which way a metric is better, and which value of a column is best: one whose interval lies apart from all others'."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Direction = Literal["lower", "higher", "real", "none"]

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
    """Position of the one value whose interval lies wholly on the better side of every other's, or None.

    A model without the metric takes no part; a value without an interval leaves nobody marked, for what is unknown
    cannot be beaten.
    """
    there = [i for i, entry in enumerate(entries) if entry and entry.get("value") is not None]
    found = [(i, penalty(entries[i], better(name))) for i in there]
    if len(found) < 2 or any(ends is None for _, ends in found):
        return None
    first, (_, high) = min(found, key=lambda pair: pair[1][1])
    return first if all(high < low for i, (low, _) in found if i != first) else None


def penalty(entry: Mapping[str, Any], way: Direction) -> tuple[float, float] | None:
    """The interval on a scale where less is better; None where there is none."""
    if not entry.get("interval") or way == "none":
        return None
    low, high = entry["interval"]
    if way == "lower":
        return low, high
    if way == "higher":
        return -high, -low
    if entry.get("floor") is None:
        return None
    near, far = sorted((abs(low - entry["floor"]), abs(high - entry["floor"])))
    return (0.0 if low <= entry["floor"] <= high else near), far
