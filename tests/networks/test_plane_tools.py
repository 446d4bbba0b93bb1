"""Pictures of planes, planes swapped between clips, and what the planes of a trained autoencoder mean."""

import pytest
import torch

from videodiff.networks import TriplaneAutoencoder
from videodiff.networks.plane_tools import GAP, hold_still, plane_pictures, plane_sheet, swap_motion
from videodiff.networks.planes import PlaneSizes, split_planes
from videodiff.seeding import generator

SIZES = PlaneSizes(num_frames=2, height=3, width=5)


def test_a_picture_is_its_plane_from_black_to_white():
    latent = torch.randn(2, 4, SIZES.num_tokens)
    for scale in (1, 3):
        for picture, plane in zip(
            plane_pictures(latent, SIZES, scale), split_planes(latent, SIZES), strict=True
        ):
            assert picture.dtype == torch.uint8
            assert picture.shape == (2, 4, scale * plane.shape[2], scale * plane.shape[3])
            small = picture[:, :, ::scale, ::scale].double()
            assert torch.equal(picture, small.byte().repeat_interleave(scale, 2).repeat_interleave(scale, 3))
            for i in range(2):  # a scale for each plane of each latent, shared by its channels
                low, high = plane[i].min(), plane[i].max()
                expected = 255 * (plane[i].double() - low) / (high - low)
                assert (small[i] - expected).abs().max() <= 0.5 + 1e-3


def test_a_plane_of_one_value_is_grey():
    assert all((picture == 128).all() for picture in plane_pictures(torch.ones(1, 2, 31), SIZES))


def test_a_sheet_has_a_row_for_each_latent_and_every_picture_in_its_place():
    latent, scale = torch.randn(3, 2, SIZES.num_tokens), 4
    sheet = plane_sheet(latent, SIZES, scale)
    row = scale * SIZES.height + GAP
    assert sheet.shape == (3 * row - GAP, 2 * (scale * (5 + 5 + 3) + 3 * GAP) - GAP)
    left = 0
    for plane in plane_pictures(latent, SIZES, scale):
        for channel in plane.unbind(1):
            height, width = channel.shape[1:]
            for i in range(3):
                assert torch.equal(sheet[i * row : i * row + height, left : left + width], channel[i])
            left += width + GAP
            assert (sheet[:, left - GAP : left] == 255).all()  # empty beyond the last picture


def test_swapping_takes_what_stays_from_one_and_what_moves_from_the_other():
    a, b = torch.randn(2, 3, 4, SIZES.num_tokens)
    swapped = split_planes(swap_motion(a, b, SIZES), SIZES)
    for plane, origin in zip(swapped, (a, b, b), strict=True):
        assert any(torch.equal(plane, p) for p in split_planes(origin, SIZES) if p.shape == plane.shape)
    assert torch.equal(swap_motion(a, a, SIZES), a)
    assert torch.equal(swap_motion(swap_motion(a, b, SIZES), a, SIZES), a)


def test_misfits_are_named():
    with pytest.raises(ValueError, match="scale must be at least 1, got 0"):
        plane_pictures(torch.zeros(1, 2, 31), SIZES, 0)
    with pytest.raises(ValueError, match=r"one shape, got \[1, 2, 31\] and \[2, 2, 31\]"):
        swap_motion(torch.zeros(1, 2, 31), torch.zeros(2, 2, 31), SIZES)


# --- a trained autoencoder --------------------------------------------------------------------------------------

FRAMES, SIDE = 4, 16
CLOSE = 0.15  # 0.08 to 0.11 after these steps, by the processor: its last bits grow at this rate


def smooth_clips(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth random clips ``[n, 3, T, H, W]``, and the same with their first frame held still."""
    low = torch.randn(n, 3, 2, 3, 3, generator=generator("smooth"))
    moving = torch.nn.functional.interpolate(low, (FRAMES, SIDE, SIDE), mode="trilinear").tanh()
    return moving, moving[:, :, :1].expand_as(moving)


@pytest.fixture(scope="module")
def trained():
    """A tiny autoencoder after 200 steps on eight such clips, half of them still."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TriplaneAutoencoder(
            FRAMES, SIDE, patch_size=4, width=32, depth=1, heads=2, head_dim=16, projection_depth=1
        )
    clips = torch.cat(smooth_clips(4))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        (net(clips)[0] - clips).square().mean().backward()
        optimizer.step()
    return net.eval()


def rms(x: torch.Tensor) -> float:
    return x.square().mean().sqrt().item()


@pytest.mark.slow  # the suite looks at planes of a trained autoencoder in notebook 04
@torch.no_grad()
def test_the_spatial_plane_of_a_still_clip_with_constant_time_planes_reproduces_it(trained):
    """Up to `CLOSE` of what lies between two clips, in root mean square."""
    _, still = smooth_clips(4)
    latent = trained.encode(still)
    held = hold_still(latent, trained.plane_sizes)
    assert torch.equal(trained.planes(held)[0], trained.planes(latent)[0])
    video = trained.decode(held)
    assert (video - video[:, :, :1]).abs().max() < 1e-5
    assert rms(video - still) < CLOSE * rms(still - still.roll(1, 0))


@pytest.mark.slow
@torch.no_grad()
def test_a_moving_clip_held_still_stands_still(trained):
    moving, _ = smooth_clips(4)
    latent = trained.encode(moving)
    assert rms(trained.decode(latent) - moving) < CLOSE * rms(moving - moving.roll(1, 0))
    video = trained.decode(hold_still(latent, trained.plane_sizes))
    assert (video - video[:, :, :1]).abs().max() < 1e-5
    assert rms(moving - moving[:, :, :1]) > 0.1


@pytest.mark.slow
@torch.no_grad()
def test_motion_of_a_still_clip_makes_any_clip_still(trained):
    moving, still = smooth_clips(4)
    swapped = swap_motion(trained.encode(moving), trained.encode(still.roll(1, 0)), trained.plane_sizes)
    video = trained.decode(swapped)
    assert (video - video[:, :, :1]).abs().max() < 1e-5
