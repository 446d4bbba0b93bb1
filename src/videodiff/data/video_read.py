"""Video files and pictures in, through PyAV and Pillow: any set of frames, exactly, by time stamp.

Frames are uint8 RGB ``[T, H, W, 3]`` tensors. Rotation is applied, and non-square pixels when frames are
resized, so that pictures stand as a player shows them. Whatever is wrong with a file is raised as
:class:`BadVideoError`, one line with its path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import av
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from videodiff.data.resize import IN_DECODER, ONE_THREAD, resize

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".ts", ".m2ts", ".mpg", ".mpeg", ".ogv", ".flv"}
)
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
# Containers only: text formats such as ffconcat or m3u8 can name other files.
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg,ogg,flv"
# A tag that is not UTF-8 must not cost the video; PyAV 19 no longer fails on one and dropped the option.
TAGS = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
# Decoders that leave out frames nobody refers to and give the same pixels for all others (tested).
SKIPPING = frozenset({"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"})
MAX_PIXELS = 8192 * 4320  # of one frame; a file of 200 kB can declare far more
MAX_BYTES = 4 * 2**30  # of a whole decoded video
# CPU seconds that one call may spend on a file: the clock of the machine's load must not decide what is bad.
MAX_SECONDS = 60.0


class BadVideoError(ValueError):
    """A file that is no readable video or image; the message is one line that names it."""


@dataclass(frozen=True)
class VideoInfo:
    """What one pass over the packets of a file tells, without decoding.

    Args:
        path: absolute path.
        num_frames: number of frames (of packets: damage inside them shows only when they are decoded).
        pts: their time stamps in display order, in units of the stream, a `range` where they are even;
            None if the file has none or repeats some, which makes every read start at the first frame.
        fps: mean frames per second; 0 if the file does not say.
        width: declared width in pixels, before rotation.
        height: declared height in pixels, before rotation.
        time_base: seconds of one unit of `pts`.
        declared: number of frames that the header promises; 0 if it does not say.
    """

    path: str
    num_frames: int
    pts: range | np.ndarray | None
    fps: float
    width: int
    height: int
    time_base: float = 0.0
    declared: int = 0

    def times(self) -> np.ndarray:
        """Seconds from the first frame to each, float64 ``[num_frames]``, in display order.

        Raises:
            BadVideoError: if the file has neither time stamps nor a frame rate.
        """
        if self.pts is not None and self.time_base > 0:
            return (np.asarray(self.pts, dtype=np.int64) - int(self.pts[0])) * self.time_base
        if self.fps > 0:
            return np.arange(self.num_frames) / self.fps
        raise BadVideoError(
            f"{self.path}: neither time stamps nor a frame rate, so no fps can be asked of it"
        )


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turn whatever a decoder raises (any Exception: see PyAV's zoo) into one line that names the file."""
    try:
        yield
    except (FileNotFoundError, BadVideoError):
        raise
    except Exception as error:
        reason = (getattr(error, "strerror", None) or str(error) or "no reason given").splitlines()[0]
        raise BadVideoError(f"{path}: cannot be read as video ({type(error).__name__}: {reason})") from error


def _regular_file(path: str | os.PathLike[str]) -> str:
    absolute = os.path.abspath(path)
    if not os.path.exists(absolute):
        raise FileNotFoundError(f"no such file: {absolute}")
    if not os.path.isfile(absolute):  # a named pipe would block for ever
        raise BadVideoError(f"{absolute}: not a regular file")
    return absolute


@contextmanager
def _open_stream(path: str) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The first true video stream, with one decoding thread and bounded frame size; always closed."""
    with av.open(path, options={"format_whitelist": DEMUXERS}, **TAGS) as container:
        attached = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & attached]
        if not streams:
            raise BadVideoError(f"{path}: no video stream")
        stream = streams[0]
        _check_size(path, stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.thread_type = "NONE"
        yield container, stream


def _packets(
    path: str, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.Packet]:
    """The packets of a stream, until the file has cost too much."""
    end = time.thread_time() + MAX_SECONDS
    for packet in container.demux(stream):
        if time.thread_time() > end:
            raise BadVideoError(f"{path}: took more than {MAX_SECONDS:g} CPU seconds to read")
        yield packet


def _check_size(path: str, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadVideoError(f"{path}: frames of {width}x{height} exceed the limit of {MAX_PIXELS} pixels")


def _stamps(packets: list[int | None]) -> range | np.ndarray | None:
    """Time stamps in display order; None where one is missing or two are equal."""
    if None in packets or len(set(packets)) < len(packets):
        return None
    pts = sorted(p for p in packets if p is not None)
    step = pts[1] - pts[0] if len(pts) > 1 else 1
    if pts == list(range(pts[0], pts[0] + step * len(pts), step)):
        return range(pts[0], pts[0] + step * len(pts), step)
    return np.asarray(pts, dtype=np.int64)


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Count frames and collect their time stamps by demuxing; headers are not believed.

    Raises:
        FileNotFoundError: if there is no such file.
        BadVideoError: if it cannot be opened or holds no frame.
    """
    path = _regular_file(path)
    with _reading(path), _open_stream(path) as (container, stream):
        packets = [p for p in _packets(path, container, stream) if p.size > 0 and not p.is_discard]
        if not packets:
            raise BadVideoError(f"{path}: no frames")
        pts = _stamps([p.dts if p.pts is None else p.pts for p in packets])
        context = stream.codec_context
        return VideoInfo(
            path, len(packets), pts, float(stream.average_rate or 0), context.width, context.height,
            float(stream.time_base or 0), stream.frames,
        )  # fmt: skip


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
    _check_size(path, frame.width, frame.height)
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
    with _reading(_regular_file(info.path)):
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
    with _open_stream(info.path) as (container, stream):
        aspect, count = _pixel_aspect(stream), 0
        for packet in _packets(info.path, container, stream):
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
    with _open_stream(info.path) as (container, stream):
        if seek and numbers[0] > 0:
            container.seek(wanted[0], stream=stream, backward=True, any_frame=False)
        aspect, context = _pixel_aspect(stream), stream.codec_context
        skips, now, first = seek and context.name in SKIPPING, "DEFAULT", True
        for packet in _packets(info.path, container, stream):
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
    path = _regular_file(path)
    frames: list[Tensor] = []
    held = 0
    with _reading(path), _open_stream(path) as (container, stream):
        aspect = _pixel_aspect(stream)
        for packet in _packets(path, container, stream):
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


def read_image(
    path: str | os.PathLike[str], resolution: int | None = None, rule: str = "antialias"
) -> Tensor:
    """Read one picture of any mode -> uint8 RGB ``[H, W, 3]``; half a file is an error, not a gray area."""
    path = _regular_file(path)
    with _reading(path), Image.open(path) as image:
        _check_size(path, *image.size)
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16 bit gray, which convert() would clip to white
            gray = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            upright = Image.fromarray(gray)
        picture = torch.from_numpy(np.array(upright.convert("RGB")))
    return picture if resolution is None else resize(picture, resolution, rule)
