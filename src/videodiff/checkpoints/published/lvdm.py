"""LVDM's files (YingqingHe/LVDM): the 3-D autoencoder and the U-Nets for clips, prediction and interpolation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from videodiff.networks import Autoencoder3D, UNet3D

from .formats import Extras, Format, Ignore, Placed, Shapes, Sizes, equal, halves_swapped, heads_first
from .keys import wrapped
from .unets import check, count, levels

HEADS = 4
RES = {
    "in_layers.0": "norm_in",
    "in_layers.2": "conv_in",
    "emb_layers.1": "embedding",
    "out_layers.0": "norm_out",
    "out_layers.3": "conv_out",
    "skip_connection": "skip",
}
ATTENTION = {
    "norm_s": "spatial.norm",
    "norm_t": "temporal.norm",
    "qkv_s": "spatial.qkv",
    "qkv_t": "temporal.qkv",
    "proj_out_s": "spatial.out",
    "proj_out_t": "temporal.out",
    "relative_position_k": "temporal.shaw.keys",
    "relative_position_v": "temporal.shaw.values",
}
ENDS = {
    "time_embed.0": "embedding.first",
    "time_embed.2": "embedding.layers.0",
    "input_blocks.0.0": "conv_in",
    "label_emb": "embedding.concat_time",
    "out.0": "norm_out",
    "out.2": "conv_out",
}
MIDDLE = {"0": "middle.0", "1": "middle.0", "2": "middle.1"}
BLOCK = re.compile(r"(input_blocks|middle_block|output_blocks)\.(\d+)\.(.+)\.(weight|bias|embeddings_table)")
AUTOENCODER_PARTS = {
    r"encoder\.conv_first\.": "encoder.conv_in.",
    r"encoder\.final_block\.0\.": "encoder.norm_out.",
    r"encoder\.final_block\.2\.": "encoder.conv_out.",
    r"encoder\.conv_blocks\.(\d+)\.down\.": r"encoder.stages.\1.0.",
    r"encoder\.conv_blocks\.(\d+)\.res\.": r"encoder.stages.\1.1.",
    r"decoder\.conv_blocks\.(\d+)\.up\.convt\.": r"decoder.stages.\1.0.",
    r"decoder\.conv_blocks\.(\d+)\.res([12])\.": r"decoder.stages.\1.\2.",
    r"decoder\.conv_out\.": "decoder.conv_out.",
    r"quant_conv\.": "to_moments.",
    r"post_quant_conv\.": "from_latent.",
}
INNER = {".norm1.": ".norm_in.", ".conv1.": ".conv_in.", ".norm2.": ".norm_out.", ".conv2.": ".conv_out."}


# --- U-Nets -------------------------------------------------------------------------------------------------------


def unet_sizes(shapes: Shapes) -> Sizes:
    """Arguments of UNet3D; the side of a latent shows nowhere and is the published 32."""
    try:
        width = shapes["time_embed.0.weight"][1]
        blocks, channels, firsts = levels(shapes, r"output_blocks\.(\d+)\.[12]\.conv\.")
        out, read = shapes["out.2.weight"][0], shapes["input_blocks.0.0.weight"][1]
        reach = shapes["middle_block.1.relative_position_k.embeddings_table"][0] // 2
    except (KeyError, IndexError) as error:
        raise ValueError(f"lvdm-unet: weights missing (first {error})") from error
    resolution = 32
    attended = [i for i, f in enumerate(firsts) if f"input_blocks.{f}.1.norm_s.weight" in shapes]
    sizes = {
        "channels": out,
        "resolution": resolution,
        "num_frames": reach,
        "width": width,
        "channel_multipliers": [c // width for c in channels],
        "num_blocks": blocks,
        "attention_resolutions": sorted(resolution >> i for i in attended),
        "heads": HEADS,
        "embedding_layers": 2,
        "temporal_position": "shaw_lvdm",
        "max_distance": reach,
        "norm": "clip",
        "norm_groups": 32,
        "resample": "conv",
        "is_open": True,
    }
    if "label_emb.weight" in shapes:
        check(
            read - out == 1,
            "lvdm-unet",
            f"a mask of 1 channel is wanted, the first layer reads {read} for {out}",
        )
        sizes |= {"concat_channels": 1, "noise_levels": shapes["label_emb.weight"][0]}
    return sizes


def unet_name(name: str, num_blocks: int) -> str | None:
    """Our name of a parameter of LVDM's ``UNetModel``."""
    for theirs, ours in ENDS.items():
        if name.startswith(theirs + "."):
            return ours + name[len(theirs) :]
    match = BLOCK.fullmatch(name)
    if match is None:
        return None
    part, number, inner, leaf = match[1], int(match[2]), match[3], match[4]
    # behind the last block of a level, both ways, stands a change of size, which is a block of its own here
    ours = {
        "input_blocks": f"down.{number - 1}",
        "middle_block": MIDDLE.get(match[2], ""),
        "output_blocks": f"up.{number + number // (num_blocks + 1)}",
    }[part]
    if part == "middle_block":
        layer = inner
    else:
        _, _, layer = inner.partition(".")
        if layer == "op":
            return f"{ours}.conv.{leaf}"
        if layer == "conv":
            return f"up.{number + number // (num_blocks + 1) + 1}.conv.{leaf}"
    if layer in RES:
        return f"{ours}.res.{RES[layer]}.{leaf}"
    if layer in ATTENTION:
        return f"{ours}.{ATTENTION[layer]}" + ("" if leaf == "embeddings_table" else f".{leaf}")
    return None


