"""Opens video files through PyAV: which may be opened, how large a frame may be, and names for damage."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av

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
MAX_PIXELS = 8192 * 4320  # of one frame; a file of 200 kB can declare far more
# A tag that is not UTF-8 must not cost the video; PyAV 19 no longer fails on one and dropped the option.
TAGS: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
# CPU seconds that one call may spend on a file: the clock of the machine's load must not decide what is bad.
MAX_SECONDS = 60.0


class BadVideoError(ValueError):
    """A file that is no readable video or image; the message is one line that names it."""


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
    path: str, container: av.container.InputContainer, stream: av.VideoStream, patience: int = 1
) -> Iterator[av.Packet]:
    """The packets of a stream, until the file has cost too much."""
    end = time.thread_time() + MAX_SECONDS * patience
    for packet in container.demux(stream):
        if time.thread_time() > end:
            raise BadVideoError(f"{path}: took more than {MAX_SECONDS * patience:g} CPU seconds to read")
        yield packet


def pixel_aspect(stream: av.VideoStream) -> float:
    """Width of a pixel over its height; 1 where the file says nothing, or nonsense."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 0.25 <= aspect <= 4 else 1.0


def check_size(path: str, width: int, height: int) -> None:
    """Refuse frames of more than `MAX_PIXELS` pixels."""
    if width * height > MAX_PIXELS:
        raise BadVideoError(f"{path}: frames of {width}x{height} exceed the limit of {MAX_PIXELS} pixels")
