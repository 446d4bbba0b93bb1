"""Pictures of triplane latents, and new clips from the planes of two."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from .planes import PlaneSizes, join_planes, split_planes

GAP = 2  # white pixels between the pictures of a sheet


def plane_pictures(latent: Tensor, sizes: PlaneSizes, scale: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """The planes of latents as grey pictures, one for each channel.

    Every plane of every latent has its own scale, its channels share it: the smallest number is black, the largest
    white, a plane of one value mid-grey. Time runs downwards in the second and third plane.

    Args:
        latent: ``[B, C, N]``.
        sizes: sizes of the planes.
        scale: pixels along the side of a token.

    Returns:
        uint8 ``[B, C, k H', k W']``, ``[B, C, k S, k W']`` and ``[B, C, k S, k H']`` on the latent's device, k being
        the scale.

    Raises:
        ValueError: if the latent has another length or the scale is below 1.
    """
    if scale < 1:
        raise ValueError(f"scale must be at least 1, got {scale}")
    pictures = []
    for plane in split_planes(latent.float(), sizes):
        low, high = plane.amin((1, 2, 3), keepdim=True), plane.amax((1, 2, 3), keepdim=True)
        grey = torch.where(high > low, (plane - low) / (high - low).clamp_min(1e-12), 0.5)
        large = grey.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
        pictures.append((255 * large).round().to(torch.uint8))
    space, over_height, over_width = pictures
    return space, over_height, over_width


def plane_sheet(latent: Tensor, sizes: PlaneSizes, scale: int = 4) -> Tensor:
    """All planes of latents on one sheet: a row for each latent; its planes one after the other, channel by channel.

    Args:
        latent: ``[B, C, N]``.
        sizes: sizes of the planes.
        scale: pixels along the side of a token.

    Returns:
        uint8 grey ``[height, width]`` on the CPU; pictures are two white pixels apart.

    Raises:
        ValueError: as :func:`plane_pictures`.
    """
    pictures = plane_pictures(latent, sizes, scale)
    height = max(plane.shape[2] for plane in pictures) + GAP
    columns = [
        pad(channel, (0, GAP, 0, height - channel.shape[1]), value=255)  # [B, height, width]
        for plane in pictures
        for channel in plane.unbind(1)
    ]
    return torch.cat(columns, dim=2).flatten(0, 1)[:-GAP, :-GAP].cpu()


def swap_motion(content: Tensor, motion: Tensor, sizes: PlaneSizes) -> Tensor:
    """What stays of some clips and what moves of others: spatial planes of the first, time planes of the second.

    Args:
        content: latents ``[B, C, N]``.
        motion: latents ``[B, C, N]``.
        sizes: sizes of the planes.

    Returns:
        Latents ``[B, C, N]``.

    Raises:
        ValueError: if the latents have different shapes or another length.
    """
    if content.shape != motion.shape:
        raise ValueError(
            f"planes are swapped between latents of one shape, got {list(content.shape)} and {list(motion.shape)}"
        )
    return join_planes([split_planes(content, sizes)[0], *split_planes(motion, sizes)[1:]])


def hold_still(latent: Tensor, sizes: PlaneSizes) -> Tensor:
    """The same spatial planes without motion: the time planes of every frame are their mean over time.

    Args:
        latent: ``[B, C, N]``.
        sizes: sizes of the planes.

    Returns:
        Latents ``[B, C, N]`` that decode to still clips.

    Raises:
        ValueError: if the latent has another length.
    """
    spatial, *moving = split_planes(latent, sizes)
    constant: Sequence[Tensor] = [plane.mean(2, keepdim=True).expand_as(plane) for plane in moving]
    return join_planes([spatial, *constant])
