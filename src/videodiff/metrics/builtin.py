"""Distances of the built-in evaluator, each with its floor: the distance of two real sets of the same size.

"evaluator-FD" is the Frechet distance on :class:`~videodiff.metrics.features.evaluator.EvaluatorFeatures`; "rand-FD"
that on :class:`~videodiff.metrics.features.random.RandomFeatures`, every feature standardised by the real side.
Neither is an FVD, and neither can be compared with one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from videodiff.metrics.features.base import FeatureExtractor
from videodiff.metrics.features.random import RandomFeatures
from videodiff.metrics.frechet import frechet_distance
from videodiff.metrics.moments import Features, FeatureStats

# Below this share of the typical deviation a feature is constant on the real side. It is measured in the typical one:
# in a tiny unit, one generated clip that wakes it would count for more than all other features together.
CONSTANT = 1e-6


def standardised(data: FeatureStats, real: FeatureStats) -> FeatureStats:
    """The statistics of ``(f - mean) / scale`` with mean and standard deviation (divisor N) of the real side.

    Works on the sums alone; features are carried along where they were kept.

    Args:
        data: either side.
        real: the real side.
    """
    mean = real.mean()
    variance = np.diag(real.covariance()).clip(min=0)
    typical = float(np.sqrt(variance.mean())) or 1.0  # all clips equal: no scale to speak of
    scale = np.where(np.sqrt(variance) > CONSTANT * typical, np.sqrt(variance), typical)
    if data.features is not None:
        return FeatureStats.from_features((data.features - mean) / scale, max(data.keep_features, data.n))
    cross = np.outer(data.sum, mean)
    outer = data.outer - cross - cross.T + data.n * np.outer(mean, mean)
    return FeatureStats(data.n, (data.sum - data.n * mean) / scale, outer / np.outer(scale, scale))


def random_distance(real: FeatureStats | Features, fake: FeatureStats | Features, ddof: int = 0) -> float:
    """rand-FD: Frechet distance of features that are standardised by the real side.

    Raises:
        ValueError: as :func:`~videodiff.metrics.frechet.frechet_distance`.
    """
    real, fake = _stats(real), _stats(fake)
    return frechet_distance(standardised(real, real), standardised(fake, real), ddof)


@dataclass(frozen=True)
class BesideFloor:
    """A distance and its floor, both with `count` clips on each side.

    Args:
        value: distance of the generated clips from the real ones.
        floor: distance of other real clips from the same real ones.
        count: clips a side.
    """

    value: float
    floor: float
    count: int

    @property
    def excess(self) -> float:
        """Distance above the floor; about 0 for clips that cannot be told from real ones."""
        return self.value - self.floor


def distance(features: FeatureExtractor, real: FeatureStats, fake: FeatureStats, ddof: int = 0) -> float:
    """The Frechet distance that belongs to an extractor: standardised for random features, plain for others."""
    measure = random_distance if isinstance(features, RandomFeatures) else frechet_distance
    return measure(real, fake, ddof)


def floor(features: FeatureExtractor, real: FeatureStats, other_real: FeatureStats, ddof: int = 0) -> float:
    """The distance between two sets of real clips, the least that a generator can reach.

    Args:
        features: the extractor that gave both.
        real: the real side that generated clips are compared with.
        other_real: other real clips, as many.
        ddof: the covariance's divisor is ``N - ddof``.

    Raises:
        ValueError: if the counts differ (a Frechet distance falls with the count), or as ``frechet_distance``.
    """
    if real.n != other_real.n:
        raise ValueError(
            f"a floor needs two draws of the same count, got {real.n} and {other_real.n} real clips"
        )
    return distance(features, real, other_real, ddof)


def beside_floor(
    features: FeatureExtractor,
    real: FeatureStats,
    fake: FeatureStats,
    other_real: FeatureStats,
    ddof: int = 0,
) -> BesideFloor:
    """Distance and floor against the same real side.

    Raises:
        ValueError: if the three counts differ, or as ``frechet_distance``.
    """
    if fake.n != real.n:
        raise ValueError(
            f"distance and floor need equal counts, got {real.n} real and {fake.n} generated clips"
        )
    return BesideFloor(distance(features, real, fake, ddof), floor(features, real, other_real, ddof), real.n)


def clip_stats(features: FeatureExtractor, batches: Iterable[Tensor]) -> FeatureStats:
    """Statistics of batches of uint8 clips ``[B, T, H, W, 3]``; features are kept."""
    stats = FeatureStats.empty(features.dim)
    for clips in batches:
        stats.update(features(clips))
    return stats


def _stats(data: FeatureStats | Features) -> FeatureStats:
    return data if isinstance(data, FeatureStats) else FeatureStats.from_features(data)
