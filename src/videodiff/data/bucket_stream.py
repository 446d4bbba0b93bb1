"""The order of batches of mixed shapes: each step takes one bucket, all processes the same.

The order is a pure function of seed and epoch, as in :mod:`videodiff.data.stream`. Every bucket has a stream of its own
without an end. In epoch ``e`` a bucket of ``n`` clips and batches of ``B`` gives ``floor((e + 1) n / B) - floor(e n /
B)`` batches: all whole ones that its clips of this epoch make with those left over before, and what does not fill a
batch waits for the next epoch's. So no clip is lost, and none seen more often than another. The batches of an epoch
come in the order of a permutation ``f(seed, "buckets", epoch)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler

from videodiff.data.buckets import Bucket
from videodiff.data.clips import ClipSource
from videodiff.data.selection import Selection
from videodiff.data.stream import ClipDataset, GlobalBatches
from videodiff.say import counted
from videodiff.seeding import generator


class BucketDataset(Dataset[dict[str, Any]]):
    """The clips of all buckets as one data set: number ``p n + b`` is the clip at position ``p`` of bucket ``b`` of n.

    Args:
        buckets: the shapes.
        parts: the clips of each, with streams of their own.
    """

    images_per_video = 0

    def __init__(self, buckets: Sequence[Bucket], parts: Sequence[ClipDataset]) -> None:
        self.buckets, self.parts = buckets, parts
        self.source = max(
            (part.source for part in parts), key=len
        )  # what all of them say of the videos left out

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, number: int) -> dict[str, Any]:
        position, bucket = divmod(number, len(self.parts))
        return {**self.parts[bucket][position], "sample": number}

    @property
    def record(self) -> str | None:
        """JSON-lines file for replaced clips, or None."""
        return self.parts[0].record

    @record.setter
    def record(self, path: str | None) -> None:
        for part in self.parts:
            part.record = path

    @property
    def num_replaced(self) -> int:
        """How many clips were replaced so far."""
        return sum(part.num_replaced for part in self.parts)

    def names_being_read(self) -> list[str]:
        """Videos that workers have begun and not ended reading."""
        return [name for part in self.parts for name in part.names_being_read()]

    def order(self, seed: int) -> BucketOrder:
        """Which bucket each step takes."""
        return BucketOrder([len(p) for p in self.parts], [b.batch_size for b in self.buckets], seed)

    def describe(self) -> list[str]:
        """A line for each bucket."""
        return [
            f"  bucket {i}: {bucket}, {counted(len(part), 'clip')}, {bucket.batch_size} a step"
            for i, (bucket, part) in enumerate(zip(self.buckets, self.parts, strict=True))
        ]


def bucketed(
    selection: Selection,
    buckets: Sequence[Bucket],
    parts: Sequence[ClipSource],
    seed: int,
    max_bad_fraction: float,
) -> BucketDataset:
    """The clips of all buckets, read by the rule of a selection.

    Args:
        selection: of the data.
        buckets: the shapes.
        parts: the videos of each.
        seed: of order, windows and flips.
        max_bad_fraction: share of a bucket's videos that may turn out unreadable.
    """
    rule = selection.rule
    found = [
        ClipDataset(
            part, bucket.num_frames, rule.frame_stride, seed, "train", rule.horizontal_flip,
            max_bad_fraction=max_bad_fraction, windows=rule.windows, resolution=bucket.size,
        )
        for bucket, part in zip(buckets, parts, strict=True)
    ]  # fmt: skip
    return BucketDataset(buckets, found)


class BucketOrder:
    """Which bucket a step takes, and which of its batches: a pure function of seed and step.

    Args:
        clips: of each bucket.
        batch_sizes: of each bucket.
        seed: of the order.
    """

    def __init__(self, clips: Sequence[int], batch_sizes: Sequence[int], seed: int = 0) -> None:
        self.pairs, self.seed = list(zip(clips, batch_sizes, strict=True)), seed
        self._epoch: tuple[int, int, list[tuple[int, int]]] | None = None

    def before(self, epoch: int) -> list[int]:
        """Batches that each bucket has given before an epoch begins."""
        return [epoch * clips // size for clips, size in self.pairs]

    def epoch_of(self, step: int) -> int:
        """The epoch that a step lies in."""
        low, high = 0, 1
        while sum(self.before(high)) <= step:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if sum(self.before(middle)) <= step else (low, middle)
        return low

    def batches(self, epoch: int) -> list[tuple[int, int]]:
        """Bucket and number of its batch, for every step of an epoch."""
        first, after = self.before(epoch), self.before(epoch + 1)
        order = torch.cat(
            [torch.full((b - a,), i) for i, (a, b) in enumerate(zip(first, after, strict=True))]
        )
        drawn = order[torch.randperm(len(order), generator=generator(self.seed, "buckets", epoch))].tolist()
        found = []
        for bucket in drawn:
            found.append((bucket, first[bucket]))
            first[bucket] += 1
        return found

    def at(self, step: int) -> tuple[int, int]:
        """Bucket of a step, and how many batches it has given before."""
        if self._epoch is None or not 0 <= step - self._epoch[1] < len(self._epoch[2]):
            epoch = self.epoch_of(step)
            self._epoch = epoch, sum(self.before(epoch)), self.batches(epoch)
        return self._epoch[2][step - self._epoch[1]]


class BucketBatches(Sampler[list[int]]):
    """Endless micro-batches for one process; all of a step, and of all processes, are of one bucket.

    Args:
        order: of the buckets.
        accumulate: micro-batches in a step.
        world: number of processes.
        rank: of this process.
        first_step: returns the optimizer steps already done.

    Raises:
        ValueError: if the batch size of a bucket cannot be shared out evenly.
    """

    def __init__(
        self,
        order: BucketOrder,
        accumulate: int = 1,
        world: int = 1,
        rank: int = 0,
        first_step: Callable[[], int] = int,
    ) -> None:
        for number, (_, size) in enumerate(order.pairs):
            try:
                GlobalBatches(size, accumulate, world, rank)
            except ValueError as error:
                raise ValueError(f"data.buckets.{number}: {error}") from error
        self.order, self.accumulate, self.world, self.rank = order, accumulate, world, rank
        self.first_step = first_step

    def __iter__(self) -> Iterator[list[int]]:
        count, step = len(self.order.pairs), self.first_step()
        while True:
            bucket, number = self.order.at(step)
            size = self.order.pairs[bucket][1]
            micro, start = size // self.accumulate, number * size
            for first in range(start, start + size, micro):
                yield [count * p + bucket for p in range(first + self.rank, first + micro, self.world)]
            step += 1
