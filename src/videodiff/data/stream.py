"""The order of clips as a pure function of the seed: there is no state to save or to lose.

Training reads an endless stream. Position ``p`` of a set of ``n`` videos lies in epoch ``p // n``, whose order is the
permutation ``f(seed, "perm", epoch)``; step ``s`` of the global batch ``B`` takes the positions ``[s B, (s+1) B)``.
Window and flip are ``f(seed, epoch, video)``. (Where an epoch is made of all windows, read "window" for "video".) So
workers, processes and resumes cannot change a sample.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler, get_worker_info

from videodiff import atomic
from videodiff.data.captions import SceneCaption, chosen
from videodiff.data.clips import ClipSource
from videodiff.data.pixels import random_part
from videodiff.data.shared_memory import shared_int64
from videodiff.frame_size import Resolution
from videodiff.say import none_can_be
from videodiff.seeding import generator, uniform

MIN_BAD_CLIPS = 4  # below this many bad videos the share of bad ones says nothing


class BadDataError(ValueError):
    """Too much of a data set cannot be read; one line, also when a loader worker passes it on with its traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().splitlines()[-1].removeprefix(f"{__name__}.{type(self).__name__}: "))


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> Tensor:
    return torch.randperm(size, generator=generator(seed, "perm", epoch))


def epoch_and_index(position: int, size: int, seed: int) -> tuple[int, int]:
    """The epoch of a stream position and the number of the video that stands there."""
    epoch, offset = divmod(position, size)
    return epoch, int(_permutation(seed, epoch, size)[offset])


class GlobalBatches(Sampler[list[int]]):
    """Endless micro-batches of stream positions for one process.

    The global batch of a step is cut into `accumulate` micro-batches, and rank `r` takes every `world`-th position of
    each from the `r`-th on. The first step is asked for when iteration starts.

    Args:
        batch_size: of one optimizer step, over all processes and micro-batches.
        accumulate: micro-batches in a step.
        world: number of processes.
        rank: of this process.
        first_step: returns the optimizer steps already done.

    Raises:
        ValueError: if `batch_size` cannot be shared out evenly, with the nearest sizes that can.
    """

    def __init__(
        self,
        batch_size: int,
        accumulate: int = 1,
        world: int = 1,
        rank: int = 0,
        first_step: Callable[[], int] = int,
    ) -> None:
        parts = world * accumulate
        if batch_size % parts:
            below, above = batch_size // parts * parts, -(-batch_size // parts) * parts
            raise ValueError(
                f"batch_size (global) must be divisible by processes x accumulate_grad_batches = {world} x "
                f"{accumulate} = {parts}, got {batch_size}; use {f'{below} or ' if below else ''}{above}"
            )
        self.batch_size, self.accumulate, self.world, self.rank = batch_size, accumulate, world, rank
        self.first_step = first_step

    def __iter__(self) -> Iterator[list[int]]:
        micro = self.batch_size // self.accumulate
        start = self.first_step() * self.batch_size
        while True:
            yield list(range(start + self.rank, start + micro, self.world))
            start += micro


