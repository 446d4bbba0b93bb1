"""Clips that are taller than wide or wider than tall: what every network and first stage makes of them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from network_classes import NETWORKS, STAGES
from videodiff.checkpoints.partial import fit_weights
from videodiff.diffusion import Condition
from videodiff.frame_size import FrameSize
from videodiff.networks import (
    Autoencoder3D,
    AutoencoderKL,
    CausalAutoencoder3D,
    ImageAutoencoder,
    PixelSpace,
    SpacetimeDiT,
    TriplaneAutoencoder,
    TriplaneUNet,
    UNet3D,
    UNet3DPort,
    as_network,
)
from videodiff.networks.planes import join_planes, split_planes

PORTRAIT, LANDSCAPE = (16, 8), (8, 16)


def awake(module, seed=0):
    """The module with every parameter drawn anew, so that no layer hides behind one of zeros."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.normal_(std=0.2, generator=generator)
    return module.eval()


def symmetric(module):
    """The module with kernels that are the same along height and width, which it then tells apart by size alone."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            layer.weight.data = (layer.weight.data + layer.weight.data.mT) / 2
    return module


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def unet3d(size):
    options = dict(num_frames=4, width=16, channel_multipliers=(1, 2), num_blocks=1, head_dim=8)
    return UNet3D(resolution=size, attention_resolutions=(4,), **options)


def port(size):
    return UNet3DPort(resolution=size, num_frames=4, width=8, channel_multipliers=(1, 2))


def triplane_unet(size, **options):
    small = dict(
        num_frames=4, width=16, channel_multipliers=(1, 2), num_blocks=1, attention_levels=(0,), heads=2
    )
    return TriplaneUNet(plane_size=size, **{**small, **options})


def dit(size):
    return SpacetimeDiT(4, size=None, depth=2, width=16, num_heads=2, num_frames=4, resolution=size)


def autoencoder3d(size):
    return Autoencoder3D(num_frames=4, resolution=size, width=4, downsample=(2, 4, 4), linear_path=True)


def causal_autoencoder(resolution):
    return CausalAutoencoder3D(5, resolution, width=4, downsample=(2, 4, 4))


def trained_image_autoencoder(resolution):
    return ImageAutoencoder(2, resolution, width=4, downsample=(4, 4))


def image_autoencoder(resolution):
    return AutoencoderKL(
        block_out_channels=[8, 8, 8], layers_per_block=1, norm_num_groups=4, resolution=resolution
    )


def triplane_autoencoder(size, **options):
    small = dict(num_frames=3, patch_size=4, width=16, depth=2, heads=2, head_dim=8, projection_depth=2)
    return TriplaneAutoencoder(resolution=size, **{**small, **options})


@pytest.mark.parametrize("build", [unet3d, port])
def test_a_clip_lying_on_its_side_comes_out_lying_on_its_side(build):
    upright, lying = symmetric(awake(build(PORTRAIT))), build(LANDSCAPE).eval()
    lying.load_state_dict(upright.state_dict())
    z, time = noise(2, 3, 4, *PORTRAIT), torch.tensor([10.0, 900.0])
    with torch.no_grad():
        out = upright(z, time, Condition())
        assert out.shape == z.shape
        torch.testing.assert_close(lying(z.mT, time, Condition()), out.mT, rtol=1e-4, atol=1e-4)


def on_its_side(planes, sizes):
    """Planes of a clip as those of the clip lying on its side: time and height in the place of time and width."""
    spatial, over_width, over_height = split_planes(planes, sizes)
    return join_planes([spatial.mT, over_height, over_width])


@pytest.mark.parametrize("options", [{}, {"concat_reversed": True, "concat_overlap": 1}])
def test_planes_of_a_clip_lying_on_its_side_come_out_as_such(options):
    plain = dict(plane_embedding=False, **options)
    upright, lying = (
        symmetric(awake(triplane_unet(PORTRAIT, **plain))),
        triplane_unet(LANDSCAPE, **plain).eval(),
    )
    lying.load_state_dict(upright.state_dict())
    z, before = noise(2, 2, 4, upright.plane_sizes.num_tokens)
    time = torch.tensor([10.0, 900.0])
    with torch.no_grad():
        out = upright(z, time, Condition(concat=before))
        turned = [on_its_side(planes, upright.plane_sizes) for planes in (z, before, out)]
        got = lying(turned[0], time, Condition(concat=turned[1]))
    torch.testing.assert_close(got, turned[2], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(turned[2], out, atol=0.1)


def lying_on_its_side(state):
    """Weights of a triplane autoencoder for clips lying on their side: height and width in each other's place."""
    found = {}
    for name, value in state.items():
        room, _, rest = name.partition(".")
        if room in (
            "projections",
            "to_planes",
            "from_planes",
        ):  # of space, of time and width, of time and height
            number, _, rest = rest.partition(".")
            name = f"{room}.{PLANE_ON_ITS_SIDE[room][int(number)]}.{rest}"
        elif name == "from_pixels.weight":
            value = value.unflatten(1, (4, 4, 3)).transpose(1, 2).flatten(1)
        elif name == "to_pixels.weight":
            value = value.mT
        elif ".space.qkv." in name:  # half of a head's pairs turn with the row, half with the column
            heads = value.unflatten(0, (2, 3, 2, 4)).clone()
            heads[:, :2] = heads[:, :2].flip(2)
            value = heads.flatten(0, 3)
        found[name] = value
    return found


