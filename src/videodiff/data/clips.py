"""Sources of clips: what a set of videos must offer, and the two kinds of folders that offer it.

A source knows its videos by number, tells how many frames each has, and reads any window of them. Which window is
wanted, when, is decided in :mod:`videodiff.data.stream`. A new data set is one more subclass of :class:`ClipSource`.
"""

from __future__ import annotations

import hashlib
import os
import re
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from videodiff.data.video_io import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    BadVideoError,
    VideoInfo,
    probe,
    read_clip,
    read_image,
)
from videodiff.seeding import uniform

SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_PROBED: dict[
    tuple[str, int, int], VideoInfo
] = {}  # (path, bytes, mtime): this process's index, never on disk


class ClipSource(ABC):
    """A numbered set of videos at one resolution.

    Attributes:
        class_names: names of the classes, or None if the set has none.
        labels: class of every video; empty without classes.
    """

    class_names: list[str] | None = None
    labels: list[int] = []

    @abstractmethod
    def __len__(self) -> int:
        """Number of videos."""

    @abstractmethod
    def num_frames(self, index: int) -> int:
        """Number of frames of video `index`."""

    @abstractmethod
    def read(self, index: int, start: int, num_frames: int, stride: int) -> Tensor:
        """Frames ``start, start + stride, ...`` of video `index` -> uint8 ``[num_frames, R, R, 3]``."""

    def expect(self, num_frames: int, stride: int) -> None:  # noqa: B027
        """Told once, before loader workers start, which windows will be asked for; a place to claim memory."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What to call video `index` in a message: its path, for files."""


@dataclass(frozen=True)
class Entry:
    """One video of a folder: a file, or a folder of frames (then `frames` holds its sorted file names)."""

    path: str
    relative: str
    size: int
    frames: tuple[str, ...] = ()


