"""Reads video files through PyAV: any set of frames, exactly, by time stamp.

Frames are uint8 RGB ``[T, H, W, 3]`` tensors. Rotation is applied, and non-square pixels when frames are
resized, so that pictures stand as a player shows them. Whatever is wrong with a file is raised as
:class:`BadVideoError`, one line with its path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from videodiff.data.resize import IN_DECODER, ONE_THREAD, resize
from videodiff.data.video_decode import after_seek, in_order
from videodiff.data.video_file import (
    BadVideoError,
    check_size,
    open_stream,
    packets_of,
    pixel_aspect,
    reading,
    regular_file,
)
from videodiff.data.video_probe import MAX_BYTES, REORDERED, VideoInfo, probe
from videodiff.data.video_proof import COUNT, LINEAR, PRIMED, SEEK
from videodiff.frame_size import FrameSize, Resolution

# A decode from the beginning may pass this many pixels (about 2 s of one core) to reach a window. In longer files a
# window is read from two key frames that must agree.
LINEAR_PIXELS = 2**29
FRAMES_PER_LIMIT = 1024  # a whole file may take the time limit of a call once for this many frames


def _turn(rgb: np.ndarray, turns: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb)


def scaled_rgb(frame: av.VideoFrame, pixel_aspect: float, size: FrameSize, turns: int = 0) -> Tensor:
    """The rule ``decoder``: one call converts and scales until one side fits, then the centre is cut out."""
    least = FrameSize(size.width, size.height) if turns % 2 else size  # before it is turned
    shown = frame.width * pixel_aspect
    scale = max(least.height / frame.height, least.width / shown)
    width, height = max(least.width, round(shown * scale)), max(least.height, round(frame.height * scale))
    rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA", **ONE_THREAD)
    return resize(_turn(rgb.to_ndarray(), turns), size)


def _to_rgb(
    path: str, frame: av.VideoFrame, pixel_aspect: float, resolution: Resolution | None, rule: str
) -> Tensor:
    check_size(path, frame.width, frame.height)
    turns = round(frame.rotation / 90) % 4  # the display matrix turns counter-clockwise
    if rule == IN_DECODER and resolution is not None:
        return scaled_rgb(frame, pixel_aspect, FrameSize.of(resolution), turns)
    picture = _turn(frame.reformat(format="rgb24", **ONE_THREAD).to_ndarray(), turns)
    if resolution is None:
        return picture
    return resize(picture, resolution, rule, 1 / pixel_aspect if turns % 2 else pixel_aspect)


def read_clip(
    video: VideoInfo | str | os.PathLike[str],
    start: int,
    num_frames: int,
    stride: int = 1,
    resolution: Resolution | None = None,
    rule: str = "antialias",
) -> Tensor:
    """Read frames ``start, start + stride, ...``: :func:`read_frames` for a window.

    Args:
        video: what :func:`probe` returned, or a path (probed first).
        start: number of the first frame, in display order.
        num_frames: frames to return.
        stride: distance between them.
        resolution: height and width to bring frames to, one number for a square; None keeps all pixels.
        rule: how (:mod:`videodiff.data.resize`).

    Returns:
        uint8 ``[num_frames, H, W, 3]``.

    Raises:
        BadVideoError: if a frame is missing, damaged or not where its packet said.
    """
    info = video if isinstance(video, VideoInfo) else probe(video)
    if num_frames < 1 or stride < 1:
        raise ValueError(f"{info.path}: num_frames and stride must be at least 1, got {num_frames}, {stride}")
    return read_frames(info, range(start, start + num_frames * stride, stride), resolution, rule)


def read_frames(
    info: VideoInfo, numbers: Sequence[int], resolution: Resolution | None = None, rule: str = "antialias"
) -> Tensor:
    """Read the frames of the given numbers, with the pixels that decoding from the beginning gives.

    A window that was never met is decoded from the beginning, and leaves a checksum of each frame on the way; one whose
    frames have checksums is decoded from the nearest key frame and compared with them
    (:mod:`videodiff.data.video_proof`). Where that disproves seeking, the file is read from its beginning from then on.

    Args:
        info: what :func:`probe` returned.
        numbers: frame numbers in display order, never falling; a number may repeat.
        resolution: height and width to bring frames to, one number for a square; None keeps all pixels.
        rule: how (:mod:`videodiff.data.resize`).

    Returns:
        uint8 ``[len(numbers), H, W, 3]``.

    Raises:
        ValueError: if a number lies outside the video.
        BadVideoError: if a frame is missing or damaged, or the file is not the one that was probed.
    """
    unique = sorted(set(numbers))
    if list(numbers) != sorted(numbers) or not unique or unique[0] < 0 or unique[-1] >= info.num_frames:
        raise ValueError(
            f"{info.path}: frames {min(numbers, default=0)} to {max(numbers, default=0)} asked, "
            f"{info.num_frames} there"
        )
    with reading(regular_file(info.path)):
        info.check_identity()

        def convert(frame: av.VideoFrame) -> Tensor:
            return _to_rgb(info.path, frame, info.pixel_aspect, resolution, rule)

        frames = _proved(info, unique, convert) or _linear(info, unique, convert)
        by_number = dict(zip(unique, frames, strict=True))
        return _stack(info.path, [by_number[number] for number in numbers])


Convert = Callable[[av.VideoFrame], Any]


def shows_seeks(path: str) -> bool:
    """Whether every group of frames of a file decodes after a seek to its key frame as it does from the beginning."""
    info = probe(path)
    for _ in in_order(info):
        pass
    if info.pts is None or info.sums.order == COUNT or info.sums.decoded != info.num_frames:
        return False
    firsts = [info.first_frame(key) for key in info.keys.tolist()]
    groups = [range(*ends) for ends in pairwise([*firsts, info.num_frames])]
    right = firsts[:1] == [0] and all(
        _compared(info, group, nothing, num_origins=1) is not None for group in groups
    )
    return right and info.sums.way == SEEK


def _proved(info: VideoInfo, numbers: Sequence[int], convert: Convert) -> list[Any] | None:
    """Frames read by seeking that are proved right; None if nothing proves them."""
    if info.shown:
        found = after_seek(info, numbers, info.origins(numbers[0])[-1], convert, shown=True)
        return None if found is None else found[0]
    if info.pts is None or info.sums.order == COUNT or info.sums.way == LINEAR:
        return None
    if info.sums.know(numbers):
        return _compared(info, numbers, convert)
    if (numbers[-1] + 1) * info.width * info.height > LINEAR_PIXELS:
        return _agreeing(info, numbers, convert)
    return None


def _compared(
    info: VideoInfo, numbers: Sequence[int], convert: Convert, num_origins: int = 2
) -> list[Any] | None:
    """Frames after a seek to one of the nearest key frames, in the first way that leaves them with their checksums."""
    for way in range(info.sums.way, LINEAR):
        found = None
        for origin in info.origins(numbers[0])[: -num_origins - 1 : -1]:
            found = after_seek(info, numbers, origin, convert, primed=way == PRIMED) or found
            if found is not None and info.sums.agree(numbers, found[1]):
                return found[0]
        if found is None:  # out of reach from there, which disproves nothing
            return None
        info.sums.way = way + 1
    return None


def _agreeing(info: VideoInfo, numbers: Sequence[int], convert: Convert) -> list[Any] | None:
    """Frames far inside a long file, from two key frames, if those agree, and the second of the file with its start."""
    sums, origins = info.sums, info.origins(numbers[0])
    if len(origins) < 3:  # as near to the beginning as to two key frames
        return None
    second = info.first_frame(origins[1])
    start = range(second, min(second + 8, info.num_frames))
    if not sums.know(start):
        _linear(info, start, nothing)
        if sums.order == COUNT or _compared(info, start, nothing, num_origins=1) is None:
            return None
    primed = sums.way == PRIMED
    later = after_seek(info, numbers, origins[-1], nothing, primed)
    earlier = after_seek(info, numbers, origins[-2], convert, primed)
    if later is None or earlier is None or later[1] != earlier[1]:
        sums.way = LINEAR
        return None
    for number, crc in zip(numbers, earlier[1], strict=True):
        sums.record(number, crc)
    return earlier[0]


def nothing(frame: av.VideoFrame) -> None:
    """What to make of a frame whose checksum is all that is wanted."""


def _linear(info: VideoInfo, numbers: Sequence[int], convert: Convert) -> list[Any]:
    """Frames of a decode from the beginning, to the last of them or, the second time, to the end of the file."""
    frames: list[Any] = []
    seeks = info.sums.way != LINEAR and info.sums.order != COUNT and info.pts is not None
    short = info.num_frames * info.width * info.height <= LINEAR_PIXELS
    to_end = seeks and short and info.sums.begun
    try:
        for number, frame in in_order(info):
            if len(frames) < len(numbers):
                if number > numbers[len(frames)]:
                    break
                if number == numbers[len(frames)]:
                    _check_whole(info.path, frame, number)
                    frames.append(convert(frame))
            if len(frames) == len(numbers) and not to_end:
                break
    except (av.error.FFmpegError, BadVideoError):
        if len(frames) < len(numbers):
            raise
    if len(frames) < len(numbers):
        raise BadVideoError(
            f"{info.path}: frame {numbers[len(frames)]} does not decode ({info.sums.decoded} of {info.num_frames} do)"
        )
    return frames


def read_in_order(
    info: VideoInfo, numbers: Sequence[int], resolution: Resolution | None = None, rule: str = "antialias"
) -> Iterator[Tensor]:
    """Read the frames of the given numbers in one linear decode, one at a time.

    A file that ends early, or whose last frames are damaged, gives what comes before.

    Args:
        info: what :func:`probe` returned.
        numbers: frame numbers in display order, never falling; a number may repeat.
        resolution: height and width to bring frames to, one number for a square; None keeps all pixels.
        rule: how (:mod:`videodiff.data.resize`).

    Yields:
        uint8 ``[H, W, 3]``.

    Raises:
        BadVideoError: if frames are missing or damaged in the middle.
    """
    at, expected, damaged = 0, 0, None
    patience = 1 + info.num_frames // FRAMES_PER_LIMIT
    with reading(regular_file(info.path)):
        info.check_identity()
        for number, frame in in_order(info, patience):
            if damaged is None and (number != expected or frame.is_corrupt):
                damaged = expected
            if damaged is not None and number > damaged + REORDERED:
                raise BadVideoError(
                    f"{info.path}: frame {damaged} is missing or damaged, and more than {REORDERED} come after it"
                )
            expected = number + 1
            if damaged is None and at < len(numbers) and numbers[at] == number:
                picture = _to_rgb(info.path, frame, info.pixel_aspect, resolution, rule)
                while at < len(numbers) and numbers[at] == number:
                    yield picture
                    at += 1
                if at == len(numbers):
                    return
        if at == 0:
            raise BadVideoError(f"{info.path}: none of {info.num_frames} frames decodes")


def _check_whole(path: str, frame: av.VideoFrame, number: int) -> None:
    if frame.is_corrupt:
        raise BadVideoError(f"{path}: frame {number} is damaged")


def _stack(path: str, frames: Sequence[Tensor]) -> Tensor:
    if any(f.shape != frames[0].shape for f in frames):
        raise BadVideoError(f"{path}: the frame size changes within the video (read it with a resolution)")
    return torch.stack(list(frames))


def read_video(
    path: str | os.PathLike[str],
    resolution: Resolution | None = None,
    max_frames: int | None = None,
    rule: str = "antialias",
) -> Tensor:
    """Decode a video from its beginning, whole or its first `max_frames` frames -> uint8 ``[T, H, W, 3]``.

    Raises:
        FileNotFoundError: if there is no such file.
        BadVideoError: if it does not decode to the end, a frame is damaged, or it would take more than 4 GiB.
    """
    path = regular_file(path)
    frames: list[Tensor] = []
    held = 0
    with reading(path), open_stream(path) as (container, stream):
        aspect = pixel_aspect(stream)
        for packet in packets_of(path, container, stream):
            for frame in packet.decode():
                _check_whole(path, frame, len(frames))
                frames.append(_to_rgb(path, frame, aspect, resolution, rule))
                held += frames[-1].numel()
                if held > MAX_BYTES:
                    raise BadVideoError(
                        f"{path}: more than {MAX_BYTES >> 30} GiB when decoded (give max_frames)"
                    )
                if len(frames) == max_frames:
                    return _stack(path, frames)
        if not frames:
            raise BadVideoError(f"{path}: no frames")
        return _stack(path, frames)
