"""Motion figures against the generators' ground truth: real clips are perfect, every damage is seen, nothing is NaN."""

import numpy as np
import pytest
import torch

from videodiff.data.synthetic import BouncingDigits, DriftingClouds, bounce
from videodiff.metrics import baselines
from videodiff.metrics.motion import COMPASS, cloud_motion, compass, digit_motion, means, motion_metrics
from videodiff.metrics.motion.bounce import fit_bounce
from videodiff.metrics.motion.clouds import phase_shift
from videodiff.metrics.motion.locate import locate

NUM = 32


def read(source, stride=1, frames=16):
    return torch.stack([source.read(index, 0, frames, stride) for index in range(len(source))])


@pytest.fixture(scope="module")
def digits():
    return BouncingDigits("test", NUM, 16, 32)


@pytest.fixture(scope="module")
def clouds():
    return DriftingClouds("test", NUM, 16, 32)


@pytest.fixture(scope="module")
def digit_clips(digits):
    return read(digits)


@pytest.fixture(scope="module")
def cloud_clips(clouds):
    return read(clouds)


@pytest.mark.parametrize("size", [16, 32, 64, (80, 48), (64, 112)])
def test_the_centroid_moves_exactly_as_the_digit(size):
    source = BouncingDigits("test", 8, 16, size)
    centroid = locate(read(source)).centroid.numpy()
    for index, track in enumerate(centroid):
        path = source.paths(index)[0]
        offset = track - bounce(path.start, path.velocity, np.arange(16), source.room)
        assert np.abs(offset - offset.mean(0)).max() < 0.01  # rounding to 8 bits; measured 0.004
        assert (offset.mean(0) > 0.3 * source.side).all()
        assert (offset.mean(0) < 0.7 * source.side).all()


def test_grain_far_from_the_figure_does_not_move_the_centroid(digit_clips):
    noisy = baselines.add_noise(digit_clips[:8], 0.02)
    drift = (locate(noisy).centroid - locate(digit_clips[:8]).centroid).abs()
    assert drift.max() < 0.5
    assert drift.mean() < 0.15


@pytest.mark.parametrize(
    ("frames", "stride", "size"),
    [(16, 1, 32), (64, 1, 32), (16, 2, 32), (16, 1, (80, 48)), (16, 1, (32, 56))],
)
def test_speeds_of_real_digits_are_found(frames, stride, size):
    source = BouncingDigits("test", 8, frames * stride, size)
    figures = digit_motion(read(source, stride, frames), stride)
    speeds = [stride * np.linalg.norm(source.paths(index)[0].velocity) for index in range(8)]
    np.testing.assert_allclose(figures["speed"], speeds, atol=0.005)
    assert figures["residual"].max() < 0.01
    assert figures["speed_in_range"].all()


@pytest.mark.parametrize(("frames", "stride", "size"), [(16, 1, 32), (8, 2, (32, 56))])
def test_digits_set_out_with_the_velocity_of_their_path(frames, stride, size):
    source = BouncingDigits("test", 64, frames * stride, size)
    figures = digit_motion(read(source, stride, frames), stride)
    found = np.stack([figures["velocity_x"], figures["velocity_y"]], 1)
    paths = [source.paths(index)[0] for index in range(64)]
    velocity = stride * np.stack([path.velocity for path in paths])
    line = np.stack([path.start + 3 * step for path, step in zip(paths, velocity, strict=True)])
    straight = ((line >= 0) & (line <= source.room)).all(1)  # no bounce within 3 frames
    assert straight.sum() > 30
    np.testing.assert_allclose(found[straight], velocity[straight], atol=0.03)
    right = compass(*found.T) == compass(*velocity.T)
    assert right[straight].mean() >= 0.95  # measured 1
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), figures["speed"])


def test_a_digit_that_flies_back_sets_out_the_other_way():
    source = BouncingDigits("test", 16, 16, 64)
    clips = read(source)[:, :4]
    forward, back = digit_motion(clips), digit_motion(baselines.reverse(clips))
    last = [source.paths(i)[0] for i in range(16)]
    ends = np.stack([path.start + 3 * path.velocity for path in last])
    straight = ((ends >= 0) & (ends <= source.room)).all(1)
    for name in ("velocity_x", "velocity_y"):
        np.testing.assert_allclose(back[name][straight], -forward[name][straight], atol=0.05)


def test_the_compass_has_north_above_and_no_direction_for_what_rests():
    x, y = np.array([2, 1, 0, -1, -3, -1, 0, 1, 0]), np.array([0, -1, -1, -1, 0.5, 1, 2, 1, 0])
    assert compass(x, y).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, -1]
    assert [COMPASS[i] for i in (0, 2, 5)] == ["east", "north", "southwest"]


