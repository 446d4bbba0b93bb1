"""Video files in and out, through PyAV: frame-accurate windows, whole clips, mp4, lossless FFV1 and GIF.

Frames are uint8 RGB ``[T, H, W, 3]`` tensors. Rotation is applied, and non-square pixels when frames are
resized, so that pictures stand as a player shows them. Whatever is wrong with a file is raised as
:class:`BadVideoError`, one line with its path.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from videodiff.data.pixels import as_frames, resize_crop, to_float, to_uint8, video_grid

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "BadVideoError",
    "VideoInfo",
    "gif_bytes",
    "probe",
    "read_clip",
    "read_image",
    "read_video",
    "resize_crop",
    "to_float",
    "to_uint8",
    "video_grid",
    "write_lossless",
    "write_mp4",
]

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".ts", ".m2ts", ".mpg", ".mpeg", ".ogv", ".flv"}
)
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
# Containers only: text formats such as ffconcat or m3u8 can name other files.
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg,ogg,flv"
# A tag that is not UTF-8 must not cost the video; PyAV 19 no longer fails on one and dropped the option.
TAGS = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
# PyAV keeps one scaler a thread, by default with helper threads of its own; a worker forked after its first use would
# wait for helpers that were not forked with it.
ONE_THREAD = {"threads": 1} if "threads" in (av.VideoFrame.reformat.__doc__ or "") else {}
MAX_PIXELS = 8192 * 4320  # of one frame; a file of 200 kB can declare far more
MAX_BYTES = 4 * 2**30  # of a whole decoded video


class BadVideoError(ValueError):
    """A file that is no readable video or image; the message is one line that names it."""


@dataclass(frozen=True)
class VideoInfo:
    """What one pass over the packets of a file tells, without decoding.

    Args:
        path: absolute path.
        num_frames: number of frames (of packets: damage inside them shows only when they are decoded).
        pts: their time stamps in display order, in units of the stream, a `range` where they are even;
            None if the file has none (raw streams), which makes every read start at the first frame.
        fps: mean frames per second; 0 if the file does not say.
        width: declared width in pixels, before rotation.
        height: declared height in pixels, before rotation.
    """

    path: str
    num_frames: int
    pts: range | np.ndarray | None
    fps: float
    width: int
    height: int


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


def _check_size(path: str, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadVideoError(f"{path}: frames of {width}x{height} exceed the limit of {MAX_PIXELS} pixels")


def _even_steps(pts: list[int]) -> range | np.ndarray:
    step = pts[1] - pts[0] if len(pts) > 1 else 1
    if step > 0 and pts == list(range(pts[0], pts[0] + step * len(pts), step)):
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
        packets = [p for p in container.demux(stream) if p.size > 0 and not p.is_discard]
        stamps = [p.dts if p.pts is None else p.pts for p in packets]
        if not stamps:
            raise BadVideoError(f"{path}: no frames")
        pts = None if None in stamps else _even_steps(sorted(stamps))
        context = stream.codec_context
        return VideoInfo(
            path, len(stamps), pts, float(stream.average_rate or 0), context.width, context.height
        )


def _to_rgb(path: str, frame: av.VideoFrame, pixel_aspect: float, resolution: int | None) -> Tensor:
    _check_size(path, frame.width, frame.height)
    rgb = frame.reformat(format="rgb24", **ONE_THREAD).to_ndarray()
    turns = round(frame.rotation / 90) % 4  # the display matrix turns counter-clockwise
    if turns:
        rgb = np.ascontiguousarray(np.rot90(rgb, turns))
    picture = torch.from_numpy(rgb)
    if resolution is None:
        return picture
    return resize_crop(picture, resolution, 1 / pixel_aspect if turns % 2 else pixel_aspect)


def _pixel_aspect(stream: av.VideoStream) -> float:
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 0.25 <= aspect <= 4 else 1.0


def read_clip(
    video: VideoInfo | str | os.PathLike[str],
    start: int,
    num_frames: int,
    stride: int = 1,
    resolution: int | None = None,
) -> Tensor:
    """Read frames ``start, start + stride, ...`` exactly, decoding from the nearest key frame.

    Where seeking lands behind the target (MPEG program streams do), the file is decoded from its beginning.

    Args:
        video: what :func:`probe` returned, or a path (probed first).
        start: number of the first frame, in display order.
        num_frames: frames to return.
        stride: distance between them.
        resolution: side of a square to crop and resize to (:func:`resize_crop`); None keeps all pixels.

    Returns:
        uint8 ``[num_frames, H, W, 3]``.

    Raises:
        BadVideoError: if a frame is missing, damaged or not where its packet said.
    """
    info = video if isinstance(video, VideoInfo) else probe(video)
    wanted = range(start, start + num_frames * stride, stride)
    if num_frames < 1 or stride < 1 or start < 0 or wanted[-1] >= info.num_frames:
        last = start + (num_frames - 1) * stride
        raise ValueError(f"{info.path}: frames {start} to {last} asked, {info.num_frames} there")
    with _reading(_regular_file(info.path)):
        frames = _decode_window(info, wanted, resolution, seek=True)
        if frames is None or len(frames) < num_frames:
            frames = _decode_window(info, wanted, resolution, seek=False)
        if frames is None or len(frames) < num_frames:
            raise BadVideoError(
                f"{info.path}: {len(frames or ())} of {num_frames} frames from frame {start} decode"
            )
        return _stack(info.path, frames)


def _decode_window(info: VideoInfo, wanted: range, resolution: int | None, seek: bool) -> list[Tensor] | None:
    """The wanted frames, fewer if the stream ends; None if one does not carry the time stamp it should."""
    frames: list[Tensor] = []
    target = None if info.pts is None else int(info.pts[wanted[0]])
    with _open_stream(info.path) as (container, stream):
        if seek and target is not None and wanted[0] > 0:
            container.seek(target, stream=stream, backward=True, any_frame=False)
        aspect = _pixel_aspect(stream)
        number = wanted[0] if target is not None else 0
        for frame in container.decode(stream):
            if target is not None and not frames and frame.pts is not None and frame.pts < target:
                continue
            if number in wanted:
                if info.pts is not None and frame.pts != info.pts[number]:
                    return None
                frames.append(_to_rgb(info.path, frame, aspect, resolution))
            if len(frames) == len(wanted):
                break
            number += 1
    return frames


def _stack(path: str, frames: Sequence[Tensor]) -> Tensor:
    if any(f.shape != frames[0].shape for f in frames):
        raise BadVideoError(f"{path}: the frame size changes within the video (read it with a resolution)")
    return torch.stack(list(frames))


def read_video(
    path: str | os.PathLike[str], resolution: int | None = None, max_frames: int | None = None
) -> Tensor:
    """Decode a video from its beginning, whole or its first `max_frames` frames -> uint8 ``[T, H, W, 3]``.

    Raises:
        FileNotFoundError: if there is no such file.
        BadVideoError: if it does not decode to the end or would take more than 4 GiB.
    """
    path = _regular_file(path)
    frames: list[Tensor] = []
    held = 0
    with _reading(path), _open_stream(path) as (container, stream):
        aspect = _pixel_aspect(stream)
        for frame in container.decode(stream):
            frames.append(_to_rgb(path, frame, aspect, resolution))
            held += frames[-1].numel()
            if held > MAX_BYTES:
                raise BadVideoError(f"{path}: more than {MAX_BYTES >> 30} GiB when decoded (give max_frames)")
            if len(frames) == max_frames:
                break
        if not frames:
            raise BadVideoError(f"{path}: no frames")
        return _stack(path, frames)


def read_image(path: str | os.PathLike[str], resolution: int | None = None) -> Tensor:
    """Read one picture of any mode -> uint8 RGB ``[H, W, 3]``; half a file is an error, not a gray area."""
    path = _regular_file(path)
    with _reading(path), Image.open(path) as image:
        _check_size(path, *image.size)
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16 bit gray, which convert() would clip to white
            gray = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            upright = Image.fromarray(gray)
        picture = torch.from_numpy(np.array(upright.convert("RGB")))
    return picture if resolution is None else resize_crop(picture, resolution)


@contextmanager
def _atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside the target that becomes the target if all goes well, and vanishes if not."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:64]}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _encode(
    path: Path,
    video: np.ndarray,
    container: str,
    codec: str,
    pixels: str,
    fps: float,
    options: dict[str, str],
) -> None:
    if not fps > 0:
        raise ValueError(f"fps must be above 0, got {fps}")
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = pixels
        for picture in video:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))


def write_mp4(
    path: str | os.PathLike[str], video: Tensor | np.ndarray, fps: float = 8.0, crf: int = 18
) -> None:
    """Write a preview as H.264 4:2:0; odd sides are padded by their last row or column, never resized.

    Args:
        path: target; written beside it and renamed, so that it is whole or absent.
        video: uint8 ``[T, H, W, 3]``.
        fps: frames per second.
        crf: quality, 0 (best) to 51.
    """
    frames = as_frames(video)
    frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    with _atomic(path) as temporary:
        _encode(
            temporary, frames, "mp4", "libx264", "yuv420p", fps, {"crf": str(crf), "movflags": "faststart"}
        )


def write_lossless(path: str | os.PathLike[str], video: Tensor | np.ndarray, fps: float = 8.0) -> None:
    """Write FFV1 in Matroska with checksums; RGB comes back bit for bit from :func:`read_video`."""
    options = {"level": "3", "slicecrc": "1", "g": "1"}
    with _atomic(path) as temporary:
        _encode(temporary, as_frames(video), "matroska", "ffv1", "bgr0", fps, options)


def gif_bytes(video: Tensor | np.ndarray, fps: float = 8.0) -> bytes:
    """A looping GIF of uint8 ``[T, H, W, 3]`` (256 colours: for viewing); fps is rounded to GIF's 1/100 s."""
    first, *rest = [Image.fromarray(frame) for frame in as_frames(video)]
    buffer = io.BytesIO()
    duration = max(20, 10 * round(100 / fps))
    first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=duration, loop=0)
    return buffer.getvalue()
