"""Cosines of blocks of pixels: where a linear code of video begins."""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor


def block_cosines(count: int, size: tuple[int, int, int]) -> Tensor:
    """The slowest ``count`` cosines of blocks of pixels, ``[count, 3, *size]``, where a linear code begins.

    Products of the vectors of DCT-II along time, height and width and of three colours, grey and two differences:
    orthogonal, each with squares that sum to the numbers of a block, so that ``code = cosines . block / numbers`` is
    of a pixel's size and ``cosines . code`` is the projection of the block. Slowest means the smallest sum of
    frequencies over height and width, with one of time counted as four and a colour difference as two more: about
    the order of variance in real clips.

    Raises:
        ValueError: if a block has fewer numbers than ``count``.
    """
    numbers = 3 * math.prod(size)
    if count > numbers:
        raise ValueError(
            f"blocks of {size} frames, rows and columns have {numbers} numbers, fewer than {count}"
        )
    axes = []
    for n in size:
        wave = torch.cos(math.pi / n * torch.outer(torch.arange(n), torch.arange(n) + 0.5).double())
        axes.append(wave * n**0.5 / wave.norm(dim=1, keepdim=True))
    colours = torch.tensor([[1, 1, 1], [1, -1, 0], [1, 1, -2]], dtype=torch.float64)
    axes = [colours * 3**0.5 / colours.norm(dim=1, keepdim=True), *axes]
    order = sorted(
        product(*(range(len(axis)) for axis in axes)),
        key=lambda k: (2 * (k[0] > 0) + 4 * k[1] + k[2] + k[3], k),
    )
    rows = [[axis[i] for axis, i in zip(axes, k, strict=True)] for k in order[:count]]
    return torch.stack([torch.einsum("c,t,h,w->cthw", *row) for row in rows]).float()