def test_a_triangle_wave_is_fitted_and_a_wave_that_leaves_it_costs_its_distance():
    time = torch.arange(16, dtype=torch.float64)
    wave = 3 + ((5 - 1.3 * time + 18) % 36 - 18).abs()
    bent = wave + 0.5 * (-1) ** time  # no reflected line follows a zigzag this fast
    velocity, residual = fit_bounce(torch.stack([wave, bent]), 18.0, 14.0, 3.0)
    assert velocity[0] == pytest.approx(-1.3, abs=1e-3)  # it sets out for the wall at 0
    assert residual[0] < 1e-3
    assert residual[1] == pytest.approx(0.5, abs=0.02)


def test_real_digits_are_perfect(digit_clips):
    figures = digit_motion(digit_clips)
    assert figures["present"].min() == 1
    assert figures["residual"].max() < 0.1
    assert figures["speed_in_range"].all()
    assert figures["identity"].mean() > 0.95


@pytest.mark.parametrize("size", [(80, 48), (32, 56)])
def test_real_digits_of_other_proportions_are_perfect_and_lost_ones_are_told(size):
    source = BouncingDigits("test", 16, 16, size)
    clips = read(source)
    figures = digit_motion(clips)
    assert figures["present"].min() == 1
    assert figures["residual"].max() < 0.1
    assert figures["speed_in_range"].all()
    assert (figures["digit"] == np.array(source.labels)).mean() > 0.85
    narrow = clips[:, :, : min(size), : min(size)]  # a square piece of it: digits leave and come back
    assert means(digit_motion(narrow))["residual"] > 1
    bent = clips.transpose(2, 3)  # each axis has the other's walls
    np.testing.assert_allclose(digit_motion(bent)["residual"], figures["residual"], atol=0.02)
    grey = digit_motion(torch.full_like(clips, 128))
    assert (grey["residual"] == min(size) - source.side).all()


def test_real_digits_are_read_right(digits, digit_clips):
    assert (digit_motion(digit_clips)["digit"] == np.array(digits.labels)).mean() > 0.85


def damaged_digits(clips, source):
    other = clips.roll(1, 0)
    return {
        "noise": baselines.noise_clips(NUM, 16, 32, 32),
        "grain": baselines.add_noise(clips, 0.3),
        "frozen": baselines.frozen_clips(clips),
        "shuffled": baselines.shuffle_frames(clips),
        "grey": torch.full_like(clips, 128),
        "cut": torch.cat([clips[:, :8], other[:, 8:]], 1),
        "slow": read(source, 0.25),
    }


@pytest.mark.parametrize(
    ("damage", "figure", "low", "high"),
    [
        ("noise", "present", 0, 0.01),
        ("noise", "identity", 0, 0.01),
        ("noise", "residual", 18, 18),
        ("noise", "speed_in_range", 0, 0),
        ("noise", "velocity_x", 0, 0),
        ("grain", "residual", 0.2, 18),
        ("frozen", "speed", 0, 1e-3),
        ("frozen", "speed_in_range", 0, 0),
        ("shuffled", "residual", 2, 10),
        ("grey", "present", 0, 0),
        ("grey", "residual", 18, 18),
        ("grey", "speed_in_range", 0, 0),
        ("grey", "identity", 0, 0),
        ("cut", "identity", 0.4, 0.75),
        ("cut", "residual", 0.5, 10),
        ("slow", "speed_in_range", 0, 0.2),
    ],
)
def test_damage_to_digits_is_seen(digits, digit_clips, damage, figure, low, high):
    figures = digit_motion(damaged_digits(digit_clips, digits)[damage])
    assert low <= figures[figure].mean() <= high


def test_time_reversal_changes_no_figure(digit_clips):
    forward, back = digit_motion(digit_clips), digit_motion(baselines.reverse(digit_clips))
    for name in ("present", "speed", "identity", "digit"):
        np.testing.assert_allclose(back[name], forward[name], atol=0.02)


@pytest.mark.parametrize("size", [32, (56, 32), (32, 56)])
def test_drifts_of_real_clouds_are_found(size):
    clouds = DriftingClouds("test", NUM, 16, size)
    figures = cloud_motion(read(clouds))
    assert figures["drift_in_range"].all()
    assert figures["horizon"].min() == 1
    assert figures["horizon_error"].max() < 0.2
    drift = np.stack([figures["drift_x"], figures["drift_y"]], 1)
    truth = np.stack([clouds.sky(index).velocity for index in range(NUM)])
    error = np.abs(drift - truth)
    assert np.median(error) < 0.03
    assert error.max() < 0.2
    assert np.corrcoef(drift[:, 0], truth[:, 0])[0, 1] > 0.995


def test_clouds_drift_where_their_velocity_points(clouds, cloud_clips):
    figures = cloud_motion(cloud_clips)
    velocity = np.stack([clouds.sky(index).velocity for index in range(NUM)])
    right = compass(figures["drift_x"], figures["drift_y"]) == compass(*velocity.T)
    assert right.mean() >= 0.95  # wrong only within a few degrees of a border between two directions


def test_real_clouds_are_perfect(cloud_clips):
    figures = cloud_motion(cloud_clips)
    assert figures["drift_in_range"].all()
    assert figures["horizon"].min() == 1
    assert figures["spread"].max() < 0.2
    assert figures["horizon_error"].max() < 0.2


