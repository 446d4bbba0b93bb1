"""Group norm with modulation and SiLU: its value, its derivatives by hand, its precision."""

import pytest
import torch
from torch import nn

from videodiff.networks import Autoencoder3D, FrameNorm, TriplaneUNet, UNet3D
from videodiff.networks.blocks import norm_groups
from videodiff.networks.norms import modulated_group_norm, written_out

SHAPES = {"frames": (1, 3, 10, 8), "clips": (2, 3, 5, 8), "time lines": (4, 3, 1, 8)}  # [R, S, P, C]


def given(shape, dtype=torch.float64, has_modulation=True):
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, shape[-1]).to(dtype)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    x = 0.5 + torch.randn(shape, dtype=dtype)
    modulation = torch.randn(2, shape[1], shape[-1], dtype=dtype).unbind() if has_modulation else (None, None)
    return norm, x, *modulation


@pytest.mark.parametrize("by_moments", [False, True])
@pytest.mark.parametrize("has_silu", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_the_value_is_group_norm_then_modulation_then_silu(name, has_silu, by_moments):
    norm, x, scale, shift = given(SHAPES[name])
    y = norm(x.permute(1, 3, 0, 2)).permute(2, 0, 3, 1)  # samples and channels in front
    y = y * (1 + scale[:, None]) + shift[:, None]
    expected = nn.functional.silu(y) if has_silu else y
    for function in (modulated_group_norm, written_out):
        torch.testing.assert_close(function(x, norm, scale, shift, has_silu, by_moments), expected)


@pytest.mark.parametrize("has_modulation", [False, True])
@pytest.mark.parametrize("has_silu", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_the_derivatives_are_those_of_finite_differences(name, has_silu, has_modulation):
    norm, x, scale, shift = given(SHAPES[name], has_modulation=has_modulation)
    inputs = [x, norm.weight, norm.bias] + ([scale, shift] if has_modulation else [])

    def function(x, weight, bias, scale=None, shift=None):
        return torch.func.functional_call(
            Wrapped(norm), {"norm.weight": weight, "norm.bias": bias}, (x, scale, shift, has_silu)
        )

    assert torch.autograd.gradcheck(function, [i.detach().requires_grad_() for i in inputs])


class Wrapped(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x, scale, shift, has_silu):
        return modulated_group_norm(x, self.norm, scale, shift, has_silu)


def test_a_large_mean_costs_no_digits():
    norm, x, *_ = given((1, 2, 256, 64), torch.float32)
    expected = norm.double()(500 + x.double()[0].mT).mT
    out = modulated_group_norm(500 + x, norm.float())[0]
    assert (out - expected).abs().max() < 1e-3


def test_bf16_is_rounded_once():
    norm, x, scale, shift = given(SHAPES["clips"], torch.float32)
    out = modulated_group_norm(x.bfloat16(), norm, scale, shift, has_silu=True)
    exact = modulated_group_norm(x.bfloat16().float(), norm, scale, shift, has_silu=True)
    torch.testing.assert_close(out, exact.bfloat16(), rtol=0, atol=0)


def test_nothing_but_the_input_and_sums_is_kept_for_the_backward_pass():
    norm, x, scale, shift = given((1, 2, 256, 64), torch.float32)
    x.requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        modulated_group_norm(x, norm, scale, shift, has_silu=True)
    assert sum(t.numel() for t in kept if t.data_ptr() != x.data_ptr()) < x.numel() / 32


def test_memory_layout_is_kept():
    norm, x, *_ = given((2, 3, 5, 8))
    x = x.transpose(2, 3).contiguous().transpose(2, 3)
    assert modulated_group_norm(x, norm).stride() == x.stride()


# --- groups ---------------------------------------------------------------------------------------------------


def test_a_group_has_four_channels_at_least_and_from_128_on_there_are_32():
    assert [norm_groups(c) for c in (1, 2, 4, 6, 8, 16, 24, 32, 64, 96)] == [1, 1, 1, 1, 2, 4, 4, 8, 16, 16]
    assert all(norm_groups(c) == norm_groups(c, most=32) == 32 for c in range(128, 2049, 32))
    assert [norm_groups(c, most=32) for c in (16, 64, 96)] == [16, 32, 32]


def test_a_narrow_network_sees_how_bright_a_frame_is():
    torch.manual_seed(0)
    layer, x = FrameNorm(16), torch.randn(2, 16, 8, 8)
    offset = torch.randn(1, 16, 1, 1)  # the same everywhere: all that a first convolution makes of brightness
    assert (layer(x + offset) - layer(x)).abs().max() > 0.1
    layer.num_groups = norm_groups(16, most=32)  # one channel to a group
    torch.testing.assert_close(layer(x + offset), layer(x))


@pytest.mark.parametrize(
    "build",
    [
        lambda groups: UNet3D(resolution=8, width=16, channel_multipliers=(1,), attention_resolutions=(8,), head_dim=8,
                              norm="clip", norm_groups=groups),
        lambda groups: TriplaneUNet(plane_size=8, width=16, channel_multipliers=(1,), num_blocks=1,
                                    attention_levels=(0,), heads=2, norm_groups=groups),
        lambda groups: Autoencoder3D(4, 16, width=8, downsample=(2, 2, 2), norm_groups=groups),
    ],
    ids=["unet", "triplane", "autoencoder"],
)  # fmt: skip
def test_every_norm_of_a_network_has_the_groups_that_it_is_told(build):
    for most in (None, 2, 32):
        norms = [m for m in build(most).modules() if isinstance(m, nn.GroupNorm)]
        assert norms
        assert all(m.num_groups == norm_groups(m.num_channels, most) for m in norms)
    with pytest.raises(ValueError, match="norm_groups must be at least 1"):
        build(0)
