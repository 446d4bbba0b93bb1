"""Properties of a video file from its packets, without decoding it.

Whatever is wrong with a file is raised as :class:`BadVideoError`, one line with its path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import av
import numpy as np

from videodiff.data.video_file import (
    BadVideoError,
    open_stream,
    packets_of,
    pixel_aspect,
    reading,
    regular_file,
)
from videodiff.data.video_proof import FrameSums

# Headers of good files promise a frame or two too many; one that promises many more was cut off.
MIN_SHARE = 0.95
# Where a stream is cut, so many frames may stand on the screen behind one that came after them in the file.
REORDERED = 3
MAX_BYTES = 4 * 2**30  # of a whole decoded video
# Frames a second that a header may claim; 90000 and one in a year are the clock's units, or a damaged stamp.
RATES = (0.01, 1000.0)


@dataclass(frozen=True)
class VideoInfo:
    """What one pass over the packets of a file tells, all but without decoding.

    Args:
        path: absolute path.
        num_frames: number of frames (of packets: damage inside them shows only when they are decoded).
        pts: their time stamps in display order, in units of the stream, a `range` where they are even;
            None if the file has none or repeats some, which makes every read start at the first frame.
        fps: mean frames per second; 0 if the file does not say, or nothing believable.
        width: declared width in pixels, before rotation.
        height: declared height in pixels, before rotation.
        time_base: seconds of one unit of `pts`.
        declared: number of frames that the header promises, without those that an edit list hides; 0 if it does not
            say.
        lead: frames left out at the beginning, which refer to what was cut off.
        tail: frames left out at the end, which are only partly there or lack those before them.
        keys: time stamps of the packets called key frames, rising, int64.
        has_keys: whether any packet is called a key frame.
        identity: bytes and time of the last change of the file; None where it is not to be compared.
        pixel_aspect: width of a pixel over its height.
        shown: whether seeking in the file was compared with its linear decode when it was written, so that no reader
            has to show it again.
        sums: what was shown about seeking in the file.
    """

    path: str
    num_frames: int
    pts: range | np.ndarray | None
    fps: float
    width: int
    height: int
    time_base: float = 0.0
    declared: int = 0
    lead: int = 0
    tail: int = 0
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    has_keys: bool = False
    identity: tuple[int, int] | None = None
    pixel_aspect: float = 1.0
    shown: bool = False
    sums: FrameSums = field(default_factory=lambda: FrameSums(0), compare=False)

    def lacking(self) -> str | None:
        """What is known to be cut off, in words; None if nothing is."""
        ends = []
        if self.lead:
            ends.append(f"the first {self.lead} refer to frames that were cut off")
        if self.tail:
            ends.append("the end was cut off")
        promised = self.num_frames + self.lead + self.tail
        if self.num_frames < MIN_SHARE * self.declared:
            promised = max(promised, self.declared)
        elif not ends:
            return None
        return ", ".join([f"{self.num_frames} of {promised} frames", *ends])

    def origins(self, number: int) -> list[int]:
        """Time stamps to seek to for a frame: of the key frames up to it, the nearest last; there is at least one."""
        assert self.pts is not None
        stamp = int(self.pts[number])
        upto = int(np.searchsorted(self.keys, stamp, side="right"))
        return self.keys[:upto].tolist() or [stamp]

    def first_frame(self, stamp: int) -> int:
        """Number of the first frame that is shown at a time stamp, or after it."""
        return int(np.searchsorted(np.asarray(self.pts), stamp))

    def check_identity(self) -> None:
        """Refuse a file that is not the one that was probed.

        Raises:
            BadVideoError: if its size or the time of its last change is another.
        """
        stat = os.stat(self.path)
        if self.identity is not None and self.identity != (stat.st_size, stat.st_mtime_ns):
            raise BadVideoError(f"{self.path}: changed since its frames were counted; start again")

    def times(self) -> np.ndarray:
        """Seconds from the first frame to each, float64 ``[num_frames]``, in display order.

        Raises:
            BadVideoError: if the file has neither time stamps nor a frame rate.
        """
        if self.pts is not None and self.time_base > 0:
            # of floats: the span of wild stamps is none of int64
            return (np.asarray(self.pts, dtype=np.float64) - float(self.pts[0])) * self.time_base
        if self.fps > 0:
            return np.arange(self.num_frames) / self.fps
        raise BadVideoError(
            f"{self.path}: neither time stamps nor a frame rate, so no fps can be asked of it"
        )


def _stamps(packets: list[int | None]) -> range | np.ndarray | None:
    """Time stamps in display order; None where one is missing or two are equal."""
    if None in packets or len(set(packets)) < len(packets):
        return None
    pts = sorted(p for p in packets if p is not None)
    step = pts[1] - pts[0] if len(pts) > 1 else 1
    if pts == list(range(pts[0], pts[0] + step * len(pts), step)):
        return range(pts[0], pts[0] + step * len(pts), step)
    return np.asarray(pts, dtype=np.int64)


def _behind_a_gap(pts: range | np.ndarray, stamps: list[int | None]) -> int | None:
    """Where an even stream was cut within a group of frames: the number of the one behind the gap; else None.

    In the file that frame is followed by one which stands before it on the screen, so what is to fill the gap was
    still coming.
    """
    if isinstance(pts, range) or len(pts) < 2 * REORDERED:
        return None
    steps = np.diff(pts)
    gap = int(np.argmax(steps != steps[0])) + 1
    if len(pts) - gap > REORDERED or steps[gap - 1] < steps[0]:
        return None
    behind = int(pts[gap])
    # a packet that was cut may have lost its stamp
    after = [stamp for stamp in stamps[stamps.index(behind) :] if stamp is not None]
    return gap if min(after) < behind else None


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Count frames and collect their time stamps by demuxing; headers are not believed.

    Only where packets come before the first key frame, in the file or on the screen, is the first frame decoded too:
    such a stream was cut, and what refers to the missing part is left out, as a player does.

    Raises:
        FileNotFoundError: if there is no such file.
        BadVideoError: if it cannot be opened or holds no frame.
    """
    path = regular_file(path)
    stat = os.stat(path)
    with reading(path), open_stream(path) as (container, stream):
        aspect, declared = pixel_aspect(stream), _declared(container, stream)
        packets = [_Packet(p) for p in packets_of(path, container, stream) if p.size > 0]
        kept = [p for p in packets if not p.hidden]
        num_packets, stamps = len(kept), [p.stamp for p in kept]
        while kept and kept[-1].is_cut:
            kept.pop()
        if not kept:
            raise BadVideoError(f"{path}: no frames")
        unstamped = _unstamped_lead(path, kept)
        del kept[1 : 1 + unstamped]
        pts = _stamps([p.stamp for p in kept])
        if pts is not None:
            pts = pts[: _behind_a_gap(pts, stamps)]
        tail = num_packets - unstamped - (len(kept) if pts is None else len(pts))
        keys = [p.stamp for p in packets if p.is_key]
        lead = 0
        if pts is not None and keys and keys[0] is not None and keys[0] > pts[0]:
            lead = _undecodable_lead(path, pts, keys[0])
            pts = pts[lead:]
        lead += unstamped
        context = stream.codec_context
        num_frames = num_packets - tail - lead
        return VideoInfo(
            path, num_frames, pts, believable_rate(stream), context.width, context.height,
            float(stream.time_base or 0), max(0, declared - sum(p.hidden for p in packets)), lead, tail,
            np.asarray(sorted(key for key in keys if key is not None), np.int64), bool(keys),
            (stat.st_size, stat.st_mtime_ns), aspect, sums=FrameSums(num_frames),
        )  # fmt: skip


