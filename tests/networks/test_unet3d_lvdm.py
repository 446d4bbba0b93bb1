"""UNet3D with LVDM's published options: its outputs, its parameter counts, and what the options mean."""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

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
    "is_open": True,
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


def parameter(name, shape):
    stream = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    r = stream.standard_normal(int(np.prod(shape))).astype(np.float32).reshape(shape)
    if len(shape) >= 2:
        return r / np.sqrt(np.prod(shape[1:])).astype(np.float32)
    return 1 + 0.1 * r if name.endswith(("weight", "gamma", "g")) else 0.1 * r


def noise(name, shape):
    stream = np.random.RandomState(zlib.crc32(f"input:{name}".encode()) & 0xFFFFFFFF)
    return torch.from_numpy(stream.standard_normal(int(np.prod(shape))).astype(np.float32).reshape(shape))


class Published:
    """Tensors of the published network by name, each put into our order."""

    def __init__(self, keys):
        self.left = {name: torch.from_numpy(parameter(name, spec["shape"])) for name, spec in keys.items()}

    def take(self, name):
        return self.left.pop(name)

    def layer(self, ours, theirs, squeeze=None):
        """Weight and bias of a layer; kernels lose their time axis of 1, linear ones all axes."""
        weight = self.take(f"{theirs}.weight")
        weight = weight.squeeze(2) if squeeze == "time" else weight.flatten(1) if squeeze == "all" else weight
        return {f"{ours}.weight": weight, f"{ours}.bias": self.take(f"{theirs}.bias")}

    def qkv(self, ours, theirs, heads):
        """(q, k, v) (heads D) rows -> (heads (q, k, v) D)."""
        named = self.layer(ours, theirs, "all")
        return {k: v.unflatten(0, (3, heads, -1)).transpose(0, 1).flatten(0, 2) for k, v in named.items()}

    def block(self, ours, theirs, heads=4):
        """A residual block and the attention behind it, if there is any."""
        named = {
            **self.layer(f"{ours}.res.norm_in", f"{theirs}.0.in_layers.0"),
            **self.layer(f"{ours}.res.conv_in", f"{theirs}.0.in_layers.2", "time"),
            **self.layer(f"{ours}.res.embedding", f"{theirs}.0.emb_layers.1"),
            **self.layer(f"{ours}.res.norm_out", f"{theirs}.0.out_layers.0"),
            **self.layer(f"{ours}.res.conv_out", f"{theirs}.0.out_layers.3", "time"),
        }
        if f"{theirs}.0.skip_connection.weight" in self.left:
            named |= self.layer(f"{ours}.res.skip", f"{theirs}.0.skip_connection", "all")
        if f"{theirs}.1.norm_s.weight" in self.left:
            named |= self.attention(ours, f"{theirs}.1", heads)
        return named

    def attention(self, ours, theirs, heads=4):
        named = {}
        for kind, letter in (("spatial", "s"), ("temporal", "t")):
            named |= self.layer(f"{ours}.{kind}.norm", f"{theirs}.norm_{letter}")
            named |= self.qkv(f"{ours}.{kind}.qkv", f"{theirs}.qkv_{letter}", heads)
            named |= self.layer(f"{ours}.{kind}.out", f"{theirs}.proj_out_{letter}", "all")
        for kind, letter in (("keys", "k"), ("values", "v")):
            named[f"{ours}.temporal.shaw.{kind}"] = self.take(
                f"{theirs}.relative_position_{letter}.embeddings_table"
            )
        return named


