"""Clips to files, through PyAV and Pillow: mp4 to look at, lossless FFV1 to measure, GIF to show."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from torch import Tensor

from videodiff.data.pixels import as_frames


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
