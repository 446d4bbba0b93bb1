"""Clips from webdataset tar shards, read at random by byte ranges: local files, or an http server's.

Nothing is streamed in order, so nothing depends on which shard a process holds: the order is the same function of
seed and epoch as for a folder, uneven shards and more workers than shards do no harm, a run resumes at any step, and no
process fetches a member that another one owns.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
from torch import Tensor

from videodiff.data.byte_ranges import is_url, read_range
from videodiff.data.clips import ClipSource
from videodiff.data.shard_index import Sample, ShardIndex, find_shards, index_shards, to_cache
from videodiff.data.shard_splits import number_classes, split_shards
from videodiff.data.video_io import BadVideoError, VideoInfo, probe, read_frames
from videodiff.frame_size import Resolution
from videodiff.say import all_too_short, counted, none_can_be
from videodiff.seeding import uniform


class ShardSource(ClipSource):
    """The videos of one split of a set of tar shards.

    Splits are taken from sub-folders train, val and test, or from those words in the names of all shards
    (``clips-train-000000.tar``); without either, about `val_fraction` of the samples, drawn by a hash of their keys,
    are validation and test. Local videos are counted by demuxing every one once; those behind http are counted when
    they are first read, and one that turns out too short is replaced like one that cannot be read.

    Args:
        paths: folder, tar file, glob, brace pattern (``a-{000000..000099}.tar``), http(s) URL, or a list of them.
        split: train, val or test.
        needed: frames that a clip spans; shorter videos are skipped.
        resolution: height and width of the frames that are read, one number for a square.
        val_fraction: share of the samples to validate with, if the shards are not split.
        limit: take this many samples, drawn by a hash of their keys.
        classes: whether to use ``cls`` and the json's ``label``.
        rule: how frames are resized (:mod:`videodiff.data.resize`).

    Attributes:
        skipped: ``(path, reason)`` of every sample left out, and of every shard that is cut short or damaged.
        captions: text of every sample, or None if there is none.
        fingerprint: hash over names, sizes and members of the shards.

    Raises:
        FileNotFoundError: if no shard is there.
        ValueError: if no sample is left, or classes are named for some samples only.
    """

    def __init__(
        self,
        paths: str | Sequence[str],
        split: str,
        needed: int,
        resolution: Resolution,
        val_fraction: float = 0.1,
        limit: int | None = None,
        classes: bool = True,
        rule: str = "antialias",
    ) -> None:
        self.resolution, self.needed, self.rule = resolution, needed, rule
        self.shards = index_shards(find_shards(paths))
        self.skipped: list[tuple[str, str]] = []
        self.num_unreadable = 0
        for shard in self.shards:
            if shard.fault is not None:
                self._leave_out(
                    shard.file.path,
                    f"{shard.fault}; {counted(len(shard.samples), 'sample')} before that used",
                )
        self.class_names, class_ids = number_classes(self.shards) if classes else (None, {})
        self.fingerprint = _fingerprint(self.shards)
        chosen = _choose(split_shards(self.shards, split, val_fraction), limit)
        total = len(chosen)
        self._infos: dict[tuple[int, int], VideoInfo] = {}
        self._count_frames(sorted({at for at, _ in chosen}))
        self.places = self._long_enough(chosen)
        if not self.places:
            raise ValueError(self._nothing_left(split, total))
        self.shortened = [
            (self.name(at), sample.lacking)
            for at in range(len(self)) if (sample := self._sample(at)).lacking is not None
        ]  # fmt: skip
        self.labels = [class_ids[id(self._sample(at))] for at in range(len(self))] if self.class_names else []
        texts = [self._sample(at).caption for at in range(len(self))]
        self.captions: list[str] | None = [text or "" for text in texts] if any(texts) else None
        self._held: tuple[tuple[int, int], bytes] | None = None

    def _leave_out(self, name: str, reason: str) -> None:
        self.num_unreadable += 1
        self.skipped.append((name, reason))

    def _count_frames(self, shards: list[int]) -> None:
        """Demux every video of the local shards that no earlier run has demuxed."""
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            for number in shards:
                index = self.shards[number]
                unknown = [s for s in index.samples if s.frames is None and s.fault is None]
                if is_url(index.file.path) or not unknown:
                    continue
                for sample, found in zip(unknown, threads.map(partial(_look, index), unknown), strict=True):
                    if isinstance(found, VideoInfo):
                        sample.frames, sample.lacking = found.num_frames, found.lacking()
                    else:
                        sample.fault = found
                to_cache(index)

    def _long_enough(self, chosen: list[tuple[int, int]]) -> list[tuple[int, int]]:
        kept = []
        for number, at in chosen:
            index = self.shards[number]
            sample = index.samples[at]
            if sample.fault is not None:
                self._leave_out(f"{index.file.path}: {sample.member}", sample.fault)
            elif sample.frames is not None and sample.frames < self.needed:
                reason = f"{sample.frames} frames, {self.needed} needed"
                self.skipped.append((f"{index.file.path}: {sample.member}", reason))
            else:
                kept.append((number, at))
                if sample.unread is not None:
                    self._leave_out(f"{index.file.path}: {sample.unread}", "its video is used without it")
        return kept

    def _nothing_left(self, split: str, total: int) -> str:
        where = self.shards[0].file.path
        if not total:
            reason = f"; {self.skipped[0][1]}" if self.skipped else ""
            return f"no videos for {split} in {counted(len(self.shards), 'shard')}, the first {where}{reason}"
        longest = max((s.frames or 0 for shard in self.shards for s in shard.samples), default=0)
        if not longest:
            return f"{none_can_be('read', total, 'video', where)}; the first: {self.skipped[0][1]}"
        shards = f"{counted(len(self.shards), 'shard')}, the first {where},"
        return (
            f"{all_too_short(total, shards, counted(longest, 'frame'))}, "
            f"{self.needed} needed ((num_frames - 1) x frame_stride + 1)"
        )

    def _sample(self, index: int) -> Sample:
        number, at = self.places[index]
        return self.shards[number].samples[at]

    def __len__(self) -> int:
        return len(self.places)

    def num_frames(self, index: int) -> int:
        """Number of frames; a remote video is fetched for it, and held for the read that follows.

        Raises:
            BadVideoError: for a remote video that is damaged or too short.
        """
        frames = self._sample(index).frames
        if frames is None:
            frames = self._sample(index).frames = self._info(index).num_frames
        if frames < self.needed:
            raise BadVideoError(f"{self.name(index)}: {frames} frames, {self.needed} needed")
        return frames

    def read(self, index: int, start: int, num_frames: int, stride: int) -> Tensor:
        return self.read_frames(index, range(start, start + num_frames * stride, stride))

    def read_frames(self, index: int, numbers: Sequence[int]) -> Tensor:
        info = self._info(index)
        with _as_file(self._bytes(index), self.name(index)) as path:
            return read_frames(replace(info, path=path, identity=None), numbers, self.resolution, self.rule)

    def times(self, index: int) -> np.ndarray:
        return self._info(index).times()

    def _info(self, index: int) -> VideoInfo:
        place = self.places[index]
        if place not in self._infos:
            with _as_file(self._bytes(index), self.name(index)) as path:
                self._infos[place] = replace(probe(path), shown=self._sample(index).seeks)
        return self._infos[place]

    def _bytes(self, index: int) -> bytes:
        place = self.places[index]
        if self._held is None or self._held[0] != place:
            sample = self._sample(index)
            self._held = place, read_range(self.shards[place[0]].file, sample.offset, sample.size)
        return self._held[1]

    def name(self, index: int) -> str:
        return f"{self.shards[self.places[index][0]].file.path}: {self._sample(index).member}"


def _look(index: ShardIndex, sample: Sample) -> VideoInfo | str:
    name = f"{index.file.path}: {sample.member}"
    try:
        with _as_file(read_range(index.file, sample.offset, sample.size), name) as path:
            return probe(path)
    except BadVideoError as error:
        return str(error)


@contextmanager
def _as_file(data: bytes, name: str) -> Iterator[str]:
    """A path under which the decoder finds the bytes: in memory where the system has such files, else temporary.

    Messages about the path get the sample's name instead.
    """
    with ExitStack() as stack:
        handle = _memory_file()
        if handle is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            path = os.path.join(folder, "video")
            handle = os.open(path, os.O_CREAT | os.O_RDWR)
        else:
            path = f"/proc/self/fd/{handle}"
        stack.callback(os.close, handle)
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(data)
        try:
            yield path
        except ValueError as error:
            raise type(error)(str(error).replace(path, name)) from error


def _memory_file() -> int | None:
    """An anonymous file in memory that has a path (Linux), else None."""
    try:
        handle = os.memfd_create("video")
    except (AttributeError, OSError):
        return None
    if os.path.isfile(f"/proc/self/fd/{handle}"):
        return handle
    os.close(handle)
    return None


def _fingerprint(shards: Sequence[ShardIndex]) -> str:
    """Hash over base name, size and sample list of the shards, in their order; the folder may move."""
    digest = hashlib.blake2b(digest_size=16)
    for shard in shards:
        name = shard.file.path.replace(os.sep, "/").rpartition("/")[2]
        digest.update(f"{name}\0{shard.file.size}\n".encode(errors="surrogateescape"))
        for sample in shard.samples:
            digest.update(
                f"{sample.member}\0{sample.offset}\0{sample.size}\n".encode(errors="surrogateescape")
            )
    return digest.hexdigest()


def _choose(places: list[tuple[int, int]], limit: int | None) -> list[tuple[int, int]]:
    if limit is None or limit >= len(places):
        return places
    return sorted(sorted(places, key=lambda place: uniform("limit", *place))[:limit])
