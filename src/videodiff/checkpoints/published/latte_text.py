"""Files of text-to-video Latte as diffusers saves it, ``LatteTransformer3DModel``, under that project's names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from videodiff.networks import SpacetimeDiT

from .formats import Format, Ignore, Placed, Shapes, Sizes, heads_first
from .latte import HEADS
from .unets import check, count

KIND = "latte-text"
# Their layer -> ours, within a block and outside of one. Queries, keys and values lie in one layer each here.
IN_BLOCK = {
    "attn1.to_q": "attention.qkv", "attn1.to_out.0": "attention.out",
    "attn2.to_q": "context.q", "attn2.to_k": "context.kv", "attn2.to_out.0": "context.out",
    "ff.net.0.proj": "mlp_in", "ff.net.2": "mlp_out",
}  # fmt: skip
PACKED = {
    "attn1.to_q": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "attn2.to_k": ("attn2.to_k", "attn2.to_v"),
}
WITHIN = ("attn1.to_k", "attn1.to_v", "attn2.to_v")
OUTSIDE = {
    "pos_embed.proj": "patch_in", "proj_out": "patch_out", "adaln_single.linear": "modulation",
    "adaln_single.emb.timestep_embedder.linear_1": "embedding.first",
    "adaln_single.emb.timestep_embedder.linear_2": "embedding.second",
    "caption_projection.linear_1": "context_in.first", "caption_projection.linear_2": "context_in.second",
}  # fmt: skip
BLOCK = re.compile(r"((?:temporal_)?)transformer_blocks\.(\d+)\.")
FIRST = "temporal_transformer_blocks.0.attn1.to_q.weight"


def sizes_of(shapes: Shapes) -> Sizes:
    """Arguments of SpacetimeDiT. No weight tells the heads: those of the published width, else not known."""
    try:
        width, channels, side, across = shapes["pos_embed.proj.weight"]
        hidden = shapes["transformer_blocks.0.ff.net.0.proj.weight"][0]
        head = shapes["proj_out.weight"][0]
        context_dim = shapes["caption_projection.linear_1.weight"][1]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{KIND}: weights missing (first {error})") from error
    check(side == across, KIND, f"patches of {side}x{across} are none that are published")
    depth = count(shapes, r"transformer_blocks\.(\d+)\.")
    over_time = count(shapes, r"temporal_transformer_blocks\.(\d+)\.")
    check(depth == over_time, KIND, f"{depth} blocks over space and {over_time} over time do not alternate")
    return {
        "channels": channels,
        "out_channels": head // side**2,
        "size": None,
        "depth": 2 * depth,
        "width": width,
        "num_heads": HEADS.get(width),
        "patch_size": [1, side, side],
        "layout": "alternating",
        "columns_first": True,
        "mlp_ratio": hidden / width,
        "num_frames": 16,
        "context_dim": context_dim,
        "shared_modulation": True,
    }


def place(name: str, value: Tensor, sizes: Sizes, all_tensors: Mapping[str, Tensor]) -> Placed | None:
    """One key of ``LatteTransformer3DModel``."""
    if name == "scale_shift_table":
        return "last_modulation.table", value
    block = BLOCK.match(name)
    outer = "" if block is None else block[0]
    layer, _, what = name[len(outer) :].rpartition(".")
    number = "" if block is None else f"layers.{2 * int(block[2]) + bool(block[1])}."
    if block is not None and what == "scale_shift_table":
        return f"{number}modulation.table", value
    if block is not None and layer in WITHIN:
        raise Ignore(f"part of {number}{'attention.qkv' if layer.startswith('attn1') else 'context.kv'}")
    ours = (OUTSIDE if block is None else IN_BLOCK).get(layer)
    if ours is None:
        return None
    if layer in PACKED:
        parts = [all_tensors.get(f"{outer}{part}.{what}") for part in PACKED[layer]]
        value = torch.cat([part for part in parts if part is not None])
    if ours == "attention.qkv":
        heads = sizes["num_heads"]
        check(
            heads is not None and len(value) % (3 * heads) == 0,
            KIND,
            f"the weights do not tell the number of heads, and a width of {sizes['width']} is of no published size: "
            "give num_heads, a divisor of it",
        )
        value = heads_first(value, heads)
    if ours == "patch_in" and value.ndim == 4:  # c p q -> p q c
        value = value.permute(0, 2, 3, 1).flatten(1)
    return f"{number}{ours}.{what}", value


LATTE_TEXT = Format(
    KIND, "pos_embed.proj.weight", SpacetimeDiT, sizes_of, place, fits=lambda names: FIRST in names
)
