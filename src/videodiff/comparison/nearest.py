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


def nearest(
    samples: Tensor, batches: Iterable[Batch], batch_size: int = 16
) -> tuple[list[tuple[int, float]], Tensor]:
    """The training clip with the least RMS difference from each sample over all pixels and frames.

    Differences are summed in whole numbers, so that neither batches nor order change a result; of equal ones the
    first wins.

    Args:
        samples: uint8 ``[N, T, H, W, 3]``.
        batches: training clips of the same shape, with their places.
        batch_size: samples compared at once.

    Returns:
        ``(place, distance in grey levels)`` for each sample, and those clips ``[N, T, H, W, 3]``.

    Raises:
        ValueError: without training clips.
    """
    count = len(samples)
    best: list[tuple[int, int]] = [(-1, 0)] * count  # place, sum of squares
    clips = torch.zeros_like(samples)
    for places, training in batches:
        for row, place in zip(training, places, strict=True):
            for start in range(0, count, batch_size):
                part = samples[start : start + batch_size].to(torch.int16)
                sums = (
                    (part - row.to(torch.int16)).to(torch.int32).square().flatten(1).sum(1, dtype=torch.int64)
                )
                for i, total in enumerate(sums.tolist(), start):
                    if best[i][0] < 0 or (total, place) < (best[i][1], best[i][0]):
                        best[i] = place, total
                        clips[i] = row
    if count and best[0][0] < 0:
        raise ValueError("there are no training clips to search")
    size = samples[0].numel() if count else 1
    return [(place, (total / size) ** 0.5) for place, total in best], clips


def training_clips(data: Any, protocol: Protocol, seed: int) -> tuple[Any, Iterator[Batch], int]:
    """One window of each of the first :data:`SEARCHED` training videos, at the length of the protocol's clips.

    Returns:
        The source, the batches, and how many clips there are.
    """
    wanted = protocol.changed(
        split="train", num_real=SEARCHED, clips_per_video=1, order="listing", subsample=1
    )
    source = real_source(data, wanted)
    plan = plan_clips(source, wanted, "real", seed)
    return source, read_batches(source, plan, range(len(plan)), BATCH, []), len(plan)
