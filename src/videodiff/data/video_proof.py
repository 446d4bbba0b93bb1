"""Proves file by file that seeking is exact, by the hash of each frame when decoded from the beginning.

A decoder that is set down at a key frame may give other pixels than one that came there from the beginning: a palette,
a table or the name of the encoder may be told once, a flag may call a frame a key frame that is none, a stamp may lie.
No list of formats knows all of that, so nothing is believed that this file has not shown. Frames are read by seeking
only where an earlier linear decode has left their checksums, and are handed out only if they have the same. What was
never met is decoded from the beginning, which is right by definition, and leaves checksums for the next time.

In a file too long for that (:data:`videodiff.data.video_read.LINEAR_PIXELS`) the evidence is weaker: frames after the
second key frame of the file must come out as they do from its beginning, and each new window must come out alike from
two key frames. What is told once, somewhere in the middle and in no key frame after it, would be missed there.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache

import av
import numpy as np

HEAD = 3  # numbers in front of the checksums
SEEK, PRIMED, LINEAR = 0, 1, 2  # ways to a window, each tried when the one before was disproved
UNTRIED, STAMPS, COUNT = 0, 1, 2  # what numbers a frame: its stamp, found to be true, or its place


class FrameSums:
    """What is known of one file's linear decode: a CRC-32 of every frame met, and what was disproved.

    The numbers lie in one array, so that loader workers can share them (:func:`share`). No lock is needed: all write
    the same values, and a number read too early only leads to a decode from the beginning.

    Args:
        num_frames: frames of the file.
    """

    def __init__(self, num_frames: int) -> None:
        self.size = HEAD + num_frames
        self.memory: np.ndarray | None = None

    def _open(self) -> np.ndarray:
        if self.memory is None:
            self.memory = np.zeros(self.size, np.uint32)
        return self.memory

    def _get(self, at: int) -> int:
        return 0 if self.memory is None else int(self.memory[at])

    @property
    def way(self) -> int:
        """How windows are reached: `SEEK`, `PRIMED` (the first frame is decoded before) or `LINEAR`."""
        return self._get(0)

    @way.setter
    def way(self, way: int) -> None:
        self._open()[0] = way

    @property
    def order(self) -> int:
        """What numbers the frames of the file: `STAMPS`, `COUNT`, or `UNTRIED` while all stamps were as expected."""
        return self._get(1)

    @property
    def decoded(self) -> int | None:
        """How many frames the file gives; None before it was decoded to its end."""
        return self._get(2) - 1 if self._get(2) else None

    def settle(self, order: int, decoded: int) -> None:
        """Keep what a decode of the whole file has shown."""
        self._open()[1] = order
        self.end(decoded)

    def end(self, decoded: int) -> None:
        """Keep how many frames a decode to the end of the file gave."""
        self._open()[2] = decoded + 1

    @property
    def begun(self) -> bool:
        """Whether the file was decoded from its beginning before."""
        return self.memory is not None and bool(self.memory[HEAD:].any())

    def know(self, numbers: Sequence[int]) -> bool:
        """Whether all of these frames have a checksum."""
        return self.memory is not None and bool(self.memory[HEAD:][list(numbers)].all())

    def record(self, number: int, checksum: int) -> None:
        self._open()[HEAD + number] = checksum

    def agree(self, numbers: Sequence[int], checksums: Sequence[int]) -> bool:
        """Whether these are the checksums of these frames."""
        return self.memory is not None and self.memory[HEAD:][list(numbers)].tolist() == list(checksums)


def share(all_sums: Iterable[FrameSums]) -> None:
    """Move the checksums of many files into memory that forked loader workers share: 4 bytes for each frame.

    Workers that are not forked get copies, and each makes its own proofs.
    """
    fresh = [sums for sums in {id(sums): sums for sums in all_sums}.values() if sums.memory is None]
    total = sum(sums.size for sums in fresh)
    if not total:
        return
    memory = np.frombuffer(mmap.mmap(-1, 4 * total), np.uint32)
    start = 0
    for sums in fresh:
        sums.memory = memory[start : start + sums.size]
        start += sums.size


@lru_cache(maxsize=64)
def _bytes_per_row(name: str, width: int, height: int) -> list[int]:
    """Bytes of a row of each plane that hold pixels."""
    layout = av.VideoFormat(name, width, height)
    planes = sorted({part.plane for part in layout.components})
    if len(planes) == 1:
        return [(width * layout.padded_bits_per_pixel + 7) // 8]
    return [
        sum(part.width * -(-part.bits // 8) for part in layout.components if part.plane == plane)
        for plane in planes
    ]


def checksum(frame: av.VideoFrame) -> int:
    """CRC-32 over all that a frame's RGB pixels are made from; never 0."""
    name = frame.format.name
    facts = (frame.width, frame.height, name, frame.colorspace, frame.color_range, frame.rotation)
    crc = zlib.crc32(repr(facts).encode())
    rows = _bytes_per_row(name, frame.width, frame.height)
    for number, plane in enumerate(frame.planes):
        data, line = np.frombuffer(memoryview(plane), np.uint8), plane.line_size
        if number < len(rows) and rows[number] < line and len(data) == plane.height * line:
            data = np.ascontiguousarray(data.reshape(-1, line)[:, : rows[number]])  # row ends hold anything
        crc = zlib.crc32(data.data, crc)
    return crc or 1
