"""The training clips nearest to generated ones: exact, in batches, so that memory does not grow with the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from videodiff.comparison.record import ModelClips, ModelRecord
from videodiff.comparison.runs import Run
from videodiff.data.real_clips import differences
from videodiff.evaluation.measurement import Progress
from videodiff.evaluation.plan import Batch, plan_clips, read_batches
from videodiff.evaluation.protocol import Protocol
from videodiff.evaluation.real import data_record, real_source

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
    for places, training, _ in batches:
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


def find_nearest(
    measured: Sequence[tuple[Run, ModelRecord, ModelClips]], protocol: Protocol, seed: int, progress: Progress
) -> None:
    """Give every record and its clips the nearest training clip of each shown sample.

    The training clips are each model's own, at its own size and pace. Models that were trained on the same ones are
    searched together: these are read once.
    """
    groups: list[list[tuple[Run, ModelRecord, ModelClips]]] = []
    for entry in measured:
        if not len(entry[2].samples):
            continue
        mine = data_record(entry[0].data, "train")
        for group in groups:
            theirs = data_record(group[0][0].data, "train")
            if mine["limits"]["train"] == theirs["limits"]["train"] and not differences(
                mine, theirs, "train"
            ):
                group.append(entry)
                break
        else:
            groups.append([entry])
    for group in groups:
        source, batches, count = training_clips(group[0][0].data, protocol, seed)
        found, clips = nearest(
            torch.cat([shown.samples for _, _, shown in group]), with_progress(batches, count, progress)
        )
        for _, record, shown in group:
            its, found = found[: len(shown.samples)], found[len(shown.samples) :]
            shown.nearest, clips = clips[: len(its)], clips[len(its) :]
            record.nearest = [
                {"sample": i, "train": place, "name": source.name(place), "distance": distance}
                for i, (place, distance) in enumerate(its)
            ]


def with_progress(batches: Iterable[Batch], total: int, progress: Progress) -> Iterator[Batch]:
    """The same batches, with progress."""
    for batch in batches:
        progress("training clips searched", batch.places[-1] + 1, total)
        yield batch