def place_unet(name: str, value: Tensor, sizes: Sizes, all_tensors: Mapping[str, Tensor]) -> Placed | None:
    """One key of LVDM's ``UNetModel`` or ``FrameInterpPredUNet``."""
    ours = unet_name(name, sizes["num_blocks"])
    if ours is None:
        return None
    if name == "time_embed.0.weight":  # cosines first there, sines first here
        return ours, halves_swapped(value)
    if name == "label_emb.weight":
        # Level s is row s + 1 here and row 0 is no level. Theirs adds nothing then, and never trains its last row.
        return ours, torch.cat([torch.zeros_like(value[:1]), value[:-1]])
    if ".qkv." in ours:
        return ours, heads_first(value.flatten(1) if value.ndim > 1 else value, HEADS)
    if ours.endswith((".out.weight", ".skip.weight")):
        return ours, value.flatten(1)
    return ours, value.squeeze(2) if value.ndim == 5 else value


def unet_state(state: Mapping[str, Tensor], num_blocks: int) -> dict[str, Tensor]:
    """State of the published U-Net -> state of :class:`UNet3D`."""
    placed = (place_unet(name, value, {"num_blocks": num_blocks}, state) for name, value in state.items())
    return dict(pair for pair in placed if pair is not None)


def level_note(tensors: Mapping[str, Tensor], prefix: str) -> Extras:
    """What to say of the row of noise levels that the published network has not."""
    return {
        "embedding.concat_time.weight[0]": (
            None,
            "zeros (no level told); the file's last level, which its training never draws, is left out",
        )
    }


# --- autoencoder --------------------------------------------------------------------------------------------------


def autoencoder_sizes(shapes: Shapes) -> Sizes:
    """Arguments of Autoencoder3D; strides and the training clip show nowhere and are the published ones."""
    try:
        width = (shapes.get("encoder.conv_first.weight") or shapes["encoder.conv_first.conv.weight"])[0]
        latent = (shapes.get("post_quant_conv.weight") or shapes["post_quant_conv.conv.weight"])[0]
    except KeyError as error:
        raise ValueError(f"lvdm-autoencoder: weights missing (first {error})") from error
    stages = count(shapes, r"encoder\.conv_blocks\.(\d+)\.")
    check(stages > 0, "lvdm-autoencoder", "weights missing (first encoder.conv_blocks.0)")
    return {
        "num_frames": 16,
        "resolution": 256,
        "width": width,
        "downsample": [min(4, 2**stages), 2**stages, 2**stages],
        "latent_channels": latent,
        "norm_groups": 32,
    }


def autoencoder_name(name: str) -> str | None:
    """Our name of a key of the published autoencoder, either of its names for a weight."""
    name = re.sub(r"\.conv\.(weight|bias)$", r".\1", name)
    pattern = next((p for p in AUTOENCODER_PARTS if re.match(p, name)), None)
    if pattern is None:
        return None
    ours = re.sub("^" + pattern, AUTOENCODER_PARTS[pattern], name, count=1)
    for theirs, layer in INNER.items():
        ours = ours.replace(theirs, layer)
    return ours


def place_autoencoder(
    name: str, value: Tensor, sizes: Sizes, all_tensors: Mapping[str, Tensor]
) -> Placed | None:
    """One key of the published autoencoder; a padded convolution lists its weight under two names."""
    ours = autoencoder_name(name)
    if ours is None:
        return None
    first = name.removesuffix(".conv.weight") + ".weight"
    if name.endswith(".conv.weight") and first in all_tensors:
        check(
            equal(value, all_tensors[first]),
            "lvdm-autoencoder",
            f"{name} and {first} are one weight in the published network, but differ in the file",
        )
        raise Ignore("a second name of a weight")
    return ours, value


def scale(tensors: Mapping[str, Tensor], prefix: str) -> Extras:
    """The latent's scale and shift, which stand in the file of the diffusion model if anywhere."""
    found = {}
    for ours, theirs, default in (("scale", "scale_factor", 1.0), ("shift", "shift_factor", 0.0)):
        name = next(
            (
                n
                for n, v in tensors.items()
                if n.endswith(theirs) and wrapped(n[: -len(theirs)]) and v.numel() == 1
            ),
            None,
        )
        value, said = default, f"{default:g}: the file holds no {theirs}"
        if name is not None and not tensors[name].is_meta:
            value = float(tensors[name])
            said = f"{value:.9g}, from {name} of the file"
        found[f"latent_scale.{ours}"] = (value, said)
    found["latent_scale.sums"] = (0.0, "zeros: nothing measured")
    return found


AUTOENCODER = Format(
    "lvdm-autoencoder",
    "encoder.conv_first.conv.bias",
    Autoencoder3D,
    autoencoder_sizes,
    place_autoencoder,
    extras=scale,
)


def is_unet(masked: bool) -> Callable[[Mapping[str, Tensor]], bool]:
    """Whether names are those of a U-Net with a mask channel and noise levels, or of one without."""
    return lambda names: "middle_block.1.norm_s.weight" in names and ("label_emb.weight" in names) is masked


UNET = Format("lvdm-unet", "time_embed.0.weight", UNet3D, unet_sizes, place_unet, is_unet(False))
PREDICTION, INTERPOLATION = (
    Format(kind, "time_embed.0.weight", UNet3D, unet_sizes, place_unet, is_unet(True), level_note)
    for kind in ("lvdm-prediction-unet", "lvdm-interpolation-unet")
)
