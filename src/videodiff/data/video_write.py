"""Writes clips through PyAV and Pillow: mp4 to look at, lossless FFV1 to measure, GIF to show."""

from __future__ import annotations

import io
import os
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image
from torch import Tensor

from videodiff import atomic
from videodiff.data.pixels import as_frames
from videodiff.data.resize import ONE_THREAD

# Codes of ITU-T H.273. The matrix is BT.601's, not that of the primaries: what browsers convert with in software cuts
# BT.709's largest coefficient (2.11) to 2, which is up to 8 levels of blue, and BT.601's (2.02) hardly.
MATRIX_601, PRIMARIES_709, TRANSFER_SRGB = 6, 1, 13


class VideoWriter:
    """A video file written piece by piece; whole under its name when the ``with`` block ends well, else absent.

    Args:
        path: target; written beside it and renamed.
        fps: frames per second.
        lossless: FFV1 in Matroska with checksums, which gives RGB back bit for bit; else H.264 4:2:0 in mp4 to look
            at, with odd sides padded by their last row or column, never resized. Its colours are of
            BT.601's matrix in limited range and say so: a player that is told nothing guesses, by the number of lines.
        crf: quality of H.264, 0 (best) to 51.
        scale: whole number by which frames are enlarged without smoothing, to look at.

    Raises:
        ValueError: if ``fps`` is not above 0, or no frame was written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float = 8.0,
        lossless: bool = True,
        crf: int = 18,
        scale: int = 1,
    ) -> None:
        if not fps > 0:
            raise ValueError(f"fps must be above 0, got {fps}")
        self.path, self.fps, self.lossless, self.crf, self.scale = Path(path), fps, lossless, crf, scale
        self.place = ExitStack()
        self._open_file: tuple[av.container.OutputContainer, av.VideoStream] | None = None

    def __enter__(self) -> VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.part = self.place.enter_context(atomic.beside(self.path))
        return self

    def write(self, frames: Tensor | np.ndarray) -> None:
        """Append frames, uint8 ``[T, H, W, 3]``; all pieces must have one size."""
        for small in as_frames(frames):  # one at a time: enlarged ones are large
            picture = enlarged(small, self.scale)
            if not self.lossless:
                odd = ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0))
                picture = np.pad(picture, odd, mode="edge")
            if self._open_file is None:
                self._open_file = self._open(*picture.shape[:2])
            output, stream = self._open_file
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            output.mux(stream.encode(frame if self.lossless else to_limited(frame)))

    def _open(self, height: int, width: int) -> tuple[av.container.OutputContainer, av.VideoStream]:
        container, codec = ("matroska", "ffv1") if self.lossless else ("mp4", "libx264")
        # bitexact: no random identifiers, so that the same frames give the same bytes
        output = av.open(
            os.path.abspath(self.part), "w", format=container, container_options={"fflags": "+bitexact"}
        )  # absolute: FFmpeg takes what stands before a colon for a protocol
        rate = Fraction(self.fps).limit_denominator(1001)
        options = (
            {"level": "3", "slicecrc": "1", "g": "1"}
            if self.lossless
            else {"crf": str(self.crf), "movflags": "faststart"}
        )
        # PyAV's types know few codecs, and with each release others.
        stream = cast(av.VideoStream, output.add_stream(codec, rate=rate, options=options))
        stream.height, stream.width = height, width
        stream.pix_fmt = "bgr0" if self.lossless else "yuv420p"
        if not self.lossless:
            context = stream.codec_context
            context.thread_count = 1  # x264 decides by the threads before it, and writes their number down
            context.colorspace, context.color_range = MATRIX_601, ColorRange.MPEG
            context.color_primaries, context.color_trc = PRIMARIES_709, TRANSFER_SRGB
        return output, stream

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is not None:
            with suppress(OSError):  # what went wrong before is what to tell
                if self._open_file is not None:
                    self._open_file[0].close()
            self.place.__exit__(kind, *error)
            return
        with self.place:
            if self._open_file is None:
                raise ValueError(f"{self.path}: a video needs at least one frame")
            output, stream = self._open_file
            output.mux(stream.encode(None))
            output.close()


def to_limited(frame: av.VideoFrame) -> av.VideoFrame:
    """An RGB frame as 4:2:0 of BT.601's matrix in limited range."""
    yuv = frame.reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU601, src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG, **ONE_THREAD,
    )  # fmt: skip
    yuv.colorspace, yuv.color_range = MATRIX_601, ColorRange.MPEG
    return yuv


def write_mp4(
    path: str | os.PathLike[str],
    video: Tensor | np.ndarray,
    fps: float = 8.0,
    crf: int = 18,
    scale: int = 1,
) -> None:
    """Write uint8 ``[T, H, W, 3]`` as an H.264 preview; see :class:`VideoWriter`."""
    with VideoWriter(path, fps, lossless=False, crf=crf, scale=scale) as writer:
        writer.write(video)


def write_lossless(path: str | os.PathLike[str], video: Tensor | np.ndarray, fps: float = 8.0) -> None:
    """Write uint8 ``[T, H, W, 3]`` as FFV1 in Matroska; it comes back bit for bit from ``read_video``."""
    with VideoWriter(path, fps) as writer:
        writer.write(video)


def enlarged(frame: np.ndarray, scale: int) -> np.ndarray:
    """``[H, W, 3]`` -> ``[scale H, scale W, 3]``, each pixel a square of its colour."""
    return frame if scale == 1 else frame.repeat(scale, 0).repeat(scale, 1)


def gif_bytes(video: Tensor | np.ndarray, fps: float = 8.0, scale: int = 1) -> bytes:
    """A looping GIF of uint8 ``[T, H, W, 3]`` (256 colours: for viewing); fps is rounded to GIF's 1/100 s.

    `scale` is a whole number by which frames are enlarged without smoothing.
    """
    first, *rest = [Image.fromarray(enlarged(frame, scale)) for frame in as_frames(video)]
    buffer = io.BytesIO()
    duration = max(20, 10 * round(100 / fps))
    first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=duration, loop=0)
    return buffer.getvalue()
