"""Intervals: what they are made of, what they hold, and how often (the slow test counts)."""

import numpy as np
import pytest

from videodiff.metrics import (
    FeatureStats,
    frechet_difference_interval,
    frechet_distance,
    frechet_infinity_interval,
    frechet_interval,
    kernel_difference_interval,
    kernel_distance,
    kernel_interval,
    mean_difference_interval,
    mean_interval,
    repeats_interval,
)
from videodiff.metrics.intervals import student_quantile
from videodiff.metrics.kernel_intervals import _kernel_draws

SCALE = 5 * np.arange(1, 9) ** -0.6


def draw(count, rng, shift=0.0, scale=1.0):
    """Eight numbers per clip: ten kinds of clips with heavy tails, as features of a network have."""
    kinds = np.random.default_rng(1).standard_normal((10, 8))
    spread = rng.standard_normal((count, 8)) / np.sqrt(rng.chisquare(5, (count, 1)) / 3)
    return (kinds[rng.integers(0, 10, count)] + scale * spread) * SCALE + shift


def coverage(make, truth, trials):
    """Share of intervals that hold the truth."""
    held = [interval.low <= truth <= interval.high for interval in (make(k) for k in range(trials))]
    return np.mean(held)


@pytest.mark.parametrize(
    ("level", "degrees", "quantile"),
    [
        (0.95, 1, 12.706),
        (0.95, 2, 4.303),
        (0.95, 3, 3.182),
        (0.95, 4, 2.776),
        (0.95, 9, 2.262),
        (0.95, 38, 2.024),
        (0.90, 19, 1.729),
        (0.99, 30, 2.750),
    ],
)
def test_student_quantiles_are_those_of_the_tables(level, degrees, quantile):
    assert student_quantile(level, degrees) == pytest.approx(quantile, rel=0.02)


def test_leaving_out_single_clips_of_a_mean_gives_its_standard_error():
    """Without covariance FD is a squared mean: to first order its deviation is 2 |mean| sd / sqrt(N)."""
    rng = np.random.default_rng(0)
    x = 100 + rng.standard_normal((400, 1))
    y = np.zeros((400, 1)) + 1e-9 * rng.standard_normal((400, 1))
    interval = frechet_interval(x, y, groups=400)
    assert interval.value == frechet_distance(x, y)
    assert interval.sd == pytest.approx(2 * 100 * x.std() / 20, rel=0.05)
    root = interval.value**0.5
    assert interval.high**0.5 - root == pytest.approx(root - interval.low**0.5, rel=1e-9)
    assert interval.high - interval.low == pytest.approx(2 * 1.966 * interval.sd, rel=0.01)


def test_an_interval_lies_around_the_value_where_a_bootstrap_does_not():
    rng = np.random.default_rng(0)
    x, y = draw(60, rng), draw(60, rng)
    interval = frechet_interval(x, y)
    assert 0 <= interval.low < interval.value < interval.high
    assert interval.value == frechet_distance(x, y)
    drawn = [frechet_distance(x[rng.integers(0, 60, 60)], y[rng.integers(0, 60, 60)]) for _ in range(100)]
    assert np.mean(drawn) > 1.4 * interval.value


def test_equal_sides_have_an_interval_from_zero():
    x = draw(40, np.random.default_rng(0))
    interval = frechet_interval(x, x)
    assert interval.value == pytest.approx(0, abs=1e-9)
    assert interval.low == 0 < interval.high


def test_the_same_call_gives_the_same_interval_from_statistics_or_features():
    rng = np.random.default_rng(0)
    x, y, z = (draw(50, rng, shift) for shift in (0, 0.5, 1))
    held = [FeatureStats.from_features(side) for side in (x, y, z)]
    assert frechet_interval(*held[:2]) == frechet_interval(x, y)
    assert kernel_interval(*held[:2]) == kernel_interval(x, y)
    assert frechet_difference_interval(*held) == frechet_difference_interval(x, y, z)
    assert frechet_interval(x, y, seed=1) != frechet_interval(x, y)


