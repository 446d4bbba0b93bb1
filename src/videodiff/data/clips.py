"""Sources of clips: their interface, and the source that reads the videos listed by a layout.

A source knows its videos by number, tells how many frames each has, and reads any window of them. Which window is
wanted, when, is decided in :mod:`videodiff.data.stream`. A new kind of storage is one more subclass of
:class:`ClipSource`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videodiff.data.captions import lines_of
from videodiff.data.entries import Entry, find_videos, natural_key
from videodiff.data.readers import count_frames, index_entry, read_actions, read_entry, size_of_entry
from videodiff.data.scenes import Scene
from videodiff.data.splits import SPLIT_FOLDERS, class_folders, listing_hash, split_videos
from videodiff.data.video_file import BadVideoError
from videodiff.data.video_probe import VideoInfo
from videodiff.data.video_proof import share
from videodiff.frame_size import FrameSize, Resolution
from videodiff.say import all_too_short, counted, none_can_be

__all__ = [
    "SPLIT_FOLDERS",
    "ClipSource",
    "Entry",
    "FolderSource",
    "class_folders",
    "find_videos",
    "listing_hash",
    "natural_key",
    "split_videos",
]


class ClipSource(ABC):
    """A numbered set of videos at one resolution.

    Attributes:
        class_names: names of the classes, or None if the set has none.
        labels: class of every video; empty without classes.
        captions: texts of every video, one a line, or None if the set has none, or tells them by what its frames show.
        action_dim: numbers of a frame's action where clips come with actions, else None.
        skipped: ``(path, reason)`` of every video left out.
        num_unreadable: how many of those cannot be read; the others are too short.
        shortened: ``(path, reason)`` of every video that was cut: frames that its header promises, or that begin or end
            it, are not there.
        unwanted: ``(path, reason)`` of every video left out for what its captions say.
        fingerprint: hash of the content, where a source knows one.
    """

    class_names: list[str] | None = None
    labels: list[int] = []
    captions: list[str] | None = None
    action_dim: int | None = None
    skipped: list[tuple[str, str]] = []
    num_unreadable: int = 0
    shortened: list[tuple[str, str]] = []
    unwanted: list[tuple[str, str]] = []
    fingerprint: str | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Number of videos."""

    @abstractmethod
    def num_frames(self, index: int) -> int:
        """Number of frames of video `index`."""

    @abstractmethod
    def read(self, index: int, start: int, num_frames: int, stride: int) -> Tensor:
        """Frames ``start, start + stride, ...`` of video `index` -> uint8 ``[num_frames, H, W, 3]``."""

    def read_frames(self, index: int, numbers: Sequence[int]) -> Tensor:
        """Frames of video `index` by number (never falling; one may repeat) -> uint8 ``[len(numbers), H, W, 3]``."""
        first, last = numbers[0], numbers[-1]
        clip = self.read(index, first, last - first + 1, 1)
        return clip[torch.as_tensor([number - first for number in numbers])]

    @property
    def has_captions(self) -> bool:
        """Whether clips come with captions."""
        return self.captions is not None

    def scene(self, index: int) -> Scene | None:
        """What happens in video `index`; None where only its frames tell."""
        return None

    def captions_of(self, index: int, start: int, num_frames: int, stride: int) -> tuple[str, ...]:
        """Captions of the frames ``start, start + stride, ...`` of video `index`; empty if it has none."""
        scene = self.scene(index)
        if scene is not None:
            return scene.captions(start, num_frames, stride)
        return lines_of(self.captions[index]) if self.captions is not None else ()

    def told(self, index: int, start: int, num_frames: int, stride: int) -> dict[str, Any]:
        """The truth behind the captions of these frames, where it is known (:mod:`videodiff.data.scenes`)."""
        scene = self.scene(index)
        return {} if scene is None else scene.facts(start, num_frames, stride)

    def actions(self, index: int, start: int, num_frames: int) -> Tensor:
        """Actions at frames of video `index`, one after another, fp32 ``[num_frames, D]``.

        Raises:
            ValueError: if videos of this kind have none.
        """
        raise ValueError(f"{self.name(index)}: a video without actions")

    def times(self, index: int) -> np.ndarray:
        """Seconds from the first frame of video `index` to each, float64 ``[num_frames]``.

        Raises:
            ValueError: if frames of this kind have no times.
        """
        raise ValueError(f"{self.name(index)}: these frames carry no times, so no fps can be asked of them")

    def size_of(self, index: int) -> FrameSize | None:
        """Height and width of the frames of video `index` in the file, as its header says; None where none does."""
        return None

    def expect(self, num_frames: int, stride: int) -> None:  # noqa: B027
        """Told once, before loader workers start, which windows will be asked for; a place to claim memory."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Name of video `index` in messages: its path, for files."""