# a projection pools the axis that its plane lacks: the spatial plane time, the others height and width
PLANE_ON_ITS_SIDE = {room: (0, 2, 1) for room in ("projections", "to_planes", "from_planes")}


def test_a_triplane_autoencoder_tells_height_from_width_by_its_weights_alone():
    upright, lying = awake(triplane_autoencoder(PORTRAIT)), triplane_autoencoder(LANDSCAPE).eval()
    lying.load_state_dict(lying_on_its_side(upright.state_dict()))
    video = noise(2, 3, 3, *PORTRAIT).tanh()
    with torch.no_grad():
        planes = upright.encode(video)
        turned = on_its_side(planes, upright.plane_sizes)
        torch.testing.assert_close(lying.encode(video.mT), turned, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(lying.decode(turned), upright.decode(planes).mT, rtol=1e-4, atol=1e-4)


def test_a_3d_autoencoder_takes_a_clip_lying_on_its_side():
    upright, lying = symmetric(awake(autoencoder3d(PORTRAIT))), autoencoder3d(LANDSCAPE).eval()
    lying.load_state_dict(upright.state_dict())
    video = noise(2, 3, 4, *PORTRAIT).tanh()
    with torch.no_grad():
        latent = upright.encode(video)
        assert latent.shape[2:] == (2, 4, 2)
        torch.testing.assert_close(lying.encode(video.mT), latent.mT, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(lying.decode(latent.mT), upright.decode(latent).mT, rtol=1e-4, atol=1e-4)


SIZED = {  # how each is built for a size, and the argument that says it
    "UNet3D": (unet3d, "resolution"),
    "UNet3DPort": (port, "resolution"),
    "TriplaneUNet": (triplane_unet, "plane_size"),
    "SpacetimeDiT": (dit, "resolution"),
    "Autoencoder3D": (autoencoder3d, "resolution"),
    "AutoencoderKL": (image_autoencoder, "resolution"),
    "CausalAutoencoder3D": (causal_autoencoder, "resolution"),
    "ImageAutoencoder": (trained_image_autoencoder, "resolution"),
    "TriplaneAutoencoder": (triplane_autoencoder, "resolution"),
}


@pytest.mark.parametrize("name", sorted({**NETWORKS, **STAGES}))
def test_a_size_that_it_cannot_take_is_refused_with_the_nearest_that_it_can(name):
    build, argument = SIZED[name]
    height, width = FrameSize.of(build(PORTRAIT).size_factor)
    assert max(height, width) > 1
    size = FrameSize(4 * height, 2 * width)
    assert (
        build(f"{size}").size_factor == build(list(size)).size_factor
    )  # as YAML and the command line write it
    with pytest.raises(
        ValueError, match=rf"^{argument} must be divisible by .*\), got .*; the nearest is {size}$"
    ):
        build((4 * height, 2 * width - 1))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_halves_refuses_latents_of_a_first_stage_that_it_cannot_halve(name):
    if name == "TriplaneUNet":  # has planes of its own
        return
    net = SIZED[name][0](PORTRAIT)
    net.check_latents(autoencoder3d((24, 40)).latents(net))
    with pytest.raises(
        ValueError, match=r"by 8 \(4 of the first stage times 2 .*, got 20x40; the nearest is 24x40$"
    ):
        net.check_latents(autoencoder3d((20, 40)).latents(net))


def test_a_network_says_its_frames_in_any_form():
    class Plain(nn.Module):
        num_frames, resolution, size_factor = 4, [16, 8], 4

        def forward(self, z, time, cond):
            return z

    net = as_network(Plain(), resolution="16x8")
    assert PixelSpace().latents(net).video_shape == (3, 4, 16, 8)
    with pytest.raises(ValueError, match=r"is built for 16x8, --model.resolution .* is 8;"):
        as_network(Plain(), resolution=8)
    Plain.resolution = (16, 10)
    net = as_network(Plain())
    with pytest.raises(ValueError, match=r"divisible by 4 .*, got 16x10; the nearest is 16x12$"):
        net.check_latents(PixelSpace().latents(net))


def test_weights_of_square_clips_begin_a_first_stage_for_others():
    square, portrait = awake(triplane_autoencoder((16, 16))), triplane_autoencoder(PORTRAIT)
    found = fit_weights(portrait, square.state_dict(), Path("run"))
    assert [entry["name"] for entry in found.resized] == [
        "projections.2.positions"
    ]  # of the axis that is shorter now
    assert not found.new
    assert not found.other_shape
    ends = [0, -2, -1]  # the first and the last place, and the token behind them
    before, now = square.projections[2].positions, portrait.projections[2].positions
    assert (len(before), len(now)) == (5, 3)
    torch.testing.assert_close(now[ends], before[ends])
