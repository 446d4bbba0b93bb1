"""Clips from one file of uint8 frames: no decoder, no resize, only a copy out of the page cache."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videodiff.data.clips import ClipSource
from videodiff.data.prepared import read_manifest, read_prepared, sha256_of
from videodiff.data.resize import resize
from videodiff.frame_size import FrameSize, Resolution
from videodiff.say import all_too_short, counted
from videodiff.seeding import uniform

CHECKED_BYTES = 64 * 2**20  # of the videos hashed when a packed file is opened


class PackedSource(ClipSource):
    """The videos of one split of a folder that ``videodiff prepare --form packed`` wrote.

    The frames are mapped, not loaded: memory is the page cache's, shared by all loader workers and processes. Header,
    manifest, file sizes, and the hashes of the first and the last video are compared when the folder is opened;
    ``videodiff prepare --check`` compares all.

    Args:
        root: the prepared folder.
        split: train, val or test; a split that was not prepared is replaced as a folder of videos would (val by test
            or train, test by val).
        needed: frames that a clip spans; shorter videos are skipped.
        resolution: height and width of the frames that are read, one number for a square; at most the prepared ones,
            from which they are resized.
        limit: take this many videos, drawn by a hash of their names.
        rule: how frames are to be resized (:mod:`videodiff.data.resize`); it must be the one that they were.

    Attributes:
        skipped: ``(path, reason)`` of every video left out because it is too short.
        captions: text of every video, or None if there is none.
        fingerprint: hash of the manifest.

    Raises:
        FileNotFoundError: if the folder is not prepared.
        ValueError: if manifest and data do not belong together, the form is another one, the frames are smaller than
            `resolution`, or no video is long enough.
    """

    def __init__(
        self,
        root: str,
        split: str,
        needed: int,
        resolution: Resolution,
        limit: int | None = None,
        rule: str = "antialias",
    ) -> None:
        prepared = read_prepared(root)
        if prepared.form != "packed":
            raise ValueError(f"{prepared.root} holds {prepared.form}, not packed frames")
        prepared.check_request(resolution, rule)
        self.root, self.size, self.rule = prepared.root, prepared.frame_size, rule
        self.resolution = FrameSize.of(resolution)
        self.fingerprint, self.fps = prepared.manifest_sha256, prepared.fps
        self.class_names = prepared.class_names
        self.skipped: list[tuple[str, str]] = []
        self.num_unreadable = 0
        self.lines = self._long_enough(choose(read_manifest(self.root, split), limit), needed)
        if self.class_names is not None:
            self.labels = [self.class_names.index(line["label"]) for line in self.lines]
        texts = [line["caption"] for line in self.lines]
        self.captions: list[str] | None = [text or "" for text in texts] if any(texts) else None
        self._check_ends()
        self._maps: dict[str, np.ndarray] = {}

    def _long_enough(self, lines: list[dict[str, Any]], needed: int) -> list[dict[str, Any]]:
        kept = [line for line in lines if line["out"]["frames"] >= needed]
        self.skipped = [
            (line["path"], f"{line['out']['frames']} frames, {needed} needed")
            for line in lines
            if line["out"]["frames"] < needed
        ]
        if not kept:
            longest = max((line["out"]["frames"] for line in lines), default=0)
            raise ValueError(
                f"{all_too_short(len(lines), str(self.root), counted(longest, 'frame'))}, {needed} "
                "needed ((num_frames - 1) x frame_stride + 1)"
            )
        return kept

    def _check_ends(self) -> None:
        for line in (self.lines[0], self.lines[-1]):
            out = line["out"]
            path = os.path.join(self.root, out["file"])
            size = out["frames"] * self.size.pixels * 3
            if size <= CHECKED_BYTES and sha256_of(path, out["offset"], size) != out["sha256"]:
                raise ValueError(
                    f"{path}: the frames of {line['path']} are not those of the manifest; run videodiff prepare again"
                )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}  # a map sent to another process would be copied whole

    def __len__(self) -> int:
        return len(self.lines)

    def num_frames(self, index: int) -> int:
        return self.lines[index]["out"]["frames"]

    def read(self, index: int, start: int, num_frames: int, stride: int) -> Tensor:
        out = self.lines[index]["out"]
        last = start + (num_frames - 1) * stride
        if num_frames < 1 or stride < 1 or start < 0 or last >= out["frames"]:
            raise ValueError(f"{self.name(index)}: frames {start} to {last} asked, {out['frames']} there")
        if out["file"] not in self._maps:
            self._maps[out["file"]] = np.memmap(os.path.join(self.root, out["file"]), np.uint8, "r")
        bytes_per_frame = self.size.pixels * 3
        begin = out["offset"] + start * bytes_per_frame
        frames = self._maps[out["file"]][begin : begin + (last - start + 1) * bytes_per_frame]
        frames = frames.reshape(-1, *self.size, 3)[::stride]
        clip = torch.from_numpy(np.array(frames))
        return clip if self.resolution == self.size else resize(clip, self.resolution, self.rule)

    def times(self, index: int) -> np.ndarray:
        line = self.lines[index]
        fps = self.fps or (line["fps"] if line["even"] else None)
        if fps is None:
            raise ValueError(
                f"{self.name(index)}: its frames are not evenly spaced in time; prepare it with --fps"
            )
        return np.arange(line["out"]["frames"]) / fps

    def name(self, index: int) -> str:
        return f"{self.root}: {self.lines[index]['path']}"


def choose(lines: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    """At most `limit` lines of a manifest in their order, drawn by a hash of their paths."""
    if limit is None or limit >= len(lines):
        return lines
    kept = sorted(range(len(lines)), key=lambda at: uniform("limit", lines[at]["path"]))[:limit]
    return [lines[at] for at in sorted(kept)]