class FolderSource(ClipSource):
    """Videos of one split, as a layout listed them, that are long enough; the others are counted.

    Frames of video files are counted by demuxing every file once, in threads.

    Args:
        root: the folder, for messages.
        entries: its videos.
        needed: frames that a clip spans; shorter videos are skipped.
        resolution: height and width of the frames that are read, one number for a square; None keeps all pixels.
        class_names: all classes, also those without a video here; None for a set without.
        rule: how frames are brought there (:mod:`videodiff.data.resize`).
        has_actions: whether the actions in records are read too.

    Raises:
        ValueError: if no video is left, with the longest one's frames and the frames needed.
    """

    def __init__(
        self,
        root: str,
        entries: list[Entry],
        needed: int,
        resolution: Resolution | None,
        class_names: list[str] | None = None,
        rule: str = "antialias",
        has_actions: bool = False,
    ) -> None:
        self.resolution, self.rule = resolution, rule
        self.class_names = class_names
        self.entries: list[Entry] = []
        self.infos: list[VideoInfo | None] = []
        self.skipped, self.shortened = [], []
        self.num_unreadable = 0
        longest = 0
        for entry, info in zip(entries, self._index(entries), strict=True):
            if isinstance(info, BadVideoError):
                self.num_unreadable += 1
                self.skipped.append((entry.path, str(info)))
                continue
            if info is not None and (lacking := info.lacking()):
                self.shortened.append((entry.path, lacking))
            frames = count_frames(entry, info)
            longest = max(longest, frames)
            if frames < needed:
                self.skipped.append((entry.path, f"{frames} frames, {needed} needed"))
            else:
                self.entries.append(entry)
                self.infos.append(info)
        share(info.sums for info in self.infos if info is not None and not info.shown)
        if not self.entries:
            raise ValueError(self._nothing_left(root, len(entries), longest, needed))
        if class_names is not None:
            numbers = {name: number for number, name in enumerate(class_names)}
            self.labels = [numbers[str(entry.label)] for entry in self.entries]
        if any(entry.caption is not None for entry in self.entries):
            self.captions = [entry.caption or "" for entry in self.entries]
        if has_actions:
            self.action_dim = read_actions(self.entries[0], [0]).shape[1]

    @staticmethod
    def _index(entries: list[Entry]) -> list[VideoInfo | BadVideoError | None]:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            return list(threads.map(index_entry, entries))

    def _nothing_left(self, root: str, total: int, longest: int, needed: int) -> str:
        if self.num_unreadable == total and total:
            return f"{none_can_be('read', total, 'video', root)}; the first: {self.skipped[0][1]}"
        return (
            f"{all_too_short(total, root, counted(longest, 'frame'))}, {needed} needed "
            "((num_frames - 1) x frame_stride + 1)"
        )

    def __len__(self) -> int:
        return len(self.entries)

    def num_frames(self, index: int) -> int:
        return count_frames(self.entries[index], self.infos[index])

    def read(self, index: int, start: int, num_frames: int, stride: int) -> Tensor:
        return self.read_frames(index, range(start, start + num_frames * stride, stride))

    def read_frames(self, index: int, numbers: Sequence[int]) -> Tensor:
        if not numbers or numbers[0] < 0 or numbers[-1] >= self.num_frames(index):
            raise ValueError(
                f"{self.name(index)}: frames {numbers[0]} to {numbers[-1]} asked, {self.num_frames(index)} there"
            )
        return read_entry(self.entries[index], self.infos[index], numbers, self.resolution, self.rule)

    def size_of(self, index: int) -> FrameSize | None:
        return size_of_entry(self.entries[index], self.infos[index])

    def actions(self, index: int, start: int, num_frames: int) -> Tensor:
        return read_actions(self.entries[index], range(start, start + num_frames))

    def times(self, index: int) -> np.ndarray:
        info, entry = self.infos[index], self.entries[index]
        if info is None:
            return super().times(index)
        times = info.times()[entry.first : entry.last]
        return times - times[0]

    def name(self, index: int) -> str:
        entry = self.entries[index]
        if entry.kind in ("array", "record"):
            return f"{entry.path}: {entry.relative.rpartition('#')[2]}"
        if entry.first == 0 and entry.last is None:
            return entry.path
        return f"{entry.path}: frames {entry.first} to {entry.last}"
