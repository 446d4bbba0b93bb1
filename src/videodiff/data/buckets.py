"""Clips of mixed shapes in one run: each video goes to the bucket that it is nearest to.

The order of batches is in :mod:`videodiff.data.bucket_stream`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from videodiff.data.clips import ClipSource
from videodiff.data.selection import GENERATED, STORED, Selection
from videodiff.data.wrapped_sources import Part
from videodiff.frame_size import FrameSize
from videodiff.say import counted
from videodiff.seeding import uniform
from videodiff.usage import did_you_mean

KEYS = ("num_frames", "resolution", "batch_size", "share")
ASPECTS = (9 / 16, 3 / 4, 1.0, 4 / 3, 16 / 9)  # width over height of the buckets that are found
AUTO = "auto"


@dataclass(frozen=True)
class Bucket:
    """A shape that clips of a batch have in common.

    Args:
        num_frames: of a clip; 1 is still images.
        size: height and width of its frames.
        batch_size: clips of an optimizer step, over all processes and accumulated batches.
        share: of the videos that could fill it, those that do beside the bucket they are nearest to; None for a bucket
            that takes what is nearest to it.
    """

    num_frames: int
    size: FrameSize
    batch_size: int
    share: float | None = None

    @classmethod
    def of(
        cls, entry: Mapping[str, Any], number: int, num_frames: int, size: FrameSize, batch_size: int
    ) -> Bucket:
        """Read an entry of ``data.buckets``; what it leaves out is the data module's own.

        Raises:
            ValueError: naming the entry, counted from 0.
        """
        name = f"buckets.{number}"
        if not isinstance(entry, Mapping):
            raise ValueError(f"{name} must be a mapping of {', '.join(KEYS)}, got {entry!r}")
        for key in entry:
            if key not in KEYS:
                raise ValueError(
                    f"{name}: unknown key {key!r}; {', '.join(KEYS)}{did_you_mean(str(key), KEYS)}"
                )
        given = {"num_frames": num_frames, "batch_size": batch_size, "resolution": size, **entry}
        for key in ("num_frames", "batch_size"):
            if type(given[key]) is not int or given[key] < 1:
                raise ValueError(f"{name}.{key} must be a whole number of at least 1, got {given[key]!r}")
        share = given.get("share")
        if share is not None and (isinstance(share, bool | str) or not 0 < share <= 1):
            raise ValueError(f"{name}.share must lie in (0, 1], got {share!r}")
        frame = FrameSize.of(given["resolution"], f"{name}.resolution")
        return cls(given["num_frames"], frame, given["batch_size"], share)

    @property
    def pixels(self) -> int:
        """Of a batch, in all frames."""
        return self.batch_size * self.num_frames * self.size.pixels

    def record(self) -> dict[str, Any]:
        """As a fingerprint holds it."""
        return {
            "num_frames": self.num_frames, "resolution": self.size.written, "batch_size": self.batch_size,
            "share": self.share,
        }  # fmt: skip

    def __str__(self) -> str:
        return f"{counted(self.num_frames, 'frame')} of {self.size.height}x{self.size.width}"


def read_buckets(
    given: Sequence[Mapping[str, Any]] | str | None, num_frames: int, size: FrameSize, batch_size: int
) -> list[Bucket] | None:
    """The buckets of an option; None for ``auto``, which takes the videos to be known.

    Raises:
        ValueError: for a mistake in one of them, two of one shape, or an empty list.
    """
    if isinstance(given, str):
        if given != AUTO:
            raise ValueError(f"buckets must be {AUTO} or a list of {{{', '.join(KEYS)}}}, got {given!r}")
        return None
    found = [Bucket.of(entry, i, num_frames, size, batch_size) for i, entry in enumerate(given or ())]
    if given is not None and not found:
        raise ValueError("buckets is empty; leave it out for clips of one shape")
    shapes = [(bucket.num_frames, bucket.size) for bucket in found]
    for i, shape in enumerate(shapes):
        if shape in shapes[:i]:
            raise ValueError(f"buckets.{i}: {found[i]} is there twice")
    return found


def nearest(buckets: Sequence[Bucket], frames: int, stride: int, size: FrameSize | None) -> int | None:
    """Number of the bucket that a video goes to; None if it is too short for all.

    The nearest proportions count first, as the ratio of width to height; then the longest clip that the video holds;
    then the largest frames that are not larger than its own, or the smallest.

    Args:
        buckets: those with a share take no part.
        frames: of the video.
        stride: between the frames of a clip.
        size: of its frames; None where they have no size of their own, and all proportions are as near.
    """

    def key(i: int) -> tuple[float, int, bool, int]:
        bucket = buckets[i]
        apart, is_larger = 0.0, False
        if size is not None:
            apart = abs(math.log(size.width / size.height * bucket.size.height / bucket.size.width))
            is_larger = bucket.size.pixels > size.pixels
        pixels = bucket.size.pixels
        return round(apart, 6), -bucket.num_frames, is_larger, pixels if is_larger else -pixels

    fit = [
        i
        for i, bucket in enumerate(buckets)
        if bucket.share is None and (bucket.num_frames - 1) * stride + 1 <= frames
    ]
    return min(fit, key=key, default=None)


def found_buckets(base: Bucket, sizes: Sequence[tuple[int, FrameSize | None]], stride: int) -> list[Bucket]:
    """The buckets that some videos ask for: frames of about the pixels of ``base`` in usual proportions, and stills.

    Sides are multiples of the largest power of two, up to 16, that both of ``base``'s are multiples of.

    Args:
        base: shape and batch where a bucket has nothing else.
        sizes: frames and frame size of each video.
        stride: between the frames of a clip.
    """
    factor = math.gcd(16, *base.size)
    shapes = []
    for aspect in ASPECTS:
        height = math.sqrt(base.size.pixels / aspect)
        shapes.append(FrameSize(round(height), round(height * aspect)).nearest(factor))
    lengths = [base.num_frames, 1] if base.num_frames > 1 else [1]
    known = [
        replace(base, num_frames=length, size=shape) for length in lengths for shape in dict.fromkeys(shapes)
    ]
    taken = {nearest(known, frames, stride, size or base.size) for frames, size in sizes}
    return [bucket for i, bucket in enumerate(known) if i in taken]


def open_buckets(
    selection: Selection, buckets: list[Bucket] | None, base: Bucket, seed: int
) -> tuple[list[Bucket], list[Part]]:
    """The training videos by bucket.

    Args:
        selection: of the data.
        buckets: None to find them from the videos' own shapes.
        base: shape and batch size of the data module.
        seed: by which the videos of a bucket with a share are chosen.

    Returns:
        The buckets and the videos of each.

    Raises:
        ValueError: for a bucket without a video, or data whose videos have no shapes of their own to go by.
    """
    if selection.dataset not in GENERATED and selection.found in STORED:
        raise ValueError(
            f"data.buckets need a tree of files or a built-in set, {selection.root} is {selection.found}: its frames "
            "have one shape"
        )
    stride = selection.rule.frame_stride
    lengths = [bucket.num_frames for bucket in buckets or [base, replace(base, num_frames=1)]]
    # a built-in video has as many frames as are asked for, a file those that it has: all of them that one bucket takes
    length = max(lengths) if selection.dataset in GENERATED else min(lengths)
    every = source_of(selection, length, base.size)
    sizes = [(every.num_frames(i), shown_size(every, i)) for i in range(len(every))]
    found = found_buckets(base, sizes, stride) if buckets is None else buckets
    members: list[list[int]] = [[] for _ in found]
    for i, (frames, size) in enumerate(sizes):
        if (own := nearest(found, frames, stride, size)) is not None:
            members[own].append(i)
        for k, bucket in enumerate(found):
            holds = (bucket.num_frames - 1) * stride + 1 <= frames
            if bucket.share is not None and holds and uniform(seed, "bucket", k, i) < bucket.share:
                members[k].append(i)
    parts = []
    for k, (bucket, own_videos) in enumerate(zip(found, members, strict=True)):
        if not own_videos:
            raise ValueError(
                f"data.buckets.{k} ({bucket}) holds no clip: none of {counted(len(every), 'video')} is long enough and "
                "nearest to it; take it out, or give it a share of the videos"
            )
        source = source_of(selection, bucket.num_frames, bucket.size)
        places = {source.name(i): i for i in range(len(source))}
        parts.append(Part(source, [places[every.name(i)] for i in own_videos]))
    return found, parts


def shown_size(source: ClipSource, index: int) -> FrameSize | None:
    """The frame size of a video; None of one that cannot be opened, which is told where it is read."""
    try:
        return source.size_of(index)
    except (ValueError, OSError):
        return None


def source_of(selection: Selection, num_frames: int, size: FrameSize) -> ClipSource:
    """The training videos that hold clips of a length, frames of a size; the tree is listed once."""
    chosen = replace(selection, num_frames=num_frames)
    if "listing" in selection.__dict__:
        chosen.__dict__["listing"] = selection.listing
    return chosen.source("train", size)
