"""Files of lucidrains/video-diffusion-pytorch: ``Unet3D``, alone or inside its trainer's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from videodiff.networks import UNet3DPort
from videodiff.networks.unet3d_port import is_over_frames, published_name

from .formats import Format, Ignore, Placed, Shapes, Sizes, equal, heads_first
from .unets import check, count

FREQUENCIES = "init_temporal_attn.fn.fn.fn.rotary_emb.freqs"


def sizes_of(shapes: Shapes) -> Sizes:
    """Arguments of UNet3DPort; length and side of a video show nowhere."""
    try:
        width, channels = shapes["init_conv.weight"][:2]
        levels = count(shapes, r"downs\.(\d+)\.")
        out = [shapes[f"downs.{i}.0.block1.proj.weight"][0] for i in range(levels)]
        _, heads = shapes["time_rel_pos_bias.relative_attention_bias.weight"]
        packed, _ = shapes["init_temporal_attn.fn.fn.fn.to_qkv.weight"]
    except (KeyError, ValueError) as error:
        raise ValueError(f"lucidrains-unet3d: weights missing (first {error})") from error
    return {
        "width": width,
        "channel_multipliers": [c // width for c in out],
        "channels": channels,
        "num_frames": 16,
        "resolution": 64,
        "heads": heads,
        "head_dim": packed // (3 * heads),
        "vector_dim": shapes["null_cond_emb"][1] if "null_cond_emb" in shapes else None,
        "mask_first": False,  # as published
    }


@lru_cache(maxsize=4)
def own_shapes(
    width: int, multipliers: tuple[int, ...], channels: int, heads: int, head_dim: int, vector_dim: int | None
) -> dict[str, torch.Size]:
    """Shapes of our network."""
    side = 2 ** len(multipliers)
    with torch.device("meta"):
        net = UNet3DPort(
            width, multipliers, channels, 16, side, heads=heads, head_dim=head_dim, vector_dim=vector_dim
        )
    return {name: value.shape for name, value in net.state_dict().items()}


def place(name: str, value: Tensor, sizes: Sizes, all_tensors: Mapping[str, Tensor]) -> Placed | None:
    """One key of ``Unet3D``; axes of length one are dropped."""
    if name.endswith("rotary_emb.freqs") and name != FREQUENCIES and FREQUENCIES in all_tensors:
        check(
            equal(value, all_tensors[FREQUENCIES]),
            "lucidrains-unet3d",
            f"{name} and {FREQUENCIES} are one tensor in the published network, but differ in the file",
        )
        raise Ignore("a second name of the rotary frequencies")
    ours = published_name(name)
    names = ("channels", "heads", "head_dim", "vector_dim")
    shapes = own_shapes(sizes["width"], tuple(sizes["channel_multipliers"]), *(sizes[name] for name in names))
    if ours not in shapes:
        return None
    if ours.endswith("to_qkv.weight") and is_over_frames(ours):
        value = heads_first(value, sizes["heads"])
    return ours, value.reshape(shapes[ours]) if value.numel() == shapes[ours].numel() else value


UNET3D = Format(
    "lucidrains-unet3d",
    "init_conv.weight",
    UNet3DPort,
    sizes_of,
    place,
    fits=lambda names: "time_rel_pos_bias.relative_attention_bias.weight" in names,
)
