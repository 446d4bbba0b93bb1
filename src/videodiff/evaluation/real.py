"""The real clips that a protocol takes of a data set, and what identifies them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from videodiff.data.clips import ClipSource
from videodiff.evaluation.detectors import BUILT_IN
from videodiff.evaluation.plan import ClipPlan
from videodiff.evaluation.protocol import Protocol
from videodiff.sampling.video_model import VideoModel


def real_source(data: Any, protocol: Protocol) -> ClipSource:
    """The videos of the protocol's split that are long enough for its clips; short ones are discarded."""
    explicit = {**data.selection.explicit, "frame_stride": protocol.stride, "short_videos": "skip"}
    if protocol.fps is not None and data.dataset in BUILT_IN:
        raise ValueError(
            f"protocol {protocol.label}: fps needs videos of a data.root, {data.dataset} is built in"
        )
    chosen = replace(data.selection, num_frames=protocol.frames, fps=protocol.fps, explicit=explicit)
    return chosen.source(protocol.split)


def identity_of(data: Any, split: str) -> dict[str, Any]:
    """What identifies the real clips of a split, for keys of references."""
    chosen = data.selection.clip_words(split)
    found = {**data.fingerprint(), "split": split, "limits": data.selection.limits}
    return found if chosen is None else {**found, "clip_words": chosen}


def data_record(data: Any, split: str) -> dict[str, Any]:
    """The same for the record of a result, with the places that a reader knows them by."""
    places = {"root": data.root, "clip_list": data.selection.clip_list}
    return identity_of(data, split) | {key: place for key, place in places.items() if place is not None}


def further_clips(source: Any, count: int) -> ClipSource:
    """As many further clips of a built-in set, none of which is among its first `count`."""
    longer = type(source)(
        source.split, 2 * count, source.span, source.resolution, source.seed, source.held_out
    )
    return Shifted(longer, count)


class Shifted(ClipSource):
    """The videos of a source from number `first` on."""

    def __init__(self, source: ClipSource, first: int) -> None:
        self.source, self.start = source, first

    def __len__(self) -> int:
        return len(self.source) - self.start

    def num_frames(self, index: int) -> int:
        return self.source.num_frames(self.start + index)

    def read(self, index: int, start: int, num_frames: int, stride: int) -> Tensor:
        return self.source.read(self.start + index, start, num_frames, stride)

    def name(self, index: int) -> str:
        return self.source.name(self.start + index)


def labels_of(model: VideoModel, source: ClipSource, plan: ClipPlan) -> list[int] | None:
    """For a model with classes those of the real clips, so that both sides hold the same mix; else None."""
    if model.num_classes is None or not source.labels:
        return None
    return [source.labels[video] for video, _ in plan.windows]
