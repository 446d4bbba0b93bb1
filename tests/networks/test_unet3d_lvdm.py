"""UNet3D with LVDM's published options: its outputs, its parameter counts, and what the options mean."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from published_files import filled, given
from videodiff.checkpoints.published.lvdm import unet_state
from videodiff.diffusion import Condition
from videodiff.networks import UNet3D
from videodiff.networks.attention import TimelineNorm
from videodiff.networks.blocks import FrameNorm

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")
needs_assets = pytest.mark.skipif(
    ASSETS is None, reason="VIDEODIFF_TEST_ASSETS (expected outputs) is not set"
)

PUBLISHED = {
    "heads": 4, "embedding_layers": 2, "temporal_position": "shaw_lvdm", "norm": "clip", "resample": "conv",
    "is_open": True, "norm_groups": 32,
}  # fmt: skip


def published(width=256, num_blocks=3, resolution=32, frames=4, **more) -> UNet3D:
    sizes = (resolution // 2, resolution // 4, resolution // 8)
    return UNet3D(
        channels=4, resolution=resolution, num_frames=frames, width=width, channel_multipliers=(1, 2, 3, 4),
        num_blocks=num_blocks, attention_resolutions=sizes, max_distance=frames, **PUBLISHED, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 548_904_580),  # SkyTimelapse, UCF-101 and Taichi-HD
        ({"concat_channels": 1, "noise_levels": 251}, 549_163_908),  # prediction
        ({"concat_channels": 1, "noise_levels": 251, "frames": 5}, 549_181_060),  # interpolation
    ],
)
def test_the_published_sizes(options, count):
    with torch.device("meta"):
        net = published(**options)
    assert sum(p.numel() for p in net.parameters()) == count


@needs_assets
@pytest.mark.parametrize("name", ["lvdm_unet_small", "lvdm_prediction_unet_small"])
def test_the_published_network_is_computed(name):
    folder = Path(ASSETS) / "fixtures" / "official"
    spec, expected = json.loads((folder / f"{name}.json").read_text()), np.load(folder / f"{name}.npz")
    masked = "num_classes" in spec["config"]
    more = {"concat_channels": 1, "noise_levels": 251} if masked else {}
    net = published(width=32, num_blocks=1, resolution=16, **more).eval()
    net.load_state_dict(unet_state(filled(name), num_blocks=1))
    cond = Condition()
    if masked:
        both = given("latent5", (2, 5, 4, 16, 16))
        z = both[:, :4]
        level = torch.from_numpy(expected["noise_level"]).float()
        cond = Condition(concat=both[:, 4:], concat_time=(level + 1) / 1000)
    else:
        z = given("latent", (2, 4, 4, 16, 16))
    with torch.no_grad():
        out = net(z, torch.from_numpy(expected["t"]), cond)
    assert (out - torch.from_numpy(expected["out"])).abs().max() < 1e-4


def test_norm_over_a_clip_is_group_norm_of_the_clip():
    norm = FrameNorm(64, over_clip=True)
    torch.nn.init.normal_(norm.weight)
    clip = torch.randn(3, 64, 5, 6, 4) * 2 + 1  # [B, C, T, H, W]
    folded = clip.permute(2, 0, 1, 3, 4).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    out = norm(folded, num_frames=5).unflatten(0, (5, 3)).permute(1, 2, 0, 3, 4)
    expected = torch.nn.functional.group_norm(clip, norm.num_groups, norm.weight, norm.bias)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_norm_over_a_time_line_is_group_norm_of_the_line():
    norm = TimelineNorm(64)
    torch.nn.init.normal_(norm.weight)
    lines = torch.randn(5, 7, 64)  # [T, N, C]
    expected = torch.nn.functional.group_norm(lines.permute(1, 2, 0), norm.num_groups, norm.weight, norm.bias)
    torch.testing.assert_close(norm(lines), expected.permute(2, 0, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("position", ["shaw", "shaw_lvdm"])
def test_permuting_the_batch_permutes_the_result(position):
    torch.manual_seed(0)
    net = UNet3D(
        channels=4, resolution=8, num_frames=4, width=16, channel_multipliers=(1, 2), num_blocks=1,
        attention_resolutions=(4,), heads=2, norm="clip", temporal_position=position,
    )  # fmt: skip
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    z, t, order = torch.randn(3, 4, 4, 8, 8), torch.tensor([5.0, 100.0, 900.0]), torch.tensor([2, 0, 1])
    torch.testing.assert_close(
        net(z[order], t[order], Condition()), net(z, t, Condition())[order], atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"norm": "batch"}, "norm must be frame or clip"),
        ({"heads": 2, "temporal_position": "rotary"}, "leave heads out"),
        ({"heads": 3}, "head_dim must divide"),
    ],
)
def test_options_that_do_not_fit_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        UNet3D(
            resolution=8,
            num_frames=4,
            width=16,
            channel_multipliers=(1, 2),
            attention_resolutions=(4,),
            **options,
        )
