"""Opening video files through PyAV, and what their packets tell without decoding.

Whatever is wrong with a file is raised as :class:`BadVideoError`, one line with its path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
import numpy as np

from videodiff import placeholder

VIDEO_SUFFIXES = frozenset(
    {
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".ts", ".m2ts", ".mpg", ".mpeg", ".ogv", ".flv",
        ".3g2", ".3gp", ".264", ".265", ".apng", ".asf", ".divx", ".dv", ".f4v", ".h264", ".h265", ".hevc", ".ismv",
        ".ivf", ".m1v", ".m2p", ".m2t", ".m2v", ".mj2", ".mk3d", ".mpe", ".mpg4", ".mts", ".mxf", ".nut", ".obu",
        ".ogm", ".qt", ".tod", ".trp", ".vob", ".wmv", ".wtv", ".xvid", ".y4m",
    }
)  # fmt: skip
# Containers only: text formats such as ffconcat or m3u8 can name other files.
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg,ogg,flv,apng,asf,nut,yuv4mpegpipe,mxf,dv,ivf,wtv"
# Streams without a container have no mark of their own: taken for one only where the name says so.
RAW_DEMUXERS = {
    ".264": "h264", ".h264": "h264", ".265": "hevc", ".h265": "hevc", ".hevc": "hevc", ".m1v": "mpegvideo",
    ".m2v": "mpegvideo", ".obu": "obu",
}  # fmt: skip
# A tag that is not UTF-8 must not cost the video; PyAV 19 no longer fails on one and dropped the option.
TAGS = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
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
def reading(path: str) -> Iterator[None]:
    """Turn whatever a decoder raises (any Exception: see PyAV's zoo) into one line that names the file."""
    try:
        yield
    except (FileNotFoundError, BadVideoError):
        raise
    except Exception as error:
        if (found := placeholder.explain(path)) is not None:
            raise BadVideoError(f"{path} {found}") from error
        reason = (getattr(error, "strerror", None) or str(error) or "no reason given").splitlines()[0]
        raise BadVideoError(f"{path}: cannot be read as video ({type(error).__name__}: {reason})") from error


def demuxers(path: str) -> str:
    """The formats that a file may turn out to be, as FFmpeg's whitelist."""
    raw = RAW_DEMUXERS.get(os.path.splitext(path)[1].lower())
    return DEMUXERS if raw is None else f"{DEMUXERS},{raw}"


def regular_file(path: str | os.PathLike[str]) -> str:
    """The absolute path of a file that can be read from end to end, or an error."""
    absolute = os.path.abspath(path)
    if not os.path.exists(absolute):
        raise FileNotFoundError(f"no such file: {absolute}")
    if not os.path.isfile(absolute):  # a named pipe would block for ever
        raise BadVideoError(f"{absolute}: not a regular file")
    return absolute


@contextmanager
def open_stream(path: str) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The first true video stream, with one decoding thread and bounded frame size; always closed."""
    with av.open(path, options={"format_whitelist": demuxers(path)}, **TAGS) as container:
        attached = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & attached]
        if not streams:
            raise BadVideoError(f"{path}: no video stream")
        stream = streams[0]
        check_size(path, stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.thread_type = "NONE"
        yield container, stream


def packets_of(
    path: str, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.Packet]:
    """The packets of a stream, until the file has cost too much."""
    end = time.thread_time() + MAX_SECONDS
    for packet in container.demux(stream):
        if time.thread_time() > end:
            raise BadVideoError(f"{path}: took more than {MAX_SECONDS:g} CPU seconds to read")
        yield packet


def check_size(path: str, width: int, height: int) -> None:
    """Refuse frames of more than `MAX_PIXELS` pixels."""
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
    path = regular_file(path)
    with reading(path), open_stream(path) as (container, stream):
        packets = [p for p in packets_of(path, container, stream) if p.size > 0 and not p.is_discard]
        if not packets:
            raise BadVideoError(f"{path}: no frames")
        pts = _stamps([p.dts if p.pts is None else p.pts for p in packets])
        context = stream.codec_context
        return VideoInfo(
            path, len(packets), pts, float(stream.average_rate or 0), context.width, context.height,
            float(stream.time_base or 0), stream.frames,
        )  # fmt: skip
