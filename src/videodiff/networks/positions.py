"""Where the tokens of a transformer lie: fixed sines and cosines added to them, or rotary angles of queries and keys.

Both are computed from coordinates for any number of frames and any size, never read from a table of one size: a table
stretched to another size is not the table of that size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from rotary_embedding_torch import RotaryEmbedding
from torch import Tensor

from .planes import PlaneSizes


class Coordinates(NamedTuple):
    """Place of every token along the axes of a clip, in patches; None is an axis that it does not have.

    Attributes:
        time: ``[N_t]``, or ``[N]`` where one token has all three.
        row: ``[N_s]`` or ``[N]``.
        column: as ``row``.
    """

    time: Tensor
    row: Tensor
    column: Tensor


def grid_coordinates(frames: int, height: int, width: int, device: torch.device) -> Coordinates:
    """Of a clip cut into patches, so many along each axis: time apart from space, whose tokens are in rows."""
    rows, columns = torch.meshgrid(places(height, device), places(width, device), indexing="ij")
    return Coordinates(places(frames, device), rows.flatten(), columns.flatten())


def plane_coordinates(sizes: PlaneSizes, side: int, device: torch.device) -> Coordinates:
    """Of the tokens of three planes, one plane behind the other; -1 along the axis that a plane does not have."""
    time, height, width = (places(axis // side, device) for axis in sizes)
    none = torch.full((1,), -1.0, dtype=torch.float64, device=device)
    grids = [(none, height, width), (time, none, width), (time, height, none)]
    axes = [torch.meshgrid(*grid, indexing="ij") for grid in grids]
    return Coordinates(*(torch.cat([axis[i].flatten() for axis in axes]) for i in range(3)))


def places(count: int, device: torch.device) -> Tensor:
    """0 ... count - 1 in fp64."""
    return torch.arange(count, dtype=torch.float64, device=device)


def sincos(place: Tensor, dim: int) -> Tensor:
    """Sines, then cosines, of places at ``dim / 2`` frequencies 10000^(-2i / dim): ``[N]`` -> ``[N, dim]`` fp64.

    A place below 0 is none, and zero.
    """
    ranks = places(dim // 2, place.device)
    angles = place[:, None] * 10_000.0 ** (-2.0 * ranks / dim)
    return torch.cat([angles.sin(), angles.cos()], dim=-1) * (place >= 0)[:, None]


def sincos_in_space(at: Coordinates, dim: int, columns_first: bool) -> Tensor:
    """The row in the first half of the features, the column in the second; Latte's tables have them the other way."""
    halves = [sincos(at.row, dim // 2), sincos(at.column, dim // 2)]
    return torch.cat(halves[::-1] if columns_first else halves, dim=-1)


def rotary_pairs(head_dim: int, axes: int) -> list[int]:
    """Pairs of features of a head that turn with each of so many axes; what is left over turns with the first."""
    pairs = head_dim // 2
    each = pairs // axes
    return [pairs - (axes - 1) * each, *[each] * (axes - 1)]


def rotary_angles(axes: Sequence[Tensor], head_dim: int) -> Tensor:
    """Cosine and sine of the angle of every pair: places ``[L]`` along each axis -> ``[2, L, head_dim / 2]`` fp64.

    The frequencies are those of rotary-embedding-torch; a place below 0 is none, and does not turn.
    """
    found = []
    for place, pairs in zip(axes, rotary_pairs(head_dim, len(axes)), strict=True):
        # of a single pair it is 1, which the package cannot say: it divides by the pairs less one
        frequencies = (
            torch.ones(1) if pairs == 1 else RotaryEmbedding(2 * pairs, cache_max_seq_len=1).freqs.detach()
        )
        found.append(place.clamp(min=0)[:, None] * frequencies.double().to(place.device))
    angles = torch.cat(found, dim=-1)
    return torch.stack([angles.cos(), angles.sin()])


def turned(x: Tensor, table: Tensor) -> Tensor:
    """Turn each pair of neighbouring features by its token's angle.

    Args:
        x: ``[..., L, heads, n, D]``.
        table: ``[2, L, D / 2]``, cosine and sine.
    """
    cos, sin = table.to(x.dtype)[:, :, None, None].unbind(0)
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
