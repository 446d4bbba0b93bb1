"""The built-in sets against their stated ground truth."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import videodiff.data.synthetic as synthetic
from videodiff.data import BouncingDigits, DriftingClouds
from videodiff.frame_size import FrameSize

SOURCES = [BouncingDigits, DriftingClouds]


def reflected(start: float, velocity: float, room: float, t: int) -> float:
    """Fly one frame at a time, turning back at each wall: independent of the closed form under test."""
    position, direction = start, velocity
    for _ in range(t):
        position += direction
        while not 0 <= position <= room:
            position = -position if position < 0 else 2 * room - position
            direction = -direction
    return position


def test_the_carried_digits_are_the_1797_of_uci():
    images, labels = synthetic.load_digits()
    assert images.shape == (1797, 8, 8)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert sorted(np.unique(images * 16).tolist()) == list(range(17))
    archive = Path(synthetic.__file__).with_name("digits.npz")
    assert archive.stat().st_size < 60_000
    assert "CC BY 4.0" in archive.with_suffix(".txt").read_text()


@pytest.mark.parametrize("resolution", [16, 32, 64, (80, 48), (32, 56)])
def test_a_digits_centroid_follows_the_reflected_straight_line(resolution):
    source = BouncingDigits("train", 6, 24, resolution)
    ys, xs = np.mgrid[: source.frame_size.height, : source.frame_size.width]
    for index in range(6):
        video = source.read(index, 0, 24, 1)[..., 0].numpy().astype(np.float64)
        (path,) = source.paths(index)
        mass = video.sum((1, 2))
        centroid = np.stack([(video * xs).sum((1, 2)), (video * ys).sum((1, 2))], 1) / mass[:, None]
        sprite = source.sprites[path.image].astype(np.float64)
        sy, sx = np.mgrid[: source.side, : source.side]
        offset = np.array([(sprite * sx).sum(), (sprite * sy).sum()]) / sprite.sum()
        expected = [
            [
                reflected(path.start[axis], path.velocity[axis], source.room[axis], t) + offset[axis]
                for axis in (0, 1)
            ]
            for t in range(24)
        ]
        assert np.abs(centroid - np.array(expected)).max() < 0.05  # pixels; levels are rounded to 1/255


@pytest.mark.parametrize("resolution", [64, (64, 112)])
def test_start_speed_and_hand_of_a_digit_keep_their_ranges(resolution):
    speeds, images = [], {}
    for split in ("train", "val", "test"):
        source = BouncingDigits(split, 300, 16, resolution)
        paths = [source.paths(index)[0] for index in range(300)]
        starts = np.array([p.start for p in paths])
        assert (starts >= 0).all()
        assert (starts <= source.room).all()
        assert (starts.max(0) > 0.95 * source.room).all()  # all of the room is used, along both axes
        speeds += [np.hypot(*p.velocity) / (64 / 32) for p in paths]
        images[split] = {p.image for p in paths}
        assert source.labels == [p.digit for p in paths]
    assert min(speeds) >= 0.5
    assert max(speeds) <= 2.0
    assert max(speeds) - min(speeds) > 1.4
    assert max(images["train"] | images["val"]) < 1437 <= min(images["test"])


def test_two_digits_are_combined_by_their_maximum():
    source = BouncingDigits("train", 1, 4, 32, num_digits=2)
    first = source.paths(0)[0]
    alone = BouncingDigits("train", 1, 4, 32)
    assert alone.paths(0)[0].image == first.image
    assert (source.read(0, 0, 4, 1) >= alone.read(0, 0, 4, 1)).all()
    assert source.read(0, 0, 4, 1).sum() > alone.read(0, 0, 4, 1).sum()


@pytest.mark.parametrize("resolution", [64, (64, 112), (80, 48)])
def test_clouds_drift_by_their_velocity(resolution):
    """Phase correlation of the difference to the mean: the shift of the cloud layer in the sky part."""
    errors = []
    height, width = FrameSize.of(resolution)
    for index in range(8):
        source = DriftingClouds("train", 8, 16, resolution)
        rng = source.rng(index)
        sky = source._sky(rng)
        frames = source._fields(rng, sky.velocity, np.array([0.0, 4.0]))
        window = np.hanning(height)[:, None] * np.hanning(width)
        a, b = (np.fft.fft2((f - f.mean()) * window) for f in frames)
        correlation = np.fft.ifft2(b * a.conj()).real
        y, x = np.unravel_index(correlation.argmax(), correlation.shape)
        shift = np.array([
            (x + width // 2) % width - width // 2, (y + height // 2) % height - height // 2
        ])  # fmt: skip
        errors.append(np.abs(shift - 4 * sky.velocity).max())
    assert np.median(errors) < 1.5  # pixels, of up to 12


@pytest.mark.parametrize("resolution", [(32, 32), (56, 32), (32, 56)])
def test_the_horizon_stands_still_and_the_sky_does_not(resolution):
    source = DriftingClouds("val", 12, 16, resolution)
    for index in range(12):
        video = source.read(index, 0, 16, 1).float()
        assert torch.equal(video[:, -3:], video[:1, -3:].expand(16, -1, -1, -1))
        assert video[:, -3:].mean() < 40
        assert (video[0, :20] - video[-1, :20]).abs().mean() > 0.5


def test_weather_orders_the_cloud_cover():
    source = DriftingClouds("train", 400, 16, 32)
    skies = [source.sky(index) for index in range(400)]
    cover = [np.mean([s.coverage for s in skies if s.weather == weather]) for weather in range(4)]
    assert cover == pytest.approx([0.15, 0.45, 0.85, 0.50], abs=0.03)
    assert all(0.03 <= s.coverage <= 0.97 for s in skies)
    assert source.labels == [s.weather for s in skies]


@pytest.mark.parametrize("kind", SOURCES)
def test_clips_depend_on_seed_split_and_index_alone(kind):
    first = kind("train", 4, 8, 32, seed=3)
    again = kind("train", 9, 8, 32, seed=3)
    again.expect(8, 1)
    assert torch.equal(again.read(2, 0, 8, 1), first.read(2, 0, 8, 1))
    assert torch.equal(again.read(2, 0, 8, 1), first.read(2, 0, 8, 1))  # now from the cache, if there is one
    assert torch.equal(first.read(2, 0, 4, 2), first.read(2, 0, 8, 1)[::2])
    others = [kind("train", 4, 8, 32, seed=4), kind("val", 4, 8, 32, seed=3), kind("test", 4, 8, 32, seed=3)]
    clips = [s.read(2, 0, 8, 1) for s in [first, *others]] + [first.read(1, 0, 8, 1)]
    assert len({clip.numpy().tobytes() for clip in clips}) == len(clips)
    assert torch.equal(pickle.loads(pickle.dumps(again)).read(2, 0, 8, 1), first.read(2, 0, 8, 1))


def test_the_cache_is_bounded_and_hands_out_copies():
    cache = synthetic.ClipCache(size=10, max_bytes=3 * 2 * 4 * 4 * 3)
    key = (0, 1, (2, 4, 4, 3))
    cache.claim(key)
    calls = []

    def draw(index):
        calls.append(index)
        return np.full(key[-1], index, np.uint8)

    for index in (2, 2, 3, 3):  # places 0..2 only
        cache.get(index, key, lambda index=index: draw(index)).fill_(99)
    assert calls == [2, 3, 3]
    assert (cache.get(2, key, lambda: draw(2)) == 2).all()


def test_sizes_below_the_sets_limits_are_refused():
    with pytest.raises(ValueError, match="at least 16, got 8"):
        BouncingDigits("train", 4, 16, 8)
