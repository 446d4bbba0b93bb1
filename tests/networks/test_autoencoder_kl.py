"""AutoencoderKL: frames one by one, in chunks and tiles, and its scale; published numbers are in tests/published."""

from fractions import Fraction

import pytest
import torch

from image_folders import small
from videodiff.networks import AutoencoderKL, UNet3D
from videodiff.networks.tiles import in_tiles


def clips(frames=3, height=16, width=24):
    return torch.randn(2, 3, frames, height, width, generator=torch.Generator().manual_seed(1)).tanh()


@torch.no_grad()
def test_a_frame_is_a_unit_that_no_other_frame_changes():
    net, video = small(), clips()
    latent = net.encode(video)
    assert latent.shape == (2, *net.latent_shape(video.shape[1:])) == (2, 4, 3, 8, 12)
    other = video.clone()
    other[:, :, 1] *= -1
    changed = net.encode(other) - latent
    assert changed[:, :, [0, 2]].abs().max() == 0
    assert changed[:, :, 1].abs().max() > 0
    torch.testing.assert_close(net.decode(latent)[:, :, 1], net.decode(latent[:, :, 1:2])[:, :, 0])


@torch.no_grad()
@pytest.mark.parametrize("frames_at_once", [1, 2, 4, None])
def test_chunks_of_frames_change_no_bit(frames_at_once):
    whole, chunked, video = small(frames_at_once=None), small(frames_at_once=frames_at_once), clips(5)
    latent = whole.encode(video)
    assert torch.equal(chunked.encode(video), latent)
    assert torch.equal(chunked.decode(latent), whole.decode(latent))
    pieces = list(chunked.decode_stream(latent))
    assert len(pieces) == -(-5 // (frames_at_once or 5))
    assert torch.equal(torch.cat(pieces, 2), whole.decode(latent))


@torch.no_grad()
def test_tiles_of_a_local_network_are_the_whole_to_rounding():
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.Conv2d(4, 4, 3, padding=1)).eval()
    x = torch.randn(2, 3, 40, 56)
    whole = layers(x)
    tiled = in_tiles(layers, x, (16, 24), (8, 8), Fraction(1, 2))
    inside = (tiled - whole).abs().amax((0, 1))  # a border of a tile shows within the reach of two layers
    assert torch.equal(in_tiles(layers, x, (40, 56), (8, 8), Fraction(1, 2)), whole)
    assert inside[0:4, 0:8].max() < 1e-6
    assert inside.max() < 0.5 * whole.abs().max()
    with pytest.raises(ValueError, match="overlap"):
        in_tiles(layers, x, (16, 16), (16, 16), Fraction(1, 2))


@torch.no_grad()
def test_tiles_stay_within_the_stated_error_away_from_their_seams():
    net, tiled, video = small(), small(tile=32), clips(1, 64, 64)
    latent = net.encode(video)
    for ours, whole in ((tiled.encode(video), latent), (tiled.decode(latent), net.decode(latent))):
        error = (ours - whole).abs() / whole.std()
        assert error.mean() < 0.2  # two channels to a group, the worst case
        assert error.max() > 0  # norms do see the tile
    assert torch.equal(small(tile=64).encode(video), latent)  # no larger than a tile


@torch.no_grad()
def test_the_latent_is_scaled_and_shifted_as_its_folder_says():
    plain, scaled, video = small(), small(), clips()
    plain.scaling_factor, plain.shift_factor = 1.0, 0.0
    scaled.scaling_factor, scaled.shift_factor = 0.25, 3.0
    latent = scaled.encode(video)
    torch.testing.assert_close(latent, 0.25 * (plain.encode(video) - 3.0))
    scale, shift = scaled.scale_and_shift
    torch.testing.assert_close(latent, scale * (plain.encode(video) + shift))
    torch.testing.assert_close(scaled.decode(latent), plain.decode(plain.encode(video)))


def test_it_trains_and_has_a_kl_of_its_latent():
    net, video = small(), clips()
    rebuilt, kl = net(video, torch.randn(2, 4, 3, 8, 12))
    assert kl.shape == (2,)
    (rebuilt - video).abs().mean().backward()
    assert net.last_layer.grad.abs().sum() > 0
    assert net.encoder.conv_in.weight.grad.abs().sum() > 0


def test_latents_are_frames_of_its_size():
    sizes = {
        "width": 16,
        "channel_multipliers": [1],
        "num_blocks": 1,
        "attention_resolutions": [8],
        "heads": 1,
    }
    net = UNet3D(channels=4, num_frames=5, resolution=8, **sizes)
    latents = small().latents(net)
    assert latents.unit_frames == 1
    assert latents.video_shape == (3, 5, 16, 16)
    assert latents.shape(7) == (4, 7, 8, 8)
    assert latents.units_at([0, 3]) == (0, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"norm_num_groups": 3}, "norm_num_groups must divide"),
        ({"scaling_factor": 0.0}, "scaling_factor must be above 0"),
        ({"frames_at_once": 0}, "frames_at_once must be at least 1"),
        ({"tile": 6}, "tile must be a multiple of 2"),
        ({"resolution": 15}, "the nearest is 16"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    sizes = {"block_out_channels": [8, 16], "norm_num_groups": 4, "resolution": 16}
    with pytest.raises(ValueError, match=words):
        AutoencoderKL(**(sizes | options))
