"""How each kind of entry is counted and read: video file, frames, picture, sequence of an array, record of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from videodiff.data.entries import Entry
from videodiff.data.image_read import STACK_SUFFIXES, picture_size, probe_stack, read_image, read_stack
from videodiff.data.resize import resize
from videodiff.data.tfrecord import read_example
from videodiff.data.video_file import BadVideoError
from videodiff.data.video_probe import VideoInfo, probe
from videodiff.data.video_read import read_frames, read_in_order
from videodiff.frame_size import FrameSize, Resolution

BLOCK = 64  # frames of a sequence that are read at once where one after the other would open a file for each

# (path, bytes, mtime) -> what probing it told: this process's index, never on disk
_PROBED: dict[tuple[str, int, int], VideoInfo] = {}


def index_entry(entry: Entry) -> VideoInfo | BadVideoError | None:
    """What must be known of a video before it is read: None where the listing has told all."""
    if entry.kind != "video":
        return None
    try:
        stat = os.stat(entry.path)
        key = (entry.path, stat.st_size, stat.st_mtime_ns)
        if key not in _PROBED:
            info = probe_stack(entry.path) if _is_stack(entry) else probe(entry.path)
            _PROBED[key] = replace(info, shown=entry.shown and entry.size == stat.st_size)
        return _PROBED[key]
    except BadVideoError as error:
        return error
    except OSError as error:
        return BadVideoError(f"{entry.path}: cannot be opened ({error.strerror or error})")


def _is_stack(entry: Entry) -> bool:
    return os.path.splitext(entry.path)[1].lower() in STACK_SUFFIXES


def count_frames(entry: Entry, info: VideoInfo | None) -> int:
    """Frames that belong to an entry: those of the file, cut to the entry's range."""
    if info is not None:
        total = info.num_frames
    else:
        total = len(entry.frames) if entry.count is None else entry.count
    return max(0, min(total, total if entry.last is None else entry.last) - entry.first)


def size_of_entry(entry: Entry, info: VideoInfo | None) -> FrameSize | None:
    """Height and width of the frames that are shown, pixels made square; None of arrays and records, which have one.

    Of a video they are its header's: one that is turned by its display matrix counts as it lies in the file.

    Raises:
        BadVideoError: for a picture that cannot be opened.
    """
    if info is not None:
        return FrameSize(info.height, max(round(info.width * info.pixel_aspect), 1))
    if entry.kind == "image":
        return picture_size(entry.path)
    if entry.kind == "frames":
        return picture_size(os.path.join(entry.path, entry.frames[0]))
    return None


def read_entry(
    entry: Entry, info: VideoInfo | None, numbers: Sequence[int], resolution: Resolution | None, rule: str
) -> Tensor:
    """Read frames by number, counted from the first that belongs to the entry.

    Returns:
        uint8 ``[len(numbers), H, W, 3]`` of the resolution; without one, of the size that they have.

    Raises:
        BadVideoError: if one cannot be read.
    """
    numbers = [entry.first + number for number in numbers]
    if info is not None:
        return (read_stack if _is_stack(entry) else read_frames)(info, numbers, resolution, rule)
    if entry.kind == "image":
        return read_image(entry.path, resolution, rule)[None].expand(len(numbers), -1, -1, -1)
    if entry.kind == "frames":
        read = [os.path.join(entry.path, entry.frames[n]) for n in numbers]
        return torch.stack([read_image(path, resolution, rule) for path in read])
    frames = _array_frames(entry, numbers) if entry.kind == "array" else _record_frames(entry, numbers)
    return frames if resolution is None else resize(frames, resolution, rule)


def read_entry_in_order(
    entry: Entry, info: VideoInfo | None, numbers: Sequence[int], resolution: Resolution, rule: str
) -> Iterator[Tensor]:
    """Read frames as :func:`read_entry` does, one at a time; a video file is decoded once, from its beginning.

    Yields:
        uint8 ``[H, W, 3]``; a video file whose end does not decode gives fewer.

    Raises:
        BadVideoError: if one cannot be read.
    """
    if info is not None and not _is_stack(entry):
        yield from read_in_order(info, [entry.first + number for number in numbers], resolution, rule)
        return
    for start in range(0, len(numbers), BLOCK):
        yield from read_entry(entry, info, numbers[start : start + BLOCK], resolution, rule)


def _array_frames(entry: Entry, numbers: list[int]) -> Tensor:
    try:
        array = np.load(entry.path, mmap_mode="r", allow_pickle=False)  # [T, N, H, W] or [T, N, H, W, C]
        frames = np.array(array[numbers, entry.item])
    except (ValueError, OSError, IndexError, EOFError) as error:
        raise BadVideoError(f"{entry.path}: sequence {entry.item} cannot be read ({error})") from error
    gray = frames[..., None] if frames.ndim == 3 else frames
    return torch.from_numpy(np.array(np.broadcast_to(gray, (*gray.shape[:3], 3))))


def _record_frames(entry: Entry, numbers: list[int]) -> Tensor:
    view = entry.relative.rpartition("/")[2]
    side = 64
    try:
        features = read_example(entry.path, entry.item)
        raw = [features[f"{number}/{view}/encoded"] for number in numbers]
        if any(len(frame) != side * side * 3 for frame in raw):
            raise ValueError(f"frames are not {side}x{side}x3 raw bytes")
    except (ValueError, KeyError, OSError) as error:
        raise BadVideoError(f"{entry.path}: record at byte {entry.item} cannot be read ({error})") from error
    frames = np.stack([np.frombuffer(frame, np.uint8).reshape(side, side, 3) for frame in raw])
    return torch.from_numpy(frames)


def read_actions(entry: Entry, numbers: Sequence[int]) -> Tensor:
    """What the robot did at frames of a record, counted from the first that belongs to the entry.

    Returns:
        fp32 ``[len(numbers), D]``; the action of a frame leads to the next.

    Raises:
        BadVideoError: if a frame has none, or they differ in length.
    """
    try:
        features = read_example(entry.path, entry.item, kind=2)
        told = [np.frombuffer(features[f"{entry.first + number}/action"], "<f4") for number in numbers]
        return torch.from_numpy(np.stack(told))
    except (ValueError, KeyError, OSError) as error:
        raise BadVideoError(
            f"{entry.path}: actions of the record at byte {entry.item} cannot be read ({error})"
        ) from error