def believable_rate(stream: av.VideoStream) -> float:
    """Mean frames per second of a stream; 0 where it says nothing, or nonsense."""
    rate = float(stream.average_rate or 0)
    return rate if RATES[0] <= rate <= RATES[1] else 0.0


def _declared(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    """How many frames the header promises; samples of a mov that its edit list passes over are not in the index."""
    if "mov" in container.format.name.split(","):
        return min(stream.frames, len(stream.index_entries))
    return stream.frames


class _Packet:
    """What is kept of a packet: its data go at once."""

    __slots__ = ("hidden", "is_cut", "is_key", "stamp")

    def __init__(self, packet: av.Packet) -> None:
        self.stamp = packet.dts if packet.pts is None else packet.pts
        self.is_key, self.is_cut, self.hidden = packet.is_keyframe, packet.is_corrupt, packet.is_discard


def _unstamped_lead(path: str, packets: list[_Packet]) -> int:
    """How many frames that follow the first key frame in the file refer to what was cut off and lost their stamps.

    They would be shown before that key frame, and Matroska holds no stamps below 0. Decoders leave them out.
    """
    last = next((at for at, packet in enumerate(packets) if at and packet.stamp is not None), 1)
    if last == 1 or packets[0].stamp is None or not packets[0].is_key or not packets[last:]:
        return 0
    begin = sorted(
        packet.stamp
        for packet in packets[:1] + packets[last : last + 2 * REORDERED]
        if packet.stamp is not None
    )
    with open_stream(path) as (container, stream):
        for frame, stamp in zip(frames_of(path, container, stream, from_key=True), begin[:2], strict=False):
            if frame.pts != stamp:
                return 0
    return last - 1


def _undecodable_lead(path: str, pts: range | np.ndarray, first_key: int) -> int:
    """How many frames come before the first that decodes, from the first key frame on."""
    with open_stream(path) as (container, stream):
        for frame in frames_of(path, container, stream, from_key=True):
            if frame.is_corrupt:
                continue
            first = first_key if frame.pts is None or frame.pts > first_key else frame.pts
            return int(np.searchsorted(np.asarray(pts), first))
    return 0


def frames_of(
    path: str,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    from_key: bool,
    goes_on: bool = False,
    patience: int = 1,
) -> Iterator[av.VideoFrame]:
    """Frames as the decoder hands them out.

    Args:
        path: of the file, for messages.
        container: the open file.
        stream: its video.
        from_key: begin at the first packet called a key frame, not at the first packet.
        goes_on: go on at the next key frame after a packet that the decoder refuses.
        patience: how often `MAX_SECONDS` it may take.
    """
    waiting = from_key
    for packet in packets_of(path, container, stream, patience):
        if waiting and packet.size and not packet.is_keyframe:
            continue
        waiting = False
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            if not goes_on:
                raise
            yield from stream.codec_context.decode(None)  # what it still held
            stream.codec_context.flush_buffers()
            waiting = True
