"""A metric as results hold it: its value, the clips behind it, its interval, and what real clips get."""

from __future__ import annotations

from typing import Any

import numpy as np

from videodiff.metrics.intervals import Interval, mean_interval

Entry = dict[str, Any]


def interval_entry(found: Interval, with_sd: bool = False) -> Entry:
    """The keys of an interval; with the standard deviation over fresh draws of the clips, where that is asked for."""
    sd = {"sd": float(found.sd)} if with_sd else {}
    return {"interval": [float(found.low), float(found.high)], **sd, "interval_method": found.method}


def mean_entry(
    values: np.ndarray, within: tuple[float, float] | None = None, with_median: bool = False
) -> Entry:
    """The mean of one number per clip, over the clips for which it is finite, with its interval.

    Args:
        values: one per clip, ``[N]``; NaN where it is not defined, infinite where it has no bound.
        within: bounds of a value, where they are known.
        with_median: also the median.
    """
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return {"value": None, "count": 0}
    entry: Entry = {"value": float(known.mean())}
    if with_median:
        entry["median"] = float(np.median(known))
    entry["count"] = len(known)
    if exact := int(np.isposinf(values).sum()):  # a reconstruction without any error, whose PSNR is infinite
        entry["exact"] = exact
    if len(known) > 1:
        entry |= interval_entry(mean_interval(known, within=within))
    return entry
