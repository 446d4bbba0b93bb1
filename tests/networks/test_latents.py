"""Latents with a unit axis: what every kind of them promises, whatever a unit is."""

from types import SimpleNamespace

import pytest
import torch

from videodiff.networks import Autoencoder3D, PixelSpace, TriplaneAutoencoder

SIDE = 16
NET = SimpleNamespace(num_frames=4, resolution=SIDE)
TRIPLANES = dict(patch_size=4, width=16, depth=1, heads=2, head_dim=8, projection_depth=1)
KINDS = {
    "pixels": lambda: PixelSpace().latents(NET),
    "latent frames": lambda: Autoencoder3D(4, SIDE, width=4, downsample=(2, 2, 2), latent_channels=4).latents(
        NET
    ),
    "clips": lambda: TriplaneAutoencoder(4, SIDE, **TRIPLANES).latents(NET),
    "clips that share": lambda: TriplaneAutoencoder(4, SIDE, **TRIPLANES).latents(NET, 1),
}


def made(kind):
    torch.manual_seed(0)
    return KINDS[kind]()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_frames", [1, 4, 5, 9])
def test_as_many_units_as_are_needed_become_the_video_of_that_length(kind, num_frames):
    latents = made(kind)
    units = latents.units(num_frames)
    frames = (
        latents.video_shape[1] - (latents.clip_units - units) * latents.unit_frames
    )  # that so many units show
    assert num_frames <= frames
    assert units == 1 or num_frames > frames - latents.unit_frames
    latent = torch.randn(2, *latents.shape(units)).tanh()
    video = torch.cat(list(latents.stream(latent, num_frames)), dim=2)
    assert video.shape == (2, 3, num_frames, SIDE, SIDE)
    assert video.abs().max() <= 1
    longer = torch.cat([latent, torch.zeros(2, *latents.shape(1))], dim=2)
    whole = torch.cat(list(latents.stream(longer, num_frames)), dim=2)
    if latents.unit_frames == 1 or kind.startswith("clips"):  # elsewhere neighbours are decoded together
        torch.testing.assert_close(whole[:, :, : num_frames - 1], video[:, :, : num_frames - 1])


@pytest.mark.parametrize("kind", KINDS)
def test_known_frames_of_whole_units_are_placed_as_they_are_encoded(kind):
    latents = made(kind)
    first = latents.video_shape[1]
    video = torch.rand(1, 3, first, SIDE, SIDE) * 2 - 1
    latent = torch.zeros(1, *latents.shape(latents.units(3 * first)))
    known = latents.place(video, range(first), latent)
    assert list(known) == list(range(latents.clip_units))
    torch.testing.assert_close(latent[:, :, list(known)], latents.encode(video))
    assert not latent[:, :, len(known) :].any()


def test_neighbouring_units_are_encoded_together_and_others_apart():
    latents = made("latent frames")
    video = torch.rand(1, 3, 6, SIDE, SIDE) * 2 - 1
    latent = torch.zeros(1, *latents.shape(6))
    assert latents.place(video, (0, 1, 2, 3, 8, 9), latent) == (0, 1, 4)
    torch.testing.assert_close(latent[:, :, :2], latents.encode(video[:, :, :4]))
    torch.testing.assert_close(latent[:, :, 4:5], latents.encode(video[:, :, 4:]))
    assert not latent[:, :, [2, 3, 5]].any()


def test_only_whole_clips_share_frames():
    with pytest.raises(ValueError, match="overlap_frames must be 0, got 2"):
        PixelSpace().latents(NET, 2)
    with pytest.raises(ValueError, match=r"overlap_frames must lie in 0 \.\.\. 3, got 4"):
        TriplaneAutoencoder(4, SIDE, **TRIPLANES).latents(NET, 4)
