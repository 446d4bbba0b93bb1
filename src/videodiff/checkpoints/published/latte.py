"""Files of Vchitect/Latte and willisma/SiT: transformers of one naming, that of facebookresearch/DiT."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from videodiff.networks import SpacetimeDiT
from videodiff.networks.dit_sizes import SIZES
from videodiff.networks.positions import grid_coordinates, places, sincos, sincos_in_space

from .formats import Format, Ignore, Placed, Shapes, Sizes, heads_first
from .unets import check, count

# Their layer -> ours, within a block and outside of one.
IN_BLOCK = {
    "attn.qkv": "attention.qkv", "attn.proj": "attention.out", "mlp.fc1": "mlp_in", "mlp.fc2": "mlp_out",
    "adaLN_modulation.1": "modulation",
}  # fmt: skip
OUTSIDE = {
    "x_embedder.proj": "patch_in", "t_embedder.mlp.0": "embedding.first", "t_embedder.mlp.2": "embedding.second",
    "y_embedder.embedding_table": "embedding.classes", "final_layer.linear": "patch_out",
    "final_layer.adaLN_modulation.1": "last_modulation",
}  # fmt: skip
TABLES = {"pos_embed": "space", "temp_embed": "time"}
HEADS = {width: heads for _, width, heads in SIZES.values()}


def sizes_of(kind: str, shapes: Shapes) -> Sizes:
    """Arguments of SpacetimeDiT. The weights do not tell the heads: those of the published sizes, else not known."""
    try:
        width, channels, side, across = shapes["x_embedder.proj.weight"]
        hidden = shapes["blocks.0.mlp.fc1.weight"][0]
        head = shapes["final_layer.linear.weight"][0]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{kind}: weights missing (first {error})") from error
    depth = count(shapes, r"blocks\.(\d+)\.")
    check(side == across, kind, f"patches of {side}x{across} are none that are published")
    check(
        head in (side**2 * channels, 2 * side**2 * channels), kind, f"a head of {head} values is no patch's"
    )
    check(
        kind != "latte" or "temp_embed" in shapes or "pos_embed" not in shapes,
        kind,
        "it has no temp_embed, so it is a network of images (kind sit)",
    )
    classes = shapes.get("y_embedder.embedding_table.weight")
    out_channels = head // side**2
    return {
        "channels": channels,
        "out_channels": channels if kind == "sit" else out_channels,
        "size": None,
        "depth": depth,
        "width": width,
        "num_heads": HEADS.get(width),
        "patch_size": [1, side, side],
        "layout": "alternating" if kind == "latte" else "joint",
        "columns_first": True,
        "mlp_ratio": hidden / width,
        "num_frames": shapes["temp_embed"][1] if "temp_embed" in shapes else 1,
        "num_classes": None if classes is None else classes[0] - 1,
    }


def place_in(
    kind: str, name: str, value: Tensor, sizes: Sizes, all_tensors: Mapping[str, Tensor]
) -> Placed | None:
    """One key of ``Latte`` or ``SiT``."""
    if name in TABLES:
        check(
            value.is_meta or is_computed(name, value),
            kind,
            f"{name} is not the table of sines that is published",
        )
        raise Ignore("table of positions, computed anew")
    block = re.match(r"(blocks\.\d+\.)", name)
    layer, _, what = name[len(block[1]) if block else 0 :].rpartition(".")
    ours = (IN_BLOCK if block else OUTSIDE).get(layer)
    if ours is None:
        return None
    if ours == "attention.qkv":
        check(
            sizes["num_heads"] is not None and len(value) % (3 * sizes["num_heads"]) == 0,
            kind,
            f"the weights do not tell the number of heads, and a width of {sizes['width']} is of no published size: "
            "give num_heads, a divisor of it",
        )
        value = heads_first(value, sizes["num_heads"])
    if ours == "patch_in" and value.ndim == 4:  # c p q -> p q c
        value = value.permute(0, 2, 3, 1).flatten(1)
    if ours == "patch_out" and kind == "sit":  # p q c; its variance, never trained, is left out
        patch = math.prod(sizes["patch_size"])
        value = value.unflatten(0, (patch, -1))[:, : sizes["out_channels"]].flatten(0, 1)
    number = "" if block is None else f"layers.{block[1].split('.')[1]}."
    return f"{number}{ours}.{what}", value


def is_computed(name: str, table: Tensor) -> bool:
    """Whether a published table is the one that is computed here."""
    _, length, width = table.shape
    side = math.isqrt(length)
    if name == "temp_embed":
        own = sincos(places(length, table.device), width)
    elif side**2 != length:
        return False
    else:
        own = sincos_in_space(grid_coordinates(1, side, side, table.device), width, columns_first=True)
    return bool(torch.allclose(table[0].double(), own, rtol=0, atol=1e-4))


def format_in(kind: str) -> Format:
    """The format of one of the two."""
    return Format(
        kind,
        "x_embedder.proj.weight",
        SpacetimeDiT,
        lambda shapes: sizes_of(kind, shapes),
        lambda *args: place_in(kind, *args),
        fits=lambda names: (
            "final_layer.linear.weight" in names and (kind == "latte" or "temp_embed" not in names)
        ),
    )


LATTE, SIT = format_in("latte"), format_in("sit")