class ShardBatches(Sampler[list[int]]):
    """Every `world`-th of `size` clips from the `rank`-th on, in batches; none twice, none left out."""

    def __init__(self, size: int, batch_size: int, world: int = 1, rank: int = 0) -> None:
        mine = range(rank, size, world)
        self.batches = [list(mine[i : i + batch_size]) for i in range(0, len(mine), batch_size)]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class ClipDataset(Dataset[dict[str, Any]]):
    """Samples ``{"video": uint8 [T + I, H, W, 3], "sample": number}``, with ``label`` and ``caption`` if there are any.

    Where there are images, ``image_labels`` are the classes of the I videos that they are from, and ``image_captions``
    what is said of them. Of several captions of a clip training takes one, drawn anew in every epoch, val and test the
    first. ``scene_caption`` tells those of parts of the clip, where its scene is known. ``actions``, where the source
    has some, are fp32 ``[T + I, D]``, those of images zero.

    A clip that cannot be read is replaced by the next one of the same order, counted, and recorded.

    Args:
        source: the videos.
        num_frames: T, frames of a clip.
        frame_stride: distance between them.
        seed: of order, windows and flips.
        split: train reads the endless stream; val and test read every video once, with a window that never changes.
        horizontal_flip: mirror every other clip, drawn once per clip and epoch (training only).
        images_per_video: I, single frames of other videos after the clip (training only).
        record: JSON-lines file for replaced clips, or None.
        max_bad_fraction: share of videos that may turn out bad before training stops; four always may.
        windows: one random window of each video makes an epoch, or all windows of all videos do (training only).
        random_crop: least height and width of a random part of the clip, as a share of the frames', drawn once per
            clip and epoch and scaled to ``resolution``; None for whole frames (training only).
        resolution: height and width of the frames after ``random_crop``, in pixels; the source has larger ones.
    """

    def __init__(
        self,
        source: ClipSource,
        num_frames: int,
        frame_stride: int = 1,
        seed: int = 0,
        split: str = "train",
        horizontal_flip: bool = False,
        images_per_video: int = 0,
        record: str | None = None,
        max_bad_fraction: float = 0.05,
        windows: str = "one",
        random_crop: float | None = None,
        resolution: Resolution | None = None,
    ) -> None:
        self.source, self.num_frames, self.frame_stride, self.seed, self.split = (
            source, num_frames, frame_stride, seed, split,
        )  # fmt: skip
        self.is_training = split == "train"
        self.horizontal_flip = horizontal_flip and self.is_training
        self.random_crop, self.resolution = (random_crop if self.is_training else None), resolution
        self.images_per_video = images_per_video if self.is_training else 0
        self.record, self.max_bad_fraction = record, max_bad_fraction
        self.source.expect(num_frames, frame_stride)
        self.ends: Tensor | None = None  # number of windows of the videos up to and with each
        if windows == "all" and self.is_training:
            self.ends = torch.tensor([self._room(i) for i in range(len(source))]).cumsum(0)
        self.bad_videos: set[int] = set()
        # By worker (slot 0: this process), in shared memory: incidents, so that the main process can count them, and
        # the video being read (-1: none), so that it can name the one that killed a worker.
        self.bad_counts = shared_int64(256, 0)
        self.being_read = shared_int64(256, -1)
        if self.images_per_video and len(source) < 2:
            raise ValueError("images_per_video needs at least 2 videos, got 1")

    def __len__(self) -> int:
        """Number of clips in an epoch: of videos, or of windows; the training stream itself has no end."""
        return len(self.source) if self.ends is None else int(self.ends[-1])

    @property
    def num_replaced(self) -> int:
        """How many clips were replaced so far, over all workers of this process."""
        return int(self.bad_counts.sum())

    def names_being_read(self) -> list[str]:
        """Videos that workers of this process have begun and not ended reading."""
        return [self.source.name(int(index)) for index in self.being_read.unique() if index >= 0]

    def _room(self, index: int) -> int:
        return self.source.num_frames(index) - (self.num_frames - 1) * self.frame_stride

    def video(self, place: int) -> int:
        """Number of the video that the clip with number `place` of an epoch's clips is from."""
        return place if self.ends is None else int(torch.searchsorted(self.ends, place, right=True))

    def start(self, epoch: int, place: int) -> int:
        """First frame of the clip with number `place` of an epoch's clips."""
        if self.ends is None:
            return self.window(epoch, place)
        index = self.video(place)
        return place - (int(self.ends[index - 1]) if index else 0)

    def window(self, epoch: int, index: int) -> int:
        """First frame of the clip taken from a video."""
        key = (self.seed, "window", epoch, index) if self.is_training else ("window", self.split, index)
        return int(uniform(*key) * self._room(index))

    def __getitem__(self, number: int) -> dict[str, Any]:
        size = len(self)
        reason: Exception | None = None
        for attempt in range(size):
            epoch, place = 0, (number + attempt) % size
            if self.is_training:
                epoch, offset = divmod(number, size)
                epoch, place = epoch_and_index(epoch * size + (offset + attempt) % size, size, self.seed)
            index = self.video(place)
            try:
                start = self.start(epoch, place)  # of a remote video it takes a read to know
                video, others = self._read(epoch, place, index, start)
                actions = self._actions(index, start)
            except (ValueError, OSError) as error:
                reason = error
                self._note_bad(index, epoch, number, error)
                continue
            sample: dict[str, Any] = {"video": video, "sample": number}
            if self.source.class_names is not None:
                sample["label"] = self.source.labels[index]
                if others:
                    sample["image_labels"] = [self.source.labels[other] for other in others]
            if self.source.has_captions:
                sample |= self._captions(epoch, place, index, start, others)
            if actions is not None:
                sample["actions"] = actions
            return sample
        raise BadDataError(
            f"{none_can_be('read', len(self.source), 'video', f'the {self.split} data')}; the last: {reason}"
        )

    def _read(self, epoch: int, place: int, index: int, start: int) -> tuple[Tensor, list[int]]:
        """The clip with its images behind it, and the numbers of the videos that these are from."""
        clip = self._frames(index, start, self.num_frames, self.frame_stride)
        clip = self._augment(clip, epoch, place, 0)
        numbers = range(1, self.images_per_video + 1)
        others = [self._other(epoch, place, index, number) for number in numbers]
        images = [self._image(epoch, place, *pair) for pair in zip(others, numbers, strict=True)]
        return (torch.cat([clip, *images]) if images else clip), others

    def _captions(self, epoch: int, place: int, index: int, start: int, others: list[int]) -> dict[str, Any]:
        """Those of a clip, and of its images."""
        source, stride = self.source, self.frame_stride

        def drawn(number: int) -> float:
            return uniform(self.seed, "caption", epoch, place, number) if self.is_training else 0.0

        found: dict[str, Any] = {
            "caption": chosen(source.captions_of(index, start, self.num_frames, stride), drawn(0))
        }
        if (scene := source.scene(index)) is not None:
            found["scene_caption"] = SceneCaption(scene, start, stride, drawn(0))
        if others:
            texts = [
                source.captions_of(other, self._image_frame(epoch, place, other, number), 1, 1)
                for number, other in enumerate(others, 1)
            ]
            found["image_captions"] = [chosen(those, drawn(number)) for number, those in enumerate(texts, 1)]
        return found

    def _actions(self, index: int, start: int) -> Tensor | None:
        """Those of a clip's frames, and none, which is zeros, of its images."""
        if self.source.action_dim is None:
            return None
        actions = self.source.actions(index, start, self.num_frames)
        return torch.cat([actions, actions.new_zeros(self.images_per_video, actions.shape[1])])

    def _frames(self, index: int, start: int, num_frames: int, stride: int) -> Tensor:
        slot = _slot()
        self.being_read[slot] = index
        clip = self.source.read(index, start, num_frames, stride)
        self.being_read[slot] = -1
        return clip

    def _other(self, epoch: int, place: int, index: int, number: int) -> int:
        """The video that an image is from: any but the clip's own."""
        size = len(self.source)
        return (index + 1 + int(uniform(self.seed, "image", epoch, place, number) * (size - 1))) % size

    def _image(self, epoch: int, place: int, other: int, number: int) -> Tensor:
        """One frame ``[1, H, W, 3]`` of another video."""
        frame = self._image_frame(epoch, place, other, number)
        return self._augment(self._frames(other, frame, 1, 1), epoch, place, number)

    def _image_frame(self, epoch: int, place: int, other: int, number: int) -> int:
        return int(uniform(self.seed, "frame", epoch, place, number) * self.source.num_frames(other))

    def _augment(self, clip: Tensor, epoch: int, place: int, number: int) -> Tensor:
        if self.random_crop is not None and self.resolution is not None:
            size, top, left = (
                uniform(self.seed, f"crop {what}", epoch, place, number) for what in ("size", "top", "left")
            )
            clip = random_part(clip, self.resolution, self.random_crop, (size, top, left))
        if self.horizontal_flip and uniform(self.seed, "flip", epoch, place, number) < 0.5:
            return clip.flip(2)
        return clip

    def _note_bad(self, index: int, epoch: int, number: int, error: Exception) -> None:
        slot = _slot()
        self.bad_counts[slot] += 1
        self.being_read[slot] = -1
        self.bad_videos.add(index)
        if self.record is not None:
            incident = {
                "path": self.source.name(index), "reason": str(error), "split": self.split, "epoch": epoch,
                "index": index, "sample": number,
            }  # fmt: skip
            os.makedirs(os.path.dirname(self.record), exist_ok=True)
            atomic.append(self.record, json.dumps(incident) + "\n")
        allowed = max(MIN_BAD_CLIPS, self.max_bad_fraction * len(self.source))
        if len(self.bad_videos) > allowed:
            raise BadDataError(
                f"{len(self.bad_videos)} of {len(self.source)} videos of the {self.split} data cannot be read, "
                f"more than max_bad_fraction = {self.max_bad_fraction:g} allows; the last: {error}"
            )


def _slot() -> int:
    """Where this process or worker keeps its counts."""
    worker = get_worker_info()
    return 0 if worker is None else 1 + worker.id % 255
