"""Examines one source video from end to end: its properties, its faults, and its frames at the new size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from videodiff.data.entries import Entry, posix
from videodiff.data.image_read import read_image
from videodiff.data.prepare.encode import FrameWriter, OutputError
from videodiff.data.prepare.settings import Settings
from videodiff.data.prepared import read_blocks, sha256_of
from videodiff.data.readers import count_frames, index_entry, read_entry_in_order
from videodiff.data.video_file import TAGS, BadVideoError, demuxers
from videodiff.data.video_probe import VideoInfo
from videodiff.data.wrapped_sources import describe_leap, nearest, num_ticks, steady

BLOCK_BYTES = 64 * 2**20  # of decoded frames held at once
BLOCK_FRAMES = 1024


@dataclass(frozen=True)
class Job:
    """One video to look at.

    Args:
        entry: where it lies.
        split: train, val or test.
        part: file to write its frames to, in the form that the settings name; None only looks.
        settings: what to make of it.
    """

    entry: Entry
    split: str
    part: str | None
    settings: Settings


def examine(job: Job, beat: Callable[[], None]) -> dict[str, Any]:
    """Read a whole video, write its frames if asked to, and tell its line of the manifest.

    Returns:
        path, split, bytes and sha256 of the source; its frames, fps, even (whether they are evenly spaced in time),
        width, height, rotation, label and caption; status (ok or skipped), reason (missing, unopenable, no_video,
        damaged, too_short) and message (of a good video: what of it was cut off); and `out`: frames, bytes and hash of
        what was written.

    Raises:
        OutputError: if the part cannot be written.
    """
    entry = job.entry
    line: dict[str, Any] = {
        "path": entry_name(entry), "split": job.split, "status": "ok", "reason": None, "message": None,
        "bytes": None, "sha256": None, "frames": None, "fps": None, "even": None, "width": None, "height": None,
        "rotation": None, "label": entry.label, "caption": entry.caption, "out": None,
    }  # fmt: skip
    try:
        line["bytes"], line["sha256"] = source_hash(entry)
        beat()
        clip = open_entry(entry)
        line.update(clip.facts)
        numbers = clip.numbers(job.settings.fps)
        _check_length(len(numbers), job.settings)
        count, line["out"] = _write(job, clip, numbers, beat)
        line["message"] = clip.oddity(job.settings.fps)
        if count < len(numbers):
            line["frames"] = numbers[count - 1] + 1
            line["message"] = f"{line['frames']} of {clip.facts['frames']} frames, the end does not decode"
    except OutputError:
        raise
    except TooShortError as error:
        return _left_out(line, "too_short", str(error))
    except FileNotFoundError as error:
        return _left_out(line, "missing", str(error))
    except (BadVideoError, ValueError, OSError) as error:
        return _left_out(line, _reason(str(error), line["frames"]), _without_folder(str(error), entry))
    return line


class TooShortError(ValueError):
    """A video has fewer frames than are needed."""


def _check_length(num_frames: int, settings: Settings) -> None:
    if num_frames < max(1, settings.frames):
        raise TooShortError(f"{num_frames} frames, {settings.frames} needed")


def _left_out(line: dict[str, Any], reason: str, message: str) -> dict[str, Any]:
    return {**line, "status": "skipped", "reason": reason, "message": message, "out": None}


def _reason(message: str, frames: int | None) -> str:
    if frames is not None:  # it opened and was counted
        return "damaged"
    return "no_video" if "no video stream" in message or "no frames" in message else "unopenable"


def _without_folder(message: str, entry: Entry) -> str:
    """A message that does not depend on where the set lies."""
    folder = os.path.join(os.path.dirname(entry.path), "")
    return message.replace(os.path.abspath(entry.path), os.path.basename(entry.path)).replace(folder, "")


def entry_name(entry: Entry) -> str:
    """The relative path of a video, with its range if it is a part of a file."""
    name = posix(entry)
    name = os.path.basename(entry.path) if name == "." else name
    if entry.first or entry.last is not None:
        name += f"@{entry.first}-{'' if entry.last is None else entry.last}"
    return name


def source_hash(entry: Entry) -> tuple[int, str]:
    """Bytes and SHA-256 of a source: of the file, or over names and contents of a folder's frames.

    Many sequences of one array share a file, so they carry the hash of their own frames only, in `out`.
    """
    if entry.kind != "frames":
        if not os.path.isfile(entry.path):
            raise FileNotFoundError(f"{os.path.basename(entry.path)}: no such file")
        size = os.path.getsize(entry.path)
        return size, sha256_of(entry.path) if entry.kind in ("video", "image") else ""
    digest, size = hashlib.sha256(), 0
    for name in entry.frames:
        digest.update(name.encode(errors="surrogateescape") + b"\0")
        for block in read_blocks(os.path.join(entry.path, name)):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


@dataclass(frozen=True)
class Opened:
    """A video that could be opened and counted.

    Args:
        entry: where it lies.
        info: what its packets told; None for what is no video file.
        facts: frames, fps, even, width, height and rotation for the manifest.
    """

    entry: Entry
    info: VideoInfo | None
    facts: dict[str, Any]

    def numbers(self, fps: float | None) -> list[int]:
        """The frames to keep: all of them, or at each ``k / fps`` seconds the nearest one.

        Raises:
            ValueError: if a frame rate is asked of frames without times.
        """
        if fps is None:
            return list(range(self.facts["frames"]))
        if self.info is None:
            raise ValueError(
                f"{self.entry.path}: these frames carry no times, so no fps can be asked of them"
            )
        times = steady(self._times())
        return nearest(times, np.arange(num_ticks(times, fps)) / fps)

    def oddity(self, fps: float | None) -> str | None:
        """What is to be told of a good video: what was cut off, and where its time leaps if a rate is asked for."""
        if self.info is None:
            return None
        leap = describe_leap(self._times()) if fps is not None else None
        return "; ".join(filter(None, [self.info.lacking(), leap])) or None

    def _times(self) -> np.ndarray:
        assert self.info is not None
        times = self.info.times()[self.entry.first : self.entry.last]
        return times - times[0]

    def blocks(self, numbers: list[int], settings: Settings) -> Iterator[Tensor]:
        """Frames by number, in one pass over the video -> uint8 ``[n, H, W, 3]``, again and again."""
        size = max(1, min(BLOCK_FRAMES, BLOCK_BYTES // (settings.frame_size.pixels * 3)))
        frames = read_entry_in_order(self.entry, self.info, numbers, settings.frame_size, settings.resize)
        while block := list(islice(frames, size)):
            yield torch.stack(block)


def open_entry(entry: Entry) -> Opened:
    """Open a video of any kind.

    Raises:
        BadVideoError: if it cannot be read.
    """
    info = index_entry(entry)
    if isinstance(info, BadVideoError):
        raise info
    facts: dict[str, Any] = {"frames": count_frames(entry, info), "rotation": 0}
    if info is not None:
        facts |= {
            "fps": round(info.fps, 6) or None, "even": isinstance(info.pts, range), "width": info.width,
            "height": info.height, "rotation": _rotation(info),
        }  # fmt: skip
    elif entry.kind in ("frames", "image") and facts["frames"]:
        still = entry.path if entry.kind == "image" else os.path.join(entry.path, entry.frames[entry.first])
        first = read_image(still)
        facts |= {"width": first.shape[1], "height": first.shape[0]}
    return Opened(entry, info, facts)


def _rotation(info: VideoInfo) -> int:
    """Degrees in [0, 360) that a player turns the pictures by, counter-clockwise; 0 if the first does not decode."""
    try:
        with av.open(info.path, options={"format_whitelist": demuxers(info.path)}, **TAGS) as container:
            return int(next(container.decode(video=0)).rotation) % 360
    except Exception:  # decoders raise what they like; the reading that follows tells what is wrong
        return 0


def _write(
    job: Job, clip: Opened, numbers: list[int], beat: Callable[[], None]
) -> tuple[int, dict[str, Any] | None]:
    """Read the frames, write them if the job says so, and tell how many there were and where they are."""
    settings, count = job.settings, 0
    if job.part is None:
        for frames in clip.blocks(numbers, settings):
            count += len(frames)
            beat()
        _check_length(count, settings)
        return count, None
    with FrameWriter(job.part, settings, settings.fps or clip.facts.get("fps") or 25.0) as writer:
        for frames in clip.blocks(numbers, settings):
            count += len(frames)
            writer.write(frames.numpy())
            beat()
        _check_length(count, settings)
    return count, writer.facts
