"""Geometry of a triplane latent: three planes of a clip, written one behind the other as ``[B, C, N]``.

The planes of PVDM (Yu et al. 2023, section 3.1) keep two axes of the clip each and pool the third: height and width
(what stays, over time), time and width, time and height (what moves). The flat order is that of the published code,
sihyun-yu/PVDM:models/autoencoder/autoencoder_vit.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor


class PlaneSizes(NamedTuple):
    """Sizes of the axes that the planes share, in tokens.

    Attributes:
        num_frames: S, length of the time axis.
        height: H'.
        width: W'.
    """

    num_frames: int
    height: int
    width: int

    @property
    def shapes(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Rows and columns of each plane: ``(H', W')``, ``(S, W')``, ``(S, H')``."""
        return (self.height, self.width), (self.num_frames, self.width), (self.num_frames, self.height)

    @property
    def num_tokens(self) -> int:
        """N = H' W' + S W' + S H'."""
        return sum(rows * columns for rows, columns in self.shapes)

    def check(self, latent: Tensor) -> None:
        """Raise ValueError unless the last axis of ``latent`` ``[B, C, N]`` is these planes."""
        if latent.ndim != 3 or latent.shape[-1] != self.num_tokens:
            raise ValueError(
                f"planes of {self.num_frames} frames, height {self.height} and width {self.width} are a latent "
                f"[B, C, {self.num_tokens}], got {list(latent.shape)}"
            )


def split_planes(latent: Tensor, sizes: PlaneSizes) -> tuple[Tensor, Tensor, Tensor]:
    """The planes as pictures, views of the latent.

    Returns:
        ``[B, C, H', W']``, ``[B, C, S, W']`` and ``[B, C, S, H']`` of a latent ``[B, C, N]``.

    Raises:
        ValueError: if the latent has another length.
    """
    sizes.check(latent)
    pieces = latent.split([rows * columns for rows, columns in sizes.shapes], dim=-1)
    spatial, width, height = (
        piece.unflatten(-1, shape) for piece, shape in zip(pieces, sizes.shapes, strict=True)
    )
    return spatial, width, height


def reverse_time(latent: Tensor, sizes: PlaneSizes, shared: int = 0) -> Tensor:
    """The planes ``[B, C, N]`` of a clip as the next clip sees them behind itself, its last frame at the first row.

    Args:
        latent: the planes.
        sizes: their sizes.
        shared: frames that the next clip begins with and this one ends with: these rows come first, in order, each
            at the row that it has in the next clip; the frames follow in reverse order, the last one first.

    Raises:
        ValueError: if the latent has another length, or ``shared`` is not from 0 to S - 1.
    """
    if not 0 <= shared < sizes.num_frames:
        raise ValueError(f"shared must lie in 0 ... {sizes.num_frames - 1}, got {shared}")
    spatial, *moving = split_planes(latent, sizes)
    seen = [
        torch.cat([p[..., sizes.num_frames - shared :, :], p[..., shared:, :].flip(-2)], dim=-2)
        for p in moving
    ]
    return join_planes((spatial, *seen))


def join_planes(planes: Sequence[Tensor]) -> Tensor:
    """The reverse of ``split_planes``.

    Raises:
        ValueError: if the three planes do not share their axes.
    """
    (height, width), num_frames = planes[0].shape[-2:], planes[1].shape[-2]
    expected = PlaneSizes(num_frames, height, width).shapes
    if tuple(tuple(plane.shape[-2:]) for plane in planes) != expected:
        got = [tuple(plane.shape[-2:]) for plane in planes]
        raise ValueError(f"three planes must be (H, W), (S, W) and (S, H), got {got}")
    return torch.cat([plane.flatten(-2) for plane in planes], dim=-1)


def split_stacks(parts: Sequence[Tensor], shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Tokens of all planes as pictures, neighbouring planes of one shape in one batch.

    A 2-D layer that all planes share then runs once for the two planes over time, and once for all three if the clip
    is as long as it is wide.

    Args:
        parts: tokens ``[B, L, C_i]``, plane behind plane; their features are joined.
        shapes: rows and columns of each plane.

    Returns:
        ``[(P B), C, h, w]`` for each stack of P planes, in channels-last memory.
    """
    stacks, start = [], 0
    for (h, w), group in groupby(shapes):
        count = len(list(group))
        end = start + count * h * w
        # b (p h w) c -> p b h w c, views; the one copy joins them
        views = [part[:, start:end].unflatten(1, (count, h, w)).transpose(0, 1) for part in parts]
        stack = torch.cat(views, dim=-1) if len(views) > 1 else views[0].contiguous()
        stacks.append(stack.flatten(0, 1).permute(0, 3, 1, 2))
        start = end
    return stacks


def join_stacks(stacks: Sequence[Tensor], batch: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """The reverse of ``split_stacks``, whatever the size of the stacks has become: tokens and shapes."""
    pieces: list[Tensor] = []
    shapes: list[tuple[int, int]] = []
    for stack in stacks:
        planes = stack.permute(0, 2, 3, 1).flatten(1, 2).split(batch)  # P x [B, h w, C]
        pieces += planes
        shapes += [(stack.shape[2], stack.shape[3])] * len(planes)
    return torch.cat(pieces, dim=1), shapes
