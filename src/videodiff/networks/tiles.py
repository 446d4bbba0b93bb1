"""Pictures in tiles: memory that does not grow with the size of a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import Tensor


def in_tiles(
    network: Callable[[Tensor], Tensor],
    x: Tensor,
    tile: tuple[int, int],
    overlap: tuple[int, int],
    rate: Fraction,
) -> Tensor:
    """What a network makes of pictures tile by tile, each fading into its neighbours.

    A tile's border knows nothing of what lies beyond it, so that neighbours overlap; over the overlap the weight of
    one falls in equal steps as that of the other rises. All tiles have one size; the last of a row or a column ends
    with the picture.

    Args:
        network: ``[N, C, h, w]`` -> ``[N, C', h rate, w rate]``.
        x: ``[N, C, H, W]``.
        tile: height and width of a tile at most.
        overlap: rows and columns that neighbouring tiles share at least.
        rate: sizes of the output over those of the input.

    Raises:
        ValueError: unless 0 < overlap < tile.
    """
    if not all(0 < shared < side for shared, side in zip(overlap, tile, strict=True)):
        raise ValueError(f"tiles must overlap by less than their size: got {overlap} of {tile}")
    rows, columns = (
        starts(length, side, shared) for length, side, shared in zip(x.shape[2:], tile, overlap, strict=True)
    )
    if len(rows) == len(columns) == 1:
        return network(x)
    total, weight = x.new_empty(0), x.new_empty(0)
    for top in rows:
        for left in columns:
            piece = x[:, :, top : top + tile[0], left : left + tile[1]]
            made = network(piece)
            shares = [
                ramps(made.shape[axis + 2], int(overlap[axis] * rate), at > 0, at < at_end)
                for axis, (at, at_end) in enumerate(((top, rows[-1]), (left, columns[-1])))
            ]
            share = torch.outer(*shares).to(made)
            if not total.numel():
                sides = [int(side * rate) for side in x.shape[2:]]
                total, weight = made.new_zeros(*made.shape[:2], *sides), made.new_zeros(sides)
            y, z = int(top * rate), int(left * rate)
            place = (..., slice(y, y + made.shape[2]), slice(z, z + made.shape[3]))
            total[place] += made * share
            weight[place] += share
    return total / weight


def starts(length: int, tile: int, overlap: int) -> Sequence[int]:
    """Where the tiles along an axis begin."""
    last = max(length - tile, 0)
    return [*range(0, last, tile - overlap), last]


def ramps(length: int, overlap: int, before: bool, after: bool) -> Tensor:
    """Weights ``[length]`` of a tile along an axis, rising from a neighbour before it and falling to one after it."""
    weight = torch.ones(length)
    ramp = (torch.arange(overlap) + 0.5) / overlap
    if before:
        weight[:overlap] *= ramp
    if after:
        weight[length - overlap :] *= ramp.flip(0)
    return weight
