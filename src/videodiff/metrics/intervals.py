"""Intervals of scores: how far a value may move with other clips; here for means and repeats.

Distances between distributions take the jackknife (frechet_intervals.py). Clips drawn *with* replacement act like
fewer clips, so that a bootstrap of such a distance is centred far above its value; leaving clips out keeps all clips
different, and its variance errs on the large side (Efron & Stein 1981). Means over clips (PSNR, SSIM, LPIPS) take the
percentile bootstrap, or Student's t where clips are few; the kernel distance takes one that leaves out pairs of a clip
with its own copy. Differences of two models leave out, or draw, the same clips for both. docs/metrics.md has the
measured coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from videodiff.metrics.moments import Features, as_float64
from videodiff.say import counted

# Videos below which a mean has a t interval: the percentile bootstrap of two values holds their mean half of the time,
# of eight nine times in ten.
FEW = 10


@dataclass(frozen=True)
class Interval:
    """A value with its interval.

    Attributes:
        value: the score.
        low: lower end.
        high: upper end.
        sd: estimated standard deviation of the score over fresh draws of the clips.
        level: share of such intervals meant to hold the score's expectation at this count.
        method: how it was made.
    """

    value: float
    low: float
    high: float
    sd: float
    level: float
    method: str


def mean_interval(
    values: Features,
    level: float = 0.95,
    resamples: int = 2000,
    clips_per_video: int = 1,
    seed: int = 0,
    within: tuple[float, float] | None = None,
) -> Interval:
    """Percentile bootstrap of a mean over clips (PSNR, SSIM, LPIPS); of fewer than 10 videos Student's t.

    Equal values have no width, unless it is known between which bounds another could lie: n videos alike leave room for
    up to ``1 - (1 - level)^(1/n)`` of all to differ (about 3/n), wholly so at worst.

    Args:
        values: one per clip, ``[N]``.
        level: nominal coverage.
        resamples: draws of N clips with replacement.
        clips_per_video: so many clips in a row come from one video and are drawn together.
        seed: numpy's generator; torch's is not touched.
        within: bounds of a value, such as (0, 1) of a share; the interval keeps to them.

    Raises:
        ValueError: if there are fewer than 2 values (or videos), or one is not finite.
    """
    values = as_float64(values)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(
            f"values must be finite, one per clip; {np.sum(~np.isfinite(values))} of {values.size} are not"
        )
    videos = np.arange(len(values)) // clips_per_video
    sums, counts = np.bincount(videos, weights=values), np.bincount(videos)
    if len(sums) < 2:
        raise ValueError(f"an interval needs at least 2 clips from different videos, got {len(sums)}")
    mean = float(values.mean())
    if within is not None and values.min() == values.max():
        share, (least, most) = 1 - (1 - level) ** (1 / len(sums)), within
        low, high = mean - share * (mean - least), mean + share * (most - mean)
        return Interval(mean, low, high, 0.0, level, f"{len(sums)} alike")
    if len(sums) < FEW:
        found = repeats_interval((sums / counts).tolist(), level)
        low, high = mean - found.value + found.low, mean - found.value + found.high
        if within is not None:
            low, high = max(low, within[0]), min(high, within[1])
        return Interval(mean, low, high, found.sd / len(sums) ** 0.5, level, f"t of {len(sums)} videos")
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), resamples)
    means = (drawn @ sums) / (drawn @ counts)
    return quantile_interval(mean, means, level, f"bootstrap over clips, {resamples} draws")


def mean_difference_interval(values_a: Features, values_b: Features, **options: Any) -> Interval:
    """Percentile bootstrap of the mean difference of two models on the same clips, clip by clip.

    Args:
        values_a: one per clip, ``[N]``.
        values_b: the other model's on the same clips.
        options: of :func:`mean_interval`.

    Raises:
        ValueError: if the numbers of clips differ.
    """
    values_a, values_b = as_float64(values_a), as_float64(values_b)
    if values_a.shape != values_b.shape:
        raise ValueError(
            f"both models need values of the same clips, got {len(values_a)} and {len(values_b)}"
        )
    return mean_interval(values_a - values_b, **options)


def repeats_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Interval of a score's expectation from independent repeats with fresh clips (LVDM, DIGAN: 10).

    ``sd`` is that of one repeat, as papers print it; the interval is that of the mean.

    Raises:
        ValueError: if there are fewer than 2 repeats.
    """
    array = as_float64(np.asarray(values))
    if array.ndim != 1 or len(array) < 2 or not np.isfinite(array).all():
        raise ValueError(f"repeats_interval needs at least 2 finite values, got {list(values)}")
    mean, sd = float(array.mean()), float(array.std(ddof=1))
    half = student_quantile(level, len(array) - 1) * sd / len(array) ** 0.5
    return Interval(mean, mean - half, mean + half, sd, level, f"{counted(len(array), 'repeat')}")


def student_quantile(level: float, degrees: float) -> float:
    """Two-sided quantile of Student's t: exact at 1 and 2 degrees, else by its expansion around the normal one."""
    if degrees == 1:
        return math.tan(math.pi * level / 2)
    if degrees == 2:
        return level * math.sqrt(2 / (1 - level**2))
    z = NormalDist().inv_cdf((1 + level) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / degrees ** (k + 1) for k, term in enumerate(terms))


def quantile_interval(value: float, draws: np.ndarray, level: float, method: str) -> Interval:
    """The middle `level` of draws, ``[resamples]``."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), float(draws.std(ddof=1)), level, method)
