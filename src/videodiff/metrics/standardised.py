"""Features in units of the real clips' spread, for networks whose scales are arbitrary."""

from __future__ import annotations

import numpy as np

from videodiff.metrics.moments import FeatureStats

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
