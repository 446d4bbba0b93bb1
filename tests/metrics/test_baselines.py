"""The clips that a score must call bad are what they say, whatever the batches."""

import torch

from videodiff.metrics import baselines


def clips():
    return torch.randint(
        0, 256, (5, 6, 10, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_noise_has_its_moments_and_each_clip_its_own_key():
    noise = baselines.noise_clips(6, 8, 32, 32)
    assert abs(noise.float().mean().item() - 127.5) < 0.5
    assert abs(noise.float().std().item() - 61.4) < 1  # 63.75 cut at 0 and 255 (two standard deviations)
    assert torch.equal(noise[:2], baselines.noise_clips(2, 8, 32, 32))
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], baselines.noise_clips(1, 8, 32, 32, seed=1)[0])


def test_frozen_clips_repeat_the_first_frame():
    frozen = baselines.frozen_clips(clips())
    assert all(torch.equal(frozen[:, t], clips()[:, 0]) for t in range(6))


def test_added_noise_and_order_do_not_depend_on_the_batches():
    for damage in (
        lambda part, first: baselines.add_noise(part, 0.1, 3, first),
        lambda part, first: baselines.shuffle_frames(part, 3, first),
    ):
        parts = [damage(clips()[:2], 0), damage(clips()[2:], 2)]
        assert torch.equal(damage(clips(), 0), torch.cat(parts))


def test_added_noise_has_its_amplitude():
    grey = torch.full((2, 8, 32, 32, 3), 128, dtype=torch.uint8)
    assert abs(baselines.add_noise(grey, 0.1).float().std().item() - 25.5) < 0.5
    assert torch.equal(baselines.add_noise(grey, 0.0), grey)


def test_blur_keeps_flat_clips_and_spreads_a_point():
    flat = torch.full((1, 2, 5, 5, 3), 77, dtype=torch.uint8)
    assert torch.equal(baselines.blur(flat), flat)
    point = torch.zeros(1, 1, 5, 5, 3, dtype=torch.uint8)
    point[0, 0, 2, 2] = 90
    blurred = baselines.blur(point)[0, 0, ..., 0]
    assert torch.equal(blurred[1:4, 1:4], torch.full((3, 3), 10, dtype=torch.uint8))
    assert blurred.sum() == 90


def test_shuffling_keeps_the_frames_and_reversal_is_its_own_inverse():
    shuffled = baselines.shuffle_frames(clips())
    sums = clips().flatten(2).long().sum(2)
    assert torch.equal(shuffled.flatten(2).long().sum(2).sort(1).values, sums.sort(1).values)
    assert not torch.equal(shuffled, clips())
    assert torch.equal(baselines.reverse(baselines.reverse(clips())), clips())
    assert baselines.shuffle_frames(clips()[:0]).shape == (0, 6, 10, 12, 3)
