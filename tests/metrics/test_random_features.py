"""rand-FD: the network is the same everywhere, and the distance sees damage and nothing else."""

import numpy as np
import pytest
import torch

from videodiff.data.synthetic import BouncingDigits, DriftingClouds
from videodiff.metrics import baselines
from videodiff.metrics.features.random import RandomFeatures, RandomNet
from videodiff.metrics.moments import FeatureStats
from videodiff.metrics.standardised import standardised
from videodiff.metrics.video import StandardisedFrechetDistance

NUM = 96


def test_the_weights_are_a_function_of_the_seed():
    state = torch.get_rng_state()
    features = RandomFeatures()
    features(torch.zeros(1, 4, 8, 8, 3, dtype=torch.uint8))
    assert torch.equal(torch.get_rng_state(), state)
    # Of the bytes of all weights; another digest means that every rand-FD ever reported is void.
    assert features.weights_sha256 == "4abbb889befd532daf45a69b07c9fd7be5c5bf71868685de9959be4e6435db3f"
    assert RandomNet(1).sha256 != RandomNet(0).sha256


def test_the_first_layer_is_the_convolution_it_says():
    """One output value by hand."""
    network = RandomNet(0)
    x = torch.randn(1, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    layer = network.layers[0]
    patch = torch.zeros(3, 3, 3, 3)
    patch[:, :, 1:, 1:] = x[0, :, 0:3, 0:2, 0:2]  # time 1, upper left corner: one pixel of padding in space
    expected = (layer.weight[5] * patch).sum() + layer.bias[5]
    assert layer(x)[0, 5, 1, 0, 0].item() == pytest.approx(expected.item(), abs=1e-5)
    assert layer.weight.std().item() == pytest.approx((2 / 81) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 9, 9), (4, 8, 8), (5, 17, 31), (16, 32, 32), (4, 80, 72), (33, 16, 16)]
)
def test_any_length_and_size_is_taken(shape):
    clips = baselines.noise_clips(2, *shape)
    features = RandomFeatures()(clips)
    assert features.shape == (2, 336)
    assert torch.isfinite(features).all()


def test_tiny_frames_are_refused():
    with pytest.raises(ValueError, match="8 x 8"):
        RandomFeatures()(torch.zeros(1, 4, 4, 9, 3, dtype=torch.uint8))


def test_features_do_not_depend_on_the_batch():
    clips, features = baselines.noise_clips(3, 4, 16, 16), RandomFeatures()
    assert torch.equal(features(clips), torch.cat([features(clip[None]) for clip in clips]))


@pytest.mark.parametrize("keep", [1000, 0])
def test_standardised_features_have_mean_0_and_variance_1_on_the_real_side(keep):
    rng = np.random.default_rng(0)
    rows = rng.normal(5, [1.0, 20.0, 0.0], (50, 3))
    real = FeatureStats.empty(3, keep)
    real.update(rows)
    result = standardised(real, real)
    np.testing.assert_allclose(result.mean(), 0, atol=1e-9)
    np.testing.assert_allclose(np.diag(result.covariance()), [1, 1, 0], atol=1e-6)


def test_kept_features_and_sums_give_one_distance():
    rng = np.random.default_rng(1)
    rows = [rng.normal(mean, 2, (40, 5)) for mean in (3.0, 4.0)]
    sums = [FeatureStats.from_features(part, keep_features=0) for part in rows]
    metric = StandardisedFrechetDistance()
    kept = map(FeatureStats.from_features, rows)
    assert metric.distance(*kept) == pytest.approx(metric.distance(*sums), rel=1e-9)


def test_rand_fd_does_not_change_when_features_are_rescaled():
    rng = np.random.default_rng(2)
    real, fake = rng.normal(0, 1, (40, 5)), rng.normal(0.3, 1, (40, 5))
    scale, shift = np.array([1, 10, 0.1, 1e3, 1e-3]), 7.0
    metric = StandardisedFrechetDistance()
    plain = metric.distance(*map(FeatureStats.from_features, (real, fake)))
    scaled = metric.distance(*(FeatureStats.from_features(side * scale + shift) for side in (real, fake)))
    assert scaled == pytest.approx(plain, rel=1e-9)


# Half speed is seen in digits; clouds of half speed stay near the floor with so few clips.
@pytest.fixture(
    scope="module",
    params=[(BouncingDigits, 1.5), pytest.param((DriftingClouds, 1.0), marks=pytest.mark.slow)],
)
def draws(request):
    source_class, half_rise = request.param
    source = source_class("test", 2 * NUM, 16, 32)
    clips = torch.stack([source.read(index, 0, 16, 1) for index in range(2 * NUM)])
    half = torch.stack([source.read(index, 0, 16, 0.5) for index in range(NUM, 2 * NUM)])
    return clips[:NUM], clips[NUM:], half, half_rise


@pytest.mark.filterwarnings("ignore:.*fewer clips than numbers.*")
def test_damage_rises_above_the_floor_and_reversal_does_not(draws):
    real, other, half, half_rise = draws
    metric = StandardisedFrechetDistance(RandomFeatures())
    metric.use(real=FeatureStats.from_features(metric.features(real)))
    metric.use(other_real=FeatureStats.from_features(metric.features(other)))

    def rise(clips):
        metric.reset()
        metric.update(clips, real=False)
        entry = metric.entry()
        assert (entry["count"], entry["floor_count"]) == (NUM, NUM)
        assert entry["interval"][0] < entry["value"] < entry["interval"][1]
        return entry["value"] / entry["floor"]

    assert rise(other) == 1

    assert 0.9 < rise(baselines.reverse(other)) < 1.1
    assert rise(baselines.add_noise(other, 0.05)) > 2
    assert rise(baselines.add_noise(other, 0.2)) > 5
    assert rise(baselines.blur(other)) > 1.5
    assert rise(baselines.shuffle_frames(other)) > 1.5
    assert rise(baselines.frozen_clips(other)) > 1.5
    assert rise(half) > half_rise
    assert rise(baselines.noise_clips(NUM, 16, 32, 32)) > 100