def test_a_fixed_real_side_makes_the_interval_narrower_and_needs_no_features():
    rng = np.random.default_rng(0)
    x, y = draw(80, rng), draw(80, rng, 0.5)
    sums = FeatureStats.from_features(x, keep_features=0)
    fixed = frechet_interval(x, y, sides="generated")
    assert fixed.sd < frechet_interval(x, y).sd
    assert frechet_interval(sums, y, sides="generated").sd == pytest.approx(fixed.sd, rel=1e-6)
    with pytest.raises(ValueError, match="hold sums alone"):
        frechet_interval(sums, y)


def test_pairs_are_left_out_together():
    rng = np.random.default_rng(0)
    x = draw(200, rng)
    y = x + 3 + 0.01 * rng.standard_normal(x.shape)
    assert frechet_interval(x, y, paired=True).sd < 0.05 * frechet_interval(x, y).sd
    with pytest.raises(ValueError, match="one clip each for the other, got 200 and 199"):
        frechet_interval(x, y[:199], paired=True)


def test_clips_of_one_video_are_left_out_and_drawn_together():
    rng = np.random.default_rng(0)
    x, y = (np.repeat(draw(60, rng, shift), 5, axis=0) for shift in (0, 0.5))
    as_videos, as_clips = (frechet_interval(x, y, clips_per_video=k) for k in (5, 1))
    alone = frechet_interval(x[::5], y[::5])
    assert as_videos.sd == pytest.approx(alone.sd, rel=1e-6)
    assert as_clips.sd < 0.7 * as_videos.sd
    values = np.repeat(rng.standard_normal(60), 5)
    assert mean_interval(values, clips_per_video=5).sd == pytest.approx(values.std() / 60**0.5, rel=0.1)
    assert mean_interval(values).sd == pytest.approx(values.std() / 300**0.5, rel=0.1)


def test_a_difference_on_common_real_clips_is_sharper_than_two_intervals():
    rng = np.random.default_rng(0)
    x, a = draw(100, rng), draw(100, rng, 1.0)
    b = a + 0.3
    for difference, single in (
        (frechet_difference_interval, frechet_interval),
        (kernel_difference_interval, kernel_interval),
    ):
        interval = difference(x, a, b)
        assert interval.value == pytest.approx(single(x, a).value - single(x, b).value, rel=1e-9)
        assert interval.sd < np.hypot(single(x, a).sd, single(x, b).sd)
        same = difference(x, a, a)
        assert same.value == 0
        assert same.low <= 0 <= same.high
    with pytest.warns(UserWarning, match="100 clips of one model against 50"):
        frechet_difference_interval(x, a, b[:50])


def test_kernel_draws_never_pair_a_clip_with_its_copy():
    """Drawn values scatter around the value itself; with copies they would lie above it by mean k(x, x) / N."""
    rng = np.random.default_rng(0)
    x, y = draw(25, rng), draw(30, rng)
    (draws,) = _kernel_draws(x, [y], 4000, 0)
    copies = sum(np.mean((np.sum(side * side, axis=1) / 8 + 1) ** 3) / len(side) for side in (x, y))
    assert abs(draws.mean() - kernel_distance(x, y)) < 0.1 * copies
    assert kernel_interval(x, y).value == kernel_distance(x, y)


def test_the_fit_at_infinity_has_an_interval_around_its_value():
    rng = np.random.default_rng(0)
    x, y = draw(160, rng), draw(160, rng, 1.0)
    interval = frechet_infinity_interval(x, y)
    assert interval.low < interval.value < interval.high
    assert interval.value < frechet_distance(x, y)
    assert interval.sd < 4 * frechet_interval(x, y).sd


