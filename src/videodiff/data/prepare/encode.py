"""Encodes frames into one file, raw or as H.264 with frequent key frames; the same frames give the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np

from videodiff import atomic
from videodiff.data.prepare.settings import Settings
from videodiff.data.prepared import sha256_of
from videodiff.data.video_read import shows_seeks

KEY_FRAME_DISTANCE = 12  # frames; a random window decodes 5.5 it does not need, on average
CRF = 8  # about 45 dB at 64 pixels, in 1.4 times the bytes of crf 12, which gives 42
# Full colour resolution: at training sizes, half of it costs 6 dB and saves 6 % of the bytes.
# No frame refers to a later one, nor to more than the one before; no filter runs after decoding; one thread, so that
# the bytes do not depend on the machine's cores.
ENCODER = {"g": str(KEY_FRAME_DISTANCE), "bf": "0", "refs": "1", "tune": "fastdecode", "preset": "medium"}


class OutputError(OSError):
    """The result cannot be written; the video is not to blame."""


class FrameWriter:
    """Writes one video's frames to a file beside its target and renames it when all went well.

    Args:
        path: target.
        settings: form packed writes the frames as they are; video and shards an mp4.
        fps: frame rate of the mp4.

    Raises:
        OutputError: from beginning to end, for what cannot be written.

    Attributes:
        facts: after a clean end, `frames`, `bytes` and `sha256` of the file; of an mp4, whether it `seeks`: gave its
            groups of frames after a seek as from its beginning.
    """

    def __init__(self, path: str, settings: Settings, fps: float) -> None:
        self.path, self.settings, self.fps = path, settings, fps
        self.place = ExitStack()
        self.num_frames = 0
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> FrameWriter:
        with self._to_disk():
            self.temporary = str(self.place.enter_context(atomic.beside(self.path)))
            if self.settings.form == "packed":
                self.file = open(self.temporary, "xb")
            else:
                self._open_video()
        return self

    @contextmanager
    def _to_disk(self) -> Iterator[None]:
        """Within it, what fails is the disk, not the video that is read."""
        try:
            yield
        except OSError as error:
            raise OutputError(error.errno, error.strerror or str(error), self.path) from error

    def _open_video(self) -> None:
        lossless = self.settings.quality == "lossless"
        codec, pixels = ("libx264rgb", "rgb24") if lossless else ("libx264", "yuv444p")
        options = {**ENCODER, "qp": "0"} if lossless else {**ENCODER, "crf": str(CRF)}
        self.container = av.open(
            os.path.abspath(self.temporary),
            "w",
            format="mp4",
            options={"fflags": "+bitexact", "movflags": "+faststart"},
        )
        rate = Fraction(self.fps).limit_denominator(1001)
        stream = self.container.add_stream(codec, rate=rate, options={**options, "flags": "+bitexact"})
        self.stream = cast(
            av.VideoStream, stream
        )  # PyAV's types know few codecs, and with each release others
        self.stream.height, self.stream.width = self.settings.frame_size
        self.stream.pix_fmt = pixels
        self.stream.codec_context.thread_count = 1

    def write(self, frames: np.ndarray) -> None:
        """Append uint8 ``[n, H, W, 3]``."""
        self.num_frames += len(frames)
        with self._to_disk():
            if self.settings.form == "packed":
                self.file.write(np.ascontiguousarray(frames).data)
                return
            for picture in frames:
                self.container.mux(self.stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is not None:
            with suppress(OSError):  # what went wrong before is what to tell
                (self.file if self.settings.form == "packed" else self.container).close()
            self.place.__exit__(kind, *error)
            return
        with self._to_disk(), self.place:
            if self.settings.form == "packed":
                self.file.close()
            else:
                self.container.mux(self.stream.encode(None))
                self.container.close()
            size = os.path.getsize(self.temporary)
            self.facts = {"frames": self.num_frames, "bytes": size, "sha256": sha256_of(self.temporary)}
            if self.settings.form != "packed":
                self.facts["seeks"] = shows_seeks(self.temporary)
