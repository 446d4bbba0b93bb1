"""The image autoencoder of Stable Diffusion as diffusers writes it, under its newer or older names of attention."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from videodiff.networks import AutoencoderKL

from .formats import Format, Placed, Shapes, Sizes
from .unets import check, count

KIND = "autoencoder-kl"
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD = re.compile(rf"((?:en|de)coder\.mid_block\.attentions\.0\.)({'|'.join(ATTENTION)})\.(weight|bias)")
PARTS = re.compile(r"(encoder|decoder|quant_conv|post_quant_conv)\.")


def sizes(shapes: Shapes) -> Sizes:
    """Arguments of AutoencoderKL; groups, the scale of the latent and the clip show nowhere and are its defaults."""
    levels = count(shapes, r"encoder\.down_blocks\.(\d+)\.")
    layers = count(shapes, r"encoder\.down_blocks\.0\.resnets\.(\d+)\.")
    check(levels > 0 and layers > 0, KIND, "weights missing (first encoder.down_blocks.0.resnets.0)")
    try:
        widths = [shapes[f"encoder.down_blocks.{i}.resnets.0.conv1.weight"][0] for i in range(levels)]
        latent = shapes["decoder.conv_in.weight"][1]
    except KeyError as error:
        raise ValueError(f"{KIND}: weights missing (first {error})") from error
    return {
        "block_out_channels": widths,
        "layers_per_block": layers,
        "latent_channels": latent,
        "norm_num_groups": 32,
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
        "mid_block_add_attention": any(name.startswith("encoder.mid_block.attentions.") for name in shapes),
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
        "num_frames": 16,
        "resolution": 256,
        "frames_at_once": 8,
        "tile": None,
    }


def place(name: str, value: Tensor, sizes: Sizes, all_tensors: Mapping[str, Tensor]) -> Placed | None:
    """One key; attention written as 1x1 convolutions becomes the linear layers that it is."""
    if not PARTS.match(name):
        return None
    if (old := OLD.fullmatch(name)) is not None:
        name = f"{old[1]}{ATTENTION[old[2]]}.{old[3]}"
    if ".attentions." in name and name.endswith(".weight") and value.ndim == 4:
        value = value.flatten(1)
    return name, value


AUTOENCODER = Format(
    KIND,
    "encoder.down_blocks.0.resnets.0.conv1.weight",
    AutoencoderKL,
    sizes,
    place,
    scale_arguments=("scaling_factor", "shift_factor"),
)