@pytest.mark.parametrize("shift", [(1, 0), (-2, 3), (0, -4)])
def test_phase_correlation_finds_whole_shifts(shift):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(64, 64, generator=generator, dtype=torch.float64)
    x, y = shift
    before, after = noise[8:56, 8:56], noise[8 - y : 56 - y, 8 - x : 56 - x]
    found = phase_shift(before, after)
    assert found.tolist() == pytest.approx(shift, abs=0.1)


@pytest.mark.parametrize(
    ("damage", "figure", "low", "high"),
    [
        ("noise", "horizon", 0, 0.01),
        ("noise", "horizon_error", 6.4, 6.4),
        ("noise", "spread", 2, 32),
        ("noise", "drift_in_range", 0, 0.1),
        ("frozen", "speed", 0, 1e-9),
        ("frozen", "drift_in_range", 0, 0),
        ("shuffled", "spread", 1, 32),
        ("shuffled", "drift_in_range", 0, 0.1),
        ("grey", "spread", 8, 8),
        ("grey", "drift_in_range", 0, 0),
        ("grey", "horizon", 0, 0),
        ("shaken", "horizon_error", 0.5, 3),
    ],
)
def test_damage_to_clouds_is_seen(cloud_clips, damage, figure, low, high):
    shaken = cloud_clips.clone()
    shaken[:, 1::2] = shaken[:, 1::2].roll(-2, 2)
    shaken[:, 1::2, -2:] = cloud_clips[:, 1::2, -2:]
    clips = {
        "noise": baselines.noise_clips(NUM, 16, 32, 32),
        "frozen": baselines.frozen_clips(cloud_clips),
        "shuffled": baselines.shuffle_frames(cloud_clips),
        "grey": torch.full_like(cloud_clips, 128),
        "shaken": shaken,
    }[damage]
    assert low <= cloud_motion(clips)[figure].mean() <= high


def garbage():
    spike = torch.zeros(1, 4, 16, 16, 3, dtype=torch.uint8)
    spike[0, 2, 15, 0] = 255
    stripes = torch.zeros(1, 4, 16, 16, 3, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    return {
        "black": torch.zeros(1, 4, 16, 16, 3, dtype=torch.uint8),
        "white": torch.full((1, 4, 16, 16, 3), 255, dtype=torch.uint8),
        "spike": spike,
        "stripes": stripes,
        "noise": baselines.noise_clips(1, 4, 16, 16),
        "one flash": torch.cat([torch.zeros(1, 3, 16, 16, 3), torch.full((1, 1, 16, 16, 3), 255)], 1).byte(),
    }


@pytest.mark.parametrize("name", list(garbage()))
@pytest.mark.parametrize("measure", [digit_motion, cloud_motion])
def test_garbage_gives_finite_bad_figures(name, measure):
    figures = measure(garbage()[name])
    assert all(np.isfinite(values).all() and len(values) == 1 for values in figures.values())
    assert figures["speed_in_range" if measure is digit_motion else "drift_in_range"] == 0


@pytest.mark.parametrize("measure", [digit_motion, cloud_motion])
def test_a_clip_does_not_depend_on_its_neighbours(measure, digit_clips, cloud_clips):
    clips = torch.cat([digit_clips[:3], cloud_clips[:2]])
    together = measure(clips)
    alone = [measure(clip[None]) for clip in clips]
    for name, values in together.items():
        np.testing.assert_allclose(values, np.concatenate([one[name] for one in alone]), atol=1e-6)


def test_means_are_means_and_leave_classes_out(digit_clips):
    figures = digit_motion(digit_clips[:4])
    summary = motion_metrics(digit_clips[:4], "digits")
    assert summary == means(figures)
    assert "digit" not in summary
    assert summary["speed"] == pytest.approx(figures["speed"].mean())


@pytest.mark.parametrize(
    ("clips", "error", "match"),
    [
        (torch.zeros(1, 16, 32, 32, 3), TypeError, "uint8"),
        (torch.zeros(1, 3, 16, 32, 32, dtype=torch.uint8), ValueError, r"\[B, T, H, W, 3\]"),
        (torch.zeros(0, 16, 32, 32, 3, dtype=torch.uint8), ValueError, "at least one"),
        (torch.zeros(1, 1, 32, 32, 3, dtype=torch.uint8), ValueError, "frames"),
        (torch.zeros(1, 16, 8, 8, 3, dtype=torch.uint8), ValueError, "16 x 16"),
    ],
)
@pytest.mark.parametrize("content", ["digits", "clouds"])
def test_wrong_clips_are_refused(clips, error, match, content):
    with pytest.raises(error, match=match):
        motion_metrics(clips, content)


def test_wrong_content_is_refused():
    with pytest.raises(ValueError, match="digits or clouds"):
        motion_metrics(torch.zeros(1, 16, 32, 32, 3, dtype=torch.uint8), "faces")
