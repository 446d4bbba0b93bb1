"""PVDM's files (sihyun-yu/PVDM): the triplane autoencoder (``ViTAutoencoder``) and the U-Net over planes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from videodiff.networks import TriplaneAutoencoder, TriplaneUNet

from .formats import Format, Ignore, Place, Placed, Shapes, Sizes, equal, halves_swapped, heads_first
from .unets import check, count, levels

PLANES = {"xy": 0, "yt": 1, "xt": 2}
# name of a part in the published autoencoder -> in ours
AUTOENCODER_PARTS: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"(xy|yt|xt)_token$": lambda m: f"projections.{PLANES[m[1]]}.token",
    r"(xy|yt|xt)_pos_embedding$": lambda m: f"projections.{PLANES[m[1]]}.positions",
    r"(xy|yt|xt)_quant_attn\.layers\.(\d+)\.0\.norm\.": lambda m: (
        f"projections.{PLANES[m[1]]}.blocks.{m[2]}.attention.norm."
    ),
    r"(xy|yt|xt)_quant_attn\.layers\.(\d+)\.0\.fn\.": lambda m: (
        f"projections.{PLANES[m[1]]}.blocks.{m[2]}.attention."
    ),
    r"(xy|yt|xt)_quant_attn\.layers\.(\d+)\.1\.(fn\.)?": lambda m: (
        f"projections.{PLANES[m[1]]}.blocks.{m[2]}."
    ),
    r"encoder\.to_patch_embedding\.": "from_pixels.",
    r"(encoder|decoder)\.layers\.(\d+)\.0\.(fn\.)?": r"\1.blocks.\2.time.",
    r"(encoder|decoder)\.layers\.(\d+)\.1\.(fn\.)?": r"\1.blocks.\2.space.",
    r"(encoder|decoder)\.layers\.(\d+)\.2\.(fn\.)?": r"\1.blocks.\2.mlp.",
    r"to_pixel\.1\.": "to_pixels.",
    r"pre_(xy|yt|xt)\.": lambda m: f"to_planes.{PLANES[m[1]]}.",
    r"post_(xy|yt|xt)\.": lambda m: f"from_planes.{PLANES[m[1]]}.",
}
AUTOENCODER_LAYERS = {".to_qkv.": ".qkv.", ".to_out.0.": ".out.", ".net.0.": ".rise.", ".net.3.": ".fall."}
PROJECTION_HEADS = 4
# the same for the U-Net
UNET_PARTS: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"time_embed\.0": "embedding.first",
    r"time_embed\.2": "embedding.layers.0",
    r"input_blocks\.0\.0": "conv_in",
    r"input_blocks\.(\d+)\.(\d+)": lambda m: f"down.{int(m[1]) - 1}.layers.{m[2]}",
    r"input_attns\.(\d+)": lambda m: f"down.{int(m[1]) - 1}.joint",
    r"middle_block\.(\d+)": r"middle.layers.\1",
    r"mid_attn": "middle.joint",
    r"output_blocks\.(\d+)\.(\d+)": r"up.\1.layers.\2",
    r"output_attns\.(\d+)": r"up.\1.joint",
    r"out\.0": "norm_out",
    r"out\.2": "conv_out",
}
UNET_LAYERS = {
    ".in_layers.0": ".norm_in",
    ".in_layers.2": ".conv_in",
    ".emb_layers.1": ".embedding",
    ".out_layers.0": ".norm_out",
    ".out_layers.3": ".conv_out",
    ".skip_connection": ".skip",
    ".proj_out": ".out",
}


def autoencoder_sizes(shapes: Shapes) -> Sizes:
    """Arguments of TriplaneAutoencoder; positions have one row per frame, row or column and one for the token."""
    try:
        frames, rows, columns = (shapes[f"{p}_pos_embedding"][1] - 1 for p in ("xy", "yt", "xt"))
        width, pixels = shapes["encoder.to_patch_embedding.weight"]
        inner = shapes["encoder.layers.0.0.fn.to_qkv.weight"][0] // 3
        channels = shapes["pre_xy.weight"][0]
    except (KeyError, IndexError) as error:
        raise ValueError(f"pvdm-autoencoder: weights missing (first {error})") from error
    patch = math.isqrt(pixels // 3)
    head_dim = 2 * shapes.get("encoder.frame_rot_emb.inv_freqs", (32,))[0]
    sides = rows * patch, columns * patch
    return {
        "num_frames": frames,
        "resolution": sides[0] if sides[0] == sides[1] else sides,
        "patch_size": patch,
        "latent_channels": channels,
        "width": width,
        "depth": count(shapes, r"encoder\.layers\.(\d+)\."),
        "heads": inner // head_dim,
        "head_dim": head_dim,
        "projection_depth": count(shapes, r"xy_quant_attn\.layers\.(\d+)\."),
        "readout": "first",
        "time_rotary": "published",
    }


def place_autoencoder(
    name: str, value: Tensor, sizes: Sizes, all_tensors: Mapping[str, Tensor]
) -> Placed | None:
    """One key of ``ViTAutoencoder``."""
    if name == "coords":
        raise Ignore("a buffer that the published network never reads")
    if "_rot_emb." in name:
        check(
            equal(value, rotary_constant(name, value), 1e-5),
            "pvdm-autoencoder",
            f"{name} holds other rotary frequencies than the published network computes",
        )
        raise Ignore("rotary frequencies, computed anew; equal")
    pattern = next((p for p in AUTOENCODER_PARTS if re.match(p, name)), None)
    if pattern is None:
        return None
    ours = re.sub("^" + pattern, AUTOENCODER_PARTS[pattern], name, count=1)
    for theirs, layer in AUTOENCODER_LAYERS.items():
        ours = ours.replace(theirs, layer)
    if ours.endswith((".token", ".positions")):
        value = value.flatten(0, 1) if ours.endswith(".positions") else value.flatten()
    elif ours.startswith(("to_planes", "from_planes")):  # 1x1 convolutions are Linear here
        value = value.flatten(1) if value.ndim > 1 else value
    elif ours.endswith(".qkv.weight"):
        on_clip = ours.startswith(("encoder", "decoder"))
        value = heads_first(value, sizes["heads"] if on_clip else PROJECTION_HEADS)
    return ours, value


def rotary_constant(name: str, like: Tensor) -> Tensor:
    """What the published buffer holds: inverse frequencies of frames, or scales of rows and columns."""
    n = len(like)
    if name.endswith("inv_freqs"):
        return 10_000.0 ** (-torch.arange(n, dtype=torch.float64) / n)
    return 2 ** torch.linspace(0, math.log2(5), n, dtype=torch.float64)


def unet_sizes(shapes: Shapes) -> Sizes:
    """Arguments of TriplaneUNet; the planes' sizes follow from the length of the null condition (16 frames)."""
    try:
        width = shapes["time_embed.0.weight"][1]
        blocks, channels, firsts = levels(
            {k: v for k, v in shapes.items()}, r"output_blocks\.(\d+)\.[12]\.in_layers\."
        )
        out, read = shapes["out.2.weight"][0], shapes["input_blocks.0.0.weight"][1]
    except (KeyError, IndexError) as error:
        raise ValueError(f"pvdm-unet: weights missing (first {error})") from error
    frames, tokens = 16, shapes.get("zeros", (1, out, 2048))[2]
    side = math.isqrt(frames * frames + tokens) - frames  # side^2 + 2 frames side = tokens
    check(
        side * side + 2 * frames * side == tokens,
        "pvdm-unet",
        f"{tokens} tokens are no planes of {frames} frames",
    )
    return {
        "channels": out,
        "num_frames": frames,
        "plane_size": side,
        "width": width,
        "channel_multipliers": [c // width for c in channels],
        "num_blocks": blocks,
        "attention_levels": [i for i, f in enumerate(firsts) if f"input_blocks.{f}.1.qkv.weight" in shapes],
        "heads": 8,
        "plane_embedding": False,
        "norm_groups": 32,
        "concat_channels": read - out,
    }


def place_unet(name: str, value: Tensor, sizes: Sizes, all_tensors: Mapping[str, Tensor]) -> Placed | None:
    """One key of PVDM's ``UNetModel``."""
    if name == "zeros":
        raise Ignore("the null condition, zeros; absent planes are zeros here")
    pattern = next((p for p in UNET_PARTS if re.match(p + r"\.", name)), None)
    if pattern is None:
        return None
    ours = re.sub("^" + pattern, UNET_PARTS[pattern], name, count=1)
    for theirs, layer in UNET_LAYERS.items():
        ours = ours.replace(theirs + ".", layer + ".")
    if name == "time_embed.0.weight":  # cosines first there, sines first here
        value = halves_swapped(value)
    if ".qkv." in ours or ".out." in ours or ".skip." in ours:  # 1x1 convolutions are Linear here
        value = value.flatten(1) if value.ndim > 1 else value
    return ours, value


def autoencoder_state(state: Mapping[str, Tensor], heads: int = 8) -> dict[str, Tensor]:
    """State of ``ViTAutoencoder`` -> state of :class:`TriplaneAutoencoder`."""
    return _all(place_autoencoder, state, {"heads": heads})


def unet_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State of ``UNetModel`` of sihyun-yu/PVDM:models/ddpm/unet.py -> state of :class:`TriplaneUNet`."""
    return _all(place_unet, state, {})


def _all(place: Place, state: Mapping[str, Tensor], sizes: Sizes) -> dict[str, Tensor]:
    found = {}
    for name, value in state.items():
        try:
            placed = place(name, value, sizes, state)
        except Ignore:
            continue
        if placed is None:
            raise ValueError(f"a key that such a network has not: {name}")
        found[placed[0]] = placed[1]
    return found


AUTOENCODER = Format(
    "pvdm-autoencoder", "xy_token", TriplaneAutoencoder, autoencoder_sizes, place_autoencoder
)
UNET = Format(
    "pvdm-unet",
    "time_embed.0.weight",
    TriplaneUNet,
    unet_sizes,
    place_unet,
    fits=lambda names: any(n.startswith("mid_attn.") for n in names),
)