def test_the_interval_of_a_mean_is_the_textbooks():
    values = np.random.default_rng(0).standard_normal(400)
    interval = mean_interval(values)
    half = 1.96 * values.std() / 20
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    shifted = mean_difference_interval(values + 0.1, values)
    assert shifted.low == pytest.approx(0.1) == shifted.high
    assert repeats_interval([1.0, 3.0]).value == 2
    assert repeats_interval([1.0, 2.0, 3.0, 4.0, 5.0]).sd == pytest.approx(2.5**0.5)


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_an_interval_of_few_clips_holds_the_mean_as_often_as_it_says(count):
    values = np.random.default_rng(count).standard_normal((2000, count))
    assert 0.92 < coverage(lambda k: mean_interval(values[k]), 0.0, 2000) < 0.975
    found = mean_interval(
        np.repeat(values[0], 4), clips_per_video=4
    )  # clips of one video say no more than one
    assert (found.low, found.high) == pytest.approx(
        (mean_interval(values[0]).low, mean_interval(values[0]).high)
    )


def test_a_share_that_all_clips_agree_on_has_an_interval():
    """Of n clips alike, p of all may be others as long as (1 - p)^n >= 0.05."""
    for count in (2, 8, 64, 400):
        found = mean_interval(np.ones(count), within=(0.0, 1.0))
        assert (found.value, found.high) == (1.0, 1.0)
        assert found.low**count == pytest.approx(0.05)
        nothing = mean_interval(np.zeros(count), within=(0.0, 1.0))
        assert (nothing.low, nothing.high) == (0.0, pytest.approx(1 - found.low))
        assert mean_interval(np.ones(count)).low == 1.0  # nothing is known of what else there could be
    few = mean_interval(np.array([1.0, 1.0, 0.5]), within=(0.0, 1.0))
    assert (few.low, few.high) == (pytest.approx(0.116, abs=0.01), 1.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: frechet_interval(x[:3], x), "at least 4 clips and 3 groups on each side, got 3"),
        (lambda x: frechet_interval(x, x, clips_per_video=20), "3 groups on each side, got 40 and 2"),
        (lambda x: frechet_interval(x, x, sides="real"), "sides must be both or generated"),
        (lambda x: frechet_interval(x, x, level=1.0), "level must lie between 0 and 1"),
        (lambda x: kernel_interval(x[:2], x), "at least 3 clips on each side, got 2"),
        (lambda x: mean_interval(np.array([1.0, np.inf])), "must be finite, one per clip; 1 of 2"),
        (lambda x: mean_interval(np.ones(1)), "at least 2 clips from different videos, got 1"),
        (lambda x: mean_difference_interval(np.ones(3), np.ones(4)), "the same clips, got 3 and 4"),
        (lambda x: repeats_interval([1.0]), "at least 2 finite values"),
    ],
)
def test_too_little_to_tell_is_refused_in_one_line(call, words):
    with pytest.raises(ValueError, match=words):
        call(draw(40, np.random.default_rng(0)))


def test_an_interval_leaves_the_global_generator_alone():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    x = draw(40, np.random.default_rng(0))
    frechet_interval(x, x + 1)
    kernel_interval(x, x + 1)
    mean_interval(x[:, 0])
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 1.5])
@pytest.mark.parametrize("count", [24, 100, 400])
def test_intervals_hold_the_expectation_as_often_as_they_say(count, shift):
    """Nominal 95 % against fresh draws; the jackknife may hold more often, and must not hold much less."""

    def pair(k):
        rng = np.random.default_rng([count, k])
        return draw(count, rng), draw(count, rng, shift)

    def three(k):
        rng = np.random.default_rng([count, k])
        return draw(count, rng), draw(count, rng, shift), draw(count, rng, shift)

    fresh = range(10_000, 12_000)
    expected = np.mean([frechet_distance(*pair(k)) for k in fresh])
    assert coverage(lambda k: frechet_interval(*pair(k)), expected, 300) > 0.90
    assert coverage(lambda k: frechet_difference_interval(*three(k)), 0.0, 300) > 0.92
    kernel = np.mean([kernel_distance(*pair(k)) for k in fresh])
    assert coverage(lambda k: kernel_interval(*pair(k), resamples=400), kernel, 300) > 0.88
    assert coverage(lambda k: mean_interval(pair(k)[1][:, 0]), _mean(shift), 300) > 0.90


def _mean(shift):
    return np.random.default_rng(1).standard_normal((10, 8)).mean(axis=0)[0] * SCALE[0] + shift