def natural_key(text: str) -> list[tuple[int, int | str]]:
    """Sort key under which ``frame2`` comes before ``frame10``."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"([0-9]+)", text) if part]


def find_videos(root: str | os.PathLike[str]) -> list[Entry]:
    """List the videos below a folder in natural order: its video files, or else its folders of images.

    A tree with a single video file is a tree of video files. Hidden files and folders are passed over; links are
    followed, once.

    Raises:
        FileNotFoundError: if `root` is no folder, or holds neither video files nor images.
    """
    root = os.path.abspath(root)
    if not os.path.isdir(root):
        raise FileNotFoundError(f"no such data folder: {root}")
    videos: list[Entry] = []
    folders: list[Entry] = []
    seen: set[str] = set()
    for folder, children, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        children[:] = [] if real in seen else [c for c in children if not c.startswith(".")]
        if real in seen:
            continue
        seen.add(real)
        files = [f for f in files if not f.startswith(".")]
        for file in files:
            path = os.path.join(folder, file)
            if os.path.splitext(file)[1].lower() in VIDEO_SUFFIXES and os.path.isfile(path):
                videos.append(Entry(path, os.path.relpath(path, root), os.path.getsize(path)))
        images = sorted(
            (f for f in files if os.path.splitext(f)[1].lower() in IMAGE_SUFFIXES), key=natural_key
        )
        if images:
            folders.append(Entry(folder, os.path.relpath(folder, root), len(images), tuple(images)))
    entries = videos or folders
    if not entries:
        raise FileNotFoundError(f"no videos and no folders of images below {root}")
    return sorted(entries, key=lambda entry: natural_key(Path(entry.relative).as_posix()))


def class_folders(entries: list[Entry]) -> dict[str, str] | None:
    """Class of each video by its relative path, if all video files lie in folders that look like classes, else None.

    They do when every file is equally deep, in one of at least two folders of different names, with two files or
    more per folder on average. Folders of frames have no classes: one level looks like any other there.
    """
    parents = {entry.relative: Path(entry.relative).parent for entry in entries}
    folders = set(parents.values())
    if entries[0].frames or len({len(p.parts) for p in folders}) != 1:
        return None
    if len({p.name for p in folders}) != len(folders) or len(folders) < 2 or len(entries) < 2 * len(folders):
        return None
    return {relative: parent.name for relative, parent in parents.items()}


def split_videos(root: str | os.PathLike[str], val_fraction: float = 0.1) -> dict[str, list[Entry]]:
    """The train, val and test videos of a folder.

    Sub-folders ``train``, ``val`` (or ``valid``, ``validation``) and ``test`` are taken as they are. Where ``val`` is
    missing, about `val_fraction` of the training videos, drawn by a hash of their relative paths, become validation
    (at least one, if there are two); clips of frames that share a parent folder (one source video) stay on one side.
    Where ``test`` is missing, test is validation. With a single video, or `val_fraction` 0, validation is the test
    folder, or else the training videos themselves.
    """
    root = os.path.abspath(root)
    present = {
        split: next((os.path.join(root, n) for n in names if os.path.isdir(os.path.join(root, n))), None)
        for split, names in SPLIT_FOLDERS.items()
    }
    if present["train"] is None:
        present = {"train": root, "val": None, "test": None}
    splits = {split: find_videos(folder) for split, folder in present.items() if folder is not None}
    if "val" not in splits:
        held_out = _hold_out(splits["train"], val_fraction)
        if held_out:
            splits["val"] = [e for e in splits["train"] if e.relative in held_out]
            splits["train"] = [e for e in splits["train"] if e.relative not in held_out]
        else:
            splits["val"] = splits.get("test", splits["train"])
    splits.setdefault("test", splits["val"])
    return splits


def _hold_out(entries: list[Entry], fraction: float) -> set[str]:
    groups: dict[str, list[str]] = {}
    for entry in entries:
        parent = Path(entry.relative).parent.as_posix()
        group = parent if entry.frames and parent != "." else Path(entry.relative).as_posix()
        groups.setdefault(group, []).append(entry.relative)
    if len(groups) < 2 <= len(entries):
        groups = {entry.relative: [entry.relative] for entry in entries}
    if fraction == 0 or len(groups) < 2:
        return set()
    ranked = sorted(groups, key=lambda group: uniform("split", group))
    chosen = [group for group in ranked if uniform("split", group) < fraction][: len(ranked) - 1]
    return {relative for group in chosen or ranked[:1] for relative in groups[group]}


def listing_hash(splits: dict[str, list[Entry]]) -> str:
    """Hex digest over the relative path and size of every video of every split; the root may move."""
    digest = hashlib.blake2b(digest_size=16)
    for split in sorted(splits):
        for entry in splits[split]:
            digest.update(
                f"{split}\0{Path(entry.relative).as_posix()}\0{entry.size}\n".encode(errors="surrogateescape")
            )
    return digest.hexdigest()


def _probe_once(entry: Entry) -> VideoInfo | BadVideoError:
    stat = os.stat(entry.path)
    key = (entry.path, stat.st_size, stat.st_mtime_ns)
    if key not in _PROBED:
        try:
            _PROBED[key] = probe(entry.path)
        except BadVideoError as error:
            return error
    return _PROBED[key]


class FolderSource(ClipSource):
    """Videos of one split of a folder that are long enough; the others are counted.

    Frames are counted by demuxing every file once, in threads.

    Args:
        root: the folder, for messages.
        entries: its videos.
        needed: frames that a clip spans; shorter videos are skipped.
        resolution: side of the frames that are read.
        classes: class of each video by its relative path (:func:`class_folders`), or None.
        class_names: all classes, also those without a video here.

    Attributes:
        skipped: ``(path, reason)`` of every video left out: short ones and unreadable ones.

    Raises:
        ValueError: if no video is left, with the longest one's frames and the frames needed.
    """

    def __init__(
        self,
        root: str,
        entries: list[Entry],
        needed: int,
        resolution: int,
        classes: dict[str, str] | None = None,
        class_names: list[str] | None = None,
    ) -> None:
        self.resolution = resolution
        self.class_names = class_names
        self.entries: list[Entry] = []
        self.infos: list[VideoInfo | None] = []
        self.skipped: list[tuple[str, str]] = []
        self.num_unreadable = 0
        longest = 0
        for entry, info in zip(entries, self._index(entries), strict=True):
            if isinstance(info, BadVideoError):
                self.num_unreadable += 1
                self.skipped.append((entry.path, str(info)))
                continue
            frames = len(entry.frames) if info is None else info.num_frames
            longest = max(longest, frames)
            if frames < needed:
                self.skipped.append((entry.path, f"{frames} frames, {needed} needed"))
            else:
                self.entries.append(entry)
                self.infos.append(info)
        if not self.entries:
            raise ValueError(self._nothing_left(root, len(entries), longest, needed))
        if classes is not None and class_names is not None:
            self.labels = [class_names.index(classes[entry.relative]) for entry in self.entries]

    @staticmethod
    def _index(entries: list[Entry]) -> list[VideoInfo | BadVideoError | None]:
        if entries and entries[0].frames:
            return [None] * len(entries)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            return list(threads.map(_probe_once, entries))

    def _nothing_left(self, root: str, total: int, longest: int, needed: int) -> str:
        if self.num_unreadable == total:
            return f"none of the {total} videos of {root} can be read; the first: {self.skipped[0][1]}"
        return (
            f"all {total} videos of {root} are too short: the longest has {longest} frames, {needed} needed "
            "((num_frames - 1) x frame_stride + 1)"
        )

    def __len__(self) -> int:
        return len(self.entries)

    def num_frames(self, index: int) -> int:
        info = self.infos[index]
        return len(self.entries[index].frames) if info is None else info.num_frames

    def read(self, index: int, start: int, num_frames: int, stride: int) -> Tensor:
        entry, info = self.entries[index], self.infos[index]
        if info is not None:
            return read_clip(info, start, num_frames, stride, self.resolution)
        names = entry.frames[start : start + (num_frames - 1) * stride + 1 : stride]
        return torch.stack([read_image(os.path.join(entry.path, name), self.resolution) for name in names])

    def name(self, index: int) -> str:
        return self.entries[index].path
