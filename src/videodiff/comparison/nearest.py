"""The training clips nearest to generated ones: exact, in batches, so that memory does not grow with the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from videodiff.evaluation.of_run import real_source
from videodiff.evaluation.protocol import Protocol
from videodiff.evaluation.sampling import Batch, plan_clips, read_batches

SEARCHED = 2048  # training clips at most
BATCH = 64
PIECE = 1 << 16  # pixels of every clip compared at once


def nearest(samples: Tensor, batches: Iterable[Batch]) -> tuple[list[tuple[int, float]], Tensor]:
    """The training clip with the least RMS difference from each sample over all pixels and frames.

    Squares are summed in whole numbers below 2^53, which float64 holds exactly, so that neither batches nor the order
    of a sum change a result; of equal ones the first wins.

    Args:
        samples: uint8 ``[N, T, H, W, 3]``.
        batches: training clips of the same shape, with their places in rising order.

    Returns:
        ``(place, distance in grey levels)`` for each sample, and those clips ``[N, T, H, W, 3]``.

    Raises:
        ValueError: without training clips.
    """
    best = torch.full((len(samples),), torch.inf, dtype=torch.float64)
    found = torch.full((len(samples),), -1)
    clips = torch.zeros_like(samples)
    for places, training in batches:
        least, index = squares(samples, training).min(1)
        for i in torch.nonzero(least < best).flatten().tolist():
            found[i] = places[int(index[i])]
            clips[i] = training[index[i]]
        best = torch.minimum(best, least)
    if len(samples) and int(found.min()) < 0:
        raise ValueError("there are no training clips to search")
    size = samples[0].numel() if len(samples) else 1
    return list(zip(found.tolist(), (best / size).sqrt().tolist(), strict=True)), clips


def squares(a: Tensor, b: Tensor) -> Tensor:
    """Exact sums of squared differences of every two clips, uint8 ``[N, ...]``, ``[M, ...]`` -> float64 ``[N, M]``."""
    a, b = a.flatten(1), b.flatten(1)
    total = torch.zeros(len(a), len(b), dtype=torch.float64)
    for start in range(0, a.shape[1], PIECE):
        x, y = (part[:, start : start + PIECE].double() for part in (a, b))
        total += x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return total


def training_clips(data: Any, protocol: Protocol, seed: int) -> tuple[Any, Iterator[Batch], int]:
    """One window of each of the first :data:`SEARCHED` training videos, at the length of the protocol's clips.

    They are read at the size and pace of the data, whatever those of the protocol are.

    Returns:
        The source, the batches, and how many clips there are.
    """
    wanted = protocol.changed(
        split="train", num_real=SEARCHED, clips_per_video=1, order="listing", subsample=1,
        stride=data.frame_stride, fps=data.selection.fps,
    )  # fmt: skip
    source = real_source(data, wanted)
    plan = plan_clips(source, wanted, "real", seed)
    return source, read_batches(source, plan, range(len(plan)), BATCH, []), len(plan)