def state_of(spec, num_levels=4, num_blocks=1):
    """Our state dict from the published names."""
    theirs = Published({k: v for k, v in spec["keys"].items() if v["kind"] == "parameter"})
    first = theirs.layer("embedding.first", "time_embed.0")
    cos, sin = first["embedding.first.weight"].chunk(2, dim=1)  # theirs puts the cosines first
    first["embedding.first.weight"] = torch.cat([sin, cos], dim=1)
    ours = {
        **first,
        **theirs.layer("embedding.layers.0", "time_embed.2"),
        **theirs.layer("conv_in", "input_blocks.0.0", "time"),
        **theirs.layer("norm_out", "out.0"),
        **theirs.layer("conv_out", "out.2", "time"),
    }
    if "label_emb.weight" in theirs.left:  # level 0 is their last row, which they never use
        ours["embedding.concat_time.weight"] = theirs.take("label_emb.weight").roll(1, 0)
    for i in range(num_levels * (num_blocks + 1) - 1):
        if f"input_blocks.{i + 1}.0.op.weight" in theirs.left:
            ours |= theirs.layer(f"down.{i}.conv", f"input_blocks.{i + 1}.0.op", "time")
        else:
            ours |= theirs.block(f"down.{i}", f"input_blocks.{i + 1}")
    middle = {f"middle_block.{i}": f"middle_block.{i}" for i in range(3)}
    for name in list(theirs.left):  # middle: res, attention, res; ours keeps a block's two parts together
        if name.startswith("middle_block."):
            number = name.split(".")[1]
            place = {"0": "mid.0.0", "1": "mid.0.1", "2": "mid.1.0"}[number]
            theirs.left[name.replace(middle[f"middle_block.{number}"], place, 1)] = theirs.left.pop(name)
    ours |= theirs.block("middle.0", "mid.0")
    ours |= theirs.block("middle.1", "mid.1")
    place = 0
    for i in range(num_levels * (num_blocks + 1)):
        ours |= theirs.block(f"up.{place}", f"output_blocks.{i}")
        place += 1
        for j in (1, 2):
            if f"output_blocks.{i}.{j}.conv.weight" in theirs.left:
                ours |= theirs.layer(f"up.{place}.conv", f"output_blocks.{i}.{j}.conv", "time")
                place += 1
    assert not theirs.left
    return ours


@needs_assets
@pytest.mark.parametrize("name", ["lvdm_unet_small", "lvdm_prediction_unet_small"])
def test_the_published_network_is_computed(name):
    folder = Path(ASSETS) / "fixtures" / "official"
    spec, expected = json.loads((folder / f"{name}.json").read_text()), np.load(folder / f"{name}.npz")
    masked = "num_classes" in spec["config"]
    more = {"concat_channels": 1, "noise_levels": 251} if masked else {}
    net = published(width=32, num_blocks=1, resolution=16, **more).eval()
    net.load_state_dict(state_of(spec))
    cond = Condition()
    if masked:
        both = noise("latent5", (2, 5, 4, 16, 16))
        z = both[:, :4]
        level = torch.from_numpy(expected["noise_level"]).float()
        cond = Condition(concat=both[:, 4:], concat_time=(level + 1) / 1000)
    else:
        z = noise("latent", (2, 4, 4, 16, 16))
    with torch.no_grad():
        out = net(z, torch.from_numpy(expected["t"]), cond)
    assert (out - torch.from_numpy(expected["out"])).abs().max() < 1e-4


def test_norm_over_a_clip_is_group_norm_of_the_clip():
    norm = FrameNorm(64, over_clip=True)
    torch.nn.init.normal_(norm.weight)
    clip = torch.randn(3, 64, 5, 6, 4) * 2 + 1  # [B, C, T, H, W]
    folded = clip.permute(2, 0, 1, 3, 4).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    out = norm(folded, num_frames=5).unflatten(0, (5, 3)).permute(1, 2, 0, 3, 4)
    expected = torch.nn.functional.group_norm(clip, 32, norm.weight, norm.bias)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_norm_over_a_time_line_is_group_norm_of_the_line():
    norm = TimelineNorm(64)
    torch.nn.init.normal_(norm.weight)
    lines = torch.randn(5, 7, 64)  # [T, N, C]
    expected = torch.nn.functional.group_norm(lines.permute(1, 2, 0), 32, norm.weight, norm.bias)
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
