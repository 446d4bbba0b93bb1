"""Frames of a video file by number: one after the other from its beginning, or after a seek.

The linear decode is the truth (see :mod:`videodiff.data.video_proof`). Its frames are numbered by their time stamps
while those come as the packets promised, one after the other. The first that does not has the whole file decoded once:
if stamps fall, repeat or are none of the packets', or all frames are there none the less, they are not believed and the
frames are counted; else what is missing does not decode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Literal, TypeVar

import av
import numpy as np

from videodiff.data.video_file import open_stream, packets_of
from videodiff.data.video_probe import VideoInfo, frames_of
from videodiff.data.video_proof import COUNT, STAMPS, UNTRIED, checksum

# Decoders that can leave out frames nobody refers to. That the others come out the same, their checksums must show.
SKIPPING = frozenset({"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"})


def in_order(info: VideoInfo, patience: int = 1) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames of a linear decode, each with its number; those that do not decode are passed over.

    Args:
        info: of the file.
        patience: how often the time limit of a call it may take.
    """
    sums, place = info.sums, -1
    with open_stream(info.path) as (container, stream):
        counts = info.pts is None or sums.order == COUNT
        frames = frames_of(info.path, container, stream, info.has_keys, not counts, patience)
        for place, frame in enumerate(_kept(info, frames)):
            number = place if counts else _number(info, frame)
            if number != place and sums.order == UNTRIED:
                _settle(info, patience)
                counts = sums.order == COUNT
                number = place if counts else number
            if number is None or number >= info.num_frames:
                return
            if not frame.is_corrupt:
                sums.record(number, checksum(frame))
            yield number, frame
        sums.end(place + 1)


def _kept(info: VideoInfo, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Without the frames of the ends that probing left out."""
    for frame in frames:
        if info.pts is not None and frame.pts is not None:
            if info.lead and frame.pts < info.pts[0]:
                continue
            if info.tail and frame.pts > info.pts[-1]:
                continue
        yield frame


def _number(info: VideoInfo, frame: av.VideoFrame) -> int | None:
    """Which frame a time stamp names; None if it is none of the file's."""
    if info.pts is None or frame.pts is None:
        return None
    if isinstance(info.pts, range):
        return info.pts.index(frame.pts) if frame.pts in info.pts else None
    at = int(np.searchsorted(info.pts, frame.pts))
    return at if at < len(info.pts) and info.pts[at] == frame.pts else None


def _settle(info: VideoInfo, patience: int) -> None:
    """Decode the whole file to learn whether its time stamps are wrong, or frames missing."""
    last, count, lies = -1, 0, False
    with open_stream(info.path) as (container, stream):
        frames = frames_of(info.path, container, stream, info.has_keys, goes_on=True, patience=patience)
        for frame in _kept(info, frames):
            number = _number(info, frame)
            lies = lies or number is None or number <= last
            last = -1 if number is None else number
            count += 1
    info.sums.settle(COUNT if lies or count >= info.num_frames else STAMPS, count)


T = TypeVar("T")


def after_seek(
    info: VideoInfo,
    numbers: Sequence[int],
    origin: int,
    convert: Callable[[av.VideoFrame], T],
    primed: bool = False,
    shown: bool = False,
) -> tuple[list[T], list[int]] | None:
    """The wanted frames and their checksums, decoded from a key frame at or before `origin`.

    Args:
        info: of the file, with time stamps.
        numbers: rising frame numbers.
        origin: time stamp to seek to.
        convert: what to make of a frame.
        primed: decode the first frame of the file before, so that the decoder keeps what is told only there.
        shown: read as `shows_seeks` did: every frame is decoded. No checksums are made.

    Returns:
        None if a frame does not come out where its packet said, or is damaged, or the file cannot be sought in.
    """
    assert info.pts is not None
    wanted = [int(info.pts[number]) for number in numbers]
    needed = set(wanted)
    found: list[T] = []
    sums: list[int] = []
    with suppress(av.error.FFmpegError), open_stream(info.path) as (container, stream):
        context = stream.codec_context
        if primed:
            next(frames_of(info.path, container, stream, info.has_keys), None)
        if primed or origin > info.pts[0]:
            container.seek(origin, stream=stream, backward=True, any_frame=False)
        skips = context.name in SKIPPING and not shown
        now: Literal["NONREF", "DEFAULT"] = "DEFAULT"
        for packet in packets_of(info.path, container, stream):
            # Frames that are neither wanted nor referred to need not be decoded.
            unneeded = skips and packet.pts is not None and packet.pts not in needed
            then: Literal["NONREF", "DEFAULT"] = "NONREF" if unneeded else "DEFAULT"
            if then != now:
                context.skip_frame = now = then
            for frame in packet.decode():
                if frame.pts is None or frame.pts > wanted[len(found)]:
                    return None
                if frame.pts == wanted[len(found)]:
                    if frame.is_corrupt:  # perhaps for want of what came before
                        return None
                    found.append(convert(frame))
                    if not shown:
                        sums.append(checksum(frame))
                    if len(found) == len(wanted):
                        return found, sums
    return None
