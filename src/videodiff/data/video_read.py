"""Video files in, through PyAV: any set of frames, exactly, by time stamp.

Frames are uint8 RGB ``[T, H, W, 3]`` tensors. Rotation is applied, and non-square pixels when frames are
resized, so that pictures stand as a player shows them. Whatever is wrong with a file is raised as
:class:`BadVideoError`, one line with its path.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import av
import numpy as np
import torch
from torch import Tensor

from videodiff.data.resize import IN_DECODER, ONE_THREAD, resize
from videodiff.data.video_probe import (
    MAX_BYTES,
    BadVideoError,
    VideoInfo,
    check_size,
    open_stream,
    packets_of,
    probe,
    reading,
    regular_file,
)

# Decoders that leave out frames nobody refers to and give the same pixels for all others (tested).
SKIPPING = frozenset({"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"})


def _pixel_aspect(stream: av.VideoStream) -> float:
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 0.25 <= aspect <= 4 else 1.0


def _turn(rgb: np.ndarray, turns: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb)


def scaled_rgb(frame: av.VideoFrame, pixel_aspect: float, resolution: int, turns: int = 0) -> Tensor:
    """The rule ``decoder``: one call converts and scales the short side, then the centre is cut out."""
    shown = frame.width * pixel_aspect
    scale = resolution / min(frame.height, shown)
    width, height = max(resolution, round(shown * scale)), max(resolution, round(frame.height * scale))
    rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA", **ONE_THREAD)
    return resize(_turn(rgb.to_ndarray(), turns), resolution)


def _to_rgb(
    path: str, frame: av.VideoFrame, pixel_aspect: float, resolution: int | None, rule: str
) -> Tensor:
    check_size(path, frame.width, frame.height)
    turns = round(frame.rotation / 90) % 4  # the display matrix turns counter-clockwise
    if rule == IN_DECODER and resolution is not None:
        return scaled_rgb(frame, pixel_aspect, resolution, turns)
    picture = _turn(frame.reformat(format="rgb24", **ONE_THREAD).to_ndarray(), turns)
    if resolution is None:
        return picture
    return resize(picture, resolution, rule, 1 / pixel_aspect if turns % 2 else pixel_aspect)


def read_clip(
    video: VideoInfo | str | os.PathLike[str],
    start: int,
    num_frames: int,
    stride: int = 1,
    resolution: int | None = None,
    rule: str = "antialias",
) -> Tensor:
    """Read frames ``start, start + stride, ...``: :func:`read_frames` for a window.

    Args:
        video: what :func:`probe` returned, or a path (probed first).
        start: number of the first frame, in display order.
        num_frames: frames to return.
        stride: distance between them.
        resolution: side of a square to crop and resize to; None keeps all pixels.
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
    info: VideoInfo, numbers: Sequence[int], resolution: int | None = None, rule: str = "antialias"
) -> Tensor:
    """Read the frames of the given numbers exactly, decoding from the nearest key frame.

    Where seeking lands behind the target (MPEG program streams do), or a frame does not come out where its time stamp
    says, the file is decoded from its beginning.

    Args:
        info: what :func:`probe` returned.
        numbers: frame numbers in display order, never falling; a number may repeat.
        resolution: side of a square to crop and resize to; None keeps all pixels.
        rule: how (:mod:`videodiff.data.resize`).

    Returns:
        uint8 ``[len(numbers), H, W, 3]``.

    Raises:
        ValueError: if a number lies outside the video.
        BadVideoError: if a frame is missing, damaged or not where its packet said.
    """
    unique = sorted(set(numbers))
    if list(numbers) != sorted(numbers) or not unique or unique[0] < 0 or unique[-1] >= info.num_frames:
        raise ValueError(
            f"{info.path}: frames {min(numbers, default=0)} to {max(numbers, default=0)} asked, "
            f"{info.num_frames} there"
        )
    with reading(regular_file(info.path)):
        if info.pts is None:
            frames = _decode_counting(info, unique, resolution, rule)
        else:
            frames = _decode_by_time(info, unique, resolution, rule, seek=True)
            if frames is None:
                frames = _decode_by_time(info, unique, resolution, rule, seek=False)
        if frames is None or len(frames) < len(unique):
            found = len(frames or ())
            raise BadVideoError(f"{info.path}: {found} of {len(unique)} frames from frame {unique[0]} decode")
        by_number = dict(zip(unique, frames, strict=True))
        return _stack(info.path, [by_number[number] for number in numbers])


def _decode_counting(info: VideoInfo, numbers: list[int], resolution: int | None, rule: str) -> list[Tensor]:
    """The wanted frames by their place in a decode from the beginning; fewer if the stream ends."""
    frames: list[Tensor] = []
    with open_stream(info.path) as (container, stream):
        aspect, count = _pixel_aspect(stream), 0
        for packet in packets_of(info.path, container, stream):
            for frame in packet.decode():
                if count == numbers[len(frames)]:
                    _check_whole(info.path, frame, count)
                    frames.append(_to_rgb(info.path, frame, aspect, resolution, rule))
                    if len(frames) == len(numbers):
                        return frames
                count += 1
    return frames


def _decode_by_time(
    info: VideoInfo, numbers: list[int], resolution: int | None, rule: str, seek: bool
) -> list[Tensor] | None:
    """The wanted frames by their time stamps; None if one does not come out where it should."""
    assert info.pts is not None
    wanted = [int(info.pts[number]) for number in numbers]
    needed, frames = set(wanted), []
    with open_stream(info.path) as (container, stream):
        if seek and numbers[0] > 0:
            container.seek(wanted[0], stream=stream, backward=True, any_frame=False)
        aspect, context = _pixel_aspect(stream), stream.codec_context
        skips, now, first = seek and context.name in SKIPPING, "DEFAULT", True
        for packet in packets_of(info.path, container, stream):
            # Frames that are neither wanted nor referred to need not be decoded.
            then = "NONREF" if skips and packet.pts is not None and packet.pts not in needed else "DEFAULT"
            if then != now:
                context.skip_frame = now = then
            for frame in packet.decode():
                pts = frame.pts
                late = pts is None or pts > wanted[len(frames)]
                if late or (seek and first and numbers[0] > 0 and pts > wanted[0]):
                    return None
                first = False
                if pts < wanted[len(frames)]:
                    continue
                if frame.is_corrupt and seek:  # perhaps for want of what came before
                    return None
                _check_whole(info.path, frame, numbers[len(frames)])
                frames.append(_to_rgb(info.path, frame, aspect, resolution, rule))
                if len(frames) == len(wanted):
                    return frames
    return None if seek else frames


def _check_whole(path: str, frame: av.VideoFrame, number: int) -> None:
    if frame.is_corrupt:
        raise BadVideoError(f"{path}: frame {number} is damaged")


def _stack(path: str, frames: Sequence[Tensor]) -> Tensor:
    if any(f.shape != frames[0].shape for f in frames):
        raise BadVideoError(f"{path}: the frame size changes within the video (read it with a resolution)")
    return torch.stack(list(frames))


def read_video(
    path: str | os.PathLike[str],
    resolution: int | None = None,
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
        aspect = _pixel_aspect(stream)
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
