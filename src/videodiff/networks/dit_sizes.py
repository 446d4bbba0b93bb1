"""Sizes of diffusion transformers as published, and which sizes, patches and layouts fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..frame_size import FrameSize, Resolution
from .patches import Patch
from .planes import PlaneSizes
from .positions import rotary_pairs

if TYPE_CHECKING:
    from .latents import Latents

Size = Literal["S", "B", "L", "XL"]
Layout = Literal["joint", "alternating", "factorised"]
# depth, width and heads of facebookresearch/DiT:models.py
SIZES = {"S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "XL": (28, 1152, 16)}


def sized(size: str | None, **given: int | None) -> tuple[int, int, int]:
    """Depth, width and heads: those given, else those of a size.

    Raises:
        ValueError: for an unknown size, or without a size where one of them is not given.
    """
    if size is not None and size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, or null, got {size!r}")
    usual = (None, None, None) if size is None else SIZES[size]
    found = {
        name: fallback if value is None else value
        for (name, value), fallback in zip(given.items(), usual, strict=True)
    }
    for name, value in found.items():
        if value is None:
            raise ValueError(f"{name} must be given where size is null")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    depth, width, num_heads = found.values()
    assert depth is not None and width is not None and num_heads is not None  # noqa: PT018  # checked above
    return depth, width, num_heads


def check_patch(size: Patch) -> Patch:
    """The size of a patch, of three numbers.

    Raises:
        ValueError: if it is not.
    """
    if len(size) != 3 or min(size) < 1:
        raise ValueError(f"patch_size must be three numbers from 1 (time, height, width), got {list(size)}")
    return size[0], size[1], size[2]


def planes_of(plane_size: Resolution | None, num_frames: int | None) -> PlaneSizes | None:
    """Sizes of the planes of a triplane latent, or None.

    Raises:
        ValueError: if only one of the two that they follow from is given.
    """
    if plane_size is None:
        return None
    if num_frames is None:
        raise ValueError("plane_size needs num_frames, the rows of the two planes over time")
    return PlaneSizes(num_frames, *FrameSize.of(plane_size, "plane_size"))


def check_choices(
    layout: str, positions: str, depth: int, planes: PlaneSizes | None, patch: Patch, causal: bool
) -> None:
    """Raise ValueError unless layout, depth, planes and patches fit each other."""
    if layout not in ("joint", "alternating", "factorised"):
        raise ValueError(f"layout must be joint, alternating or factorised, got {layout!r}")
    if positions not in ("sincos", "rotary"):
        raise ValueError(f"positions must be sincos or rotary, got {positions!r}")
    if layout == "alternating" and depth % 2:
        raise ValueError(f"depth must be even, as blocks over space and over time alternate, got {depth}")
    if planes is None:
        return
    if layout != "joint" or causal:
        raise ValueError(
            "three planes are one sequence of tokens: plane_size needs layout joint and causal false, got layout "
            f"{layout} and causal {str(causal).lower()}"
        )
    if len(set(patch)) != 1:
        raise ValueError(
            f"the three planes share their patches: patch_size must be three times one number, got {patch}"
        )
    if any(axis % patch[0] for axis in planes):
        raise ValueError(
            f"num_frames and plane_size must be multiples of patch_size {patch[0]}, got {planes.num_frames} and "
            f"{FrameSize(planes.height, planes.width)}"
        )


def check_heads(width: int, num_heads: int, positions: str, layout: str) -> None:
    """Raise ValueError unless width, heads and positions fit each other."""
    if width % num_heads or width % 4:
        raise ValueError(f"width must be a multiple of num_heads ({num_heads}) and of 4, got {width}")
    axes = 3 if layout == "joint" else 2
    if positions == "rotary" and (width // num_heads % 2 or rotary_pairs(width // num_heads, axes)[-1] < 1):
        raise ValueError(
            f"rotary positions need a pair of features of a head for each of {axes} axes: width / num_heads must be "
            f"even and at least {2 * axes}, got {width // num_heads}"
        )


def check_planes(channels: int, planes: PlaneSizes, latents: Latents) -> None:
    """Raise ValueError unless the planes of an autoencoder are those of the network."""
    own, made = (channels, planes.num_tokens), latents.network_shape(1)
    if own != made:
        raise ValueError(
            f"the network is made for planes {own} (channels, tokens), the autoencoder makes {made}; set "
            "channels, num_frames and plane_size of --model.net"
        )


def check_latent(channels: int, patch: tuple[int, int, int], latents: Latents) -> None:
    """Raise ValueError for a latent that cannot be cut into patches."""
    made, *axes = latents.network_shape(latents.clip_units)
    if len(axes) != 3:
        raise ValueError(
            f"the first stage makes planes of {axes[0]} tokens in all: the network needs their num_frames and "
            "plane_size (--model.net.plane_size)"
        )
    if made != channels:
        raise ValueError(
            f"the network takes {channels} channels, the latent has {made}: set --model.net.channels {made}"
        )
    if axes[0] % patch[0]:
        raise ValueError(
            f"the {axes[0]} units of a clip's latent must be a multiple of the {patch[0]} of a patch "
            "(patch_size of --model.net)"
        )
    _, _, height, width = latents.video_shape
    each = [max(side // axis, 1) for side, axis in zip((height, width), axes[1:], strict=True)]
    factor = each[0] * patch[1], each[1] * patch[2]
    reason = "patches of the network"
    if max(each) > 1:
        reason = f"{FrameSize(*each)} of the first stage times {FrameSize(*patch[1:])} of the {reason}"
    FrameSize(height, width).check_multiple(factor, reason, "resolution of the clips")
