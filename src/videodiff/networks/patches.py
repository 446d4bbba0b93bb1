"""Latents cut into patches, and back: the tokens of a transformer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .planes import PlaneSizes, join_planes, split_planes

Patch = tuple[int, int, int]


def patches(z: Tensor, size: Patch) -> Tensor:
    """Cut a latent into patches: ``[B, C, U, H, W]`` -> ``[B, U/p_t, (H/p_h)(W/p_w), p_t p_h p_w C]``.

    Tokens of a frame are in rows, the values of a token in the order time, row, column, channel.
    """
    time, height, width = size
    # b c (t p) (h q) (w r) -> b t h w p q r c
    z = z.unflatten(4, (-1, width)).unflatten(3, (-1, height)).unflatten(2, (-1, time))
    return z.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4).flatten(2, 3)


def from_patches(x: Tensor, size: Patch, shape: Sequence[int]) -> Tensor:
    """The reverse of :func:`patches`.

    Args:
        x: ``[B, U/p_t, (H/p_h)(W/p_w), p_t p_h p_w C]``, of any number of channels.
        size: of a patch.
        shape: ``(U, H, W)`` of the latent.
    """
    grid = [side // p for side, p in zip(shape, size, strict=True)]
    x = x.unflatten(3, (*size, -1)).unflatten(2, grid[1:])  # b t h w p q r c
    return x.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6).flatten(4, 5).flatten(2, 3)


def plane_patches(z: Tensor, sizes: PlaneSizes, side: int) -> Tensor:
    """Cut the planes of a triplane latent, one behind the other: ``[B, C, N]`` -> ``[B, 1, N / side^2, side^2 C]``."""
    planes = [patches(plane[:, :, None], (1, side, side)) for plane in split_planes(z, sizes)]
    return torch.cat(planes, dim=2)


def from_plane_patches(x: Tensor, sizes: PlaneSizes, side: int) -> Tensor:
    """The reverse of :func:`plane_patches`, of any number of channels."""
    counts = [rows * columns // side**2 for rows, columns in sizes.shapes]
    pieces = zip(x.split(counts, dim=2), sizes.shapes, strict=True)
    return join_planes(
        [from_patches(piece, (1, side, side), (1, *shape))[:, :, 0] for piece, shape in pieces]
    )
