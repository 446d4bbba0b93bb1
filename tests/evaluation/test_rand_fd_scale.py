import numpy as np
import pytest

from videodiff.metrics.moments import FeatureStats
from videodiff.metrics.standardised import standardised
from videodiff.metrics.video import StandardisedFrechetDistance


def rand_fd(real, generated):
    """rand-FD of features ``[N, D]``."""
    return StandardisedFrechetDistance().distance(*map(FeatureStats.from_features, (real, generated)))


def test_a_feature_that_only_generated_clips_wake_does_not_drown_the_others():
    """Few real clips leave some random features at exactly 0; their deviation is no unit to measure in."""
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(64, 20)), rng.normal(size=(64, 20))
    real[:, 0] = 0
    fake[:, 0] = 0
    before = rand_fd(real, fake)
    fake[5, 0] = 0.02  # one clip of 64 wakes it, by a fiftieth of what other features vary by
    assert rand_fd(real, fake) == pytest.approx(before, rel=0.05)


def test_features_that_vary_are_measured_in_their_own_deviation():
    features = np.random.default_rng(1).normal(size=(200, 4)) * [1.0, 2.0, 0.5, 1.5] + 3
    stats = FeatureStats.from_features(features)
    assert np.allclose(standardised(stats, stats).features.std(0), 1)


def test_equal_real_clips_have_no_scale_and_still_give_a_number():
    real = np.ones((8, 3))
    assert rand_fd(real, real + 0.1) == pytest.approx(3 * 0.1**2)
