"""What an evaluation needs of a run: the real clips of its data, and how its model draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from videodiff.data.clips import ClipSource
from videodiff.data.pixels import to_uint8
from videodiff.evaluation.detectors import BUILT_IN
from videodiff.evaluation.protocol import Protocol
from videodiff.evaluation.sampling import ClipPlan


def unfit(data: Any, model: Any, protocol: Protocol | None) -> str | None:
    """Why clips of these data or this model cannot be evaluated; None if they can."""
    if not hasattr(data, "selection"):
        return f"{type(data).__name__} is not a VideoDataModule, whose clips a protocol can choose"
    if not (hasattr(model, "generate") and hasattr(model, "video_shape")):
        return f"{type(model).__name__} does not generate videos"
    if protocol is None and data.dataset in BUILT_IN and model.video_shape[1] < 4:
        return f"the evaluator needs clips of at least 4 frames, the model draws {model.video_shape[1]}"
    return None


def real_source(data: Any, protocol: Protocol) -> ClipSource:
    """The videos of the protocol's split that are long enough for its clips; short ones are discarded."""
    explicit = {**data.selection.explicit, "frame_stride": protocol.stride, "short_videos": "skip"}
    return replace(data.selection, num_frames=protocol.frames, explicit=explicit).source(protocol.split)


def other_draws(source: Any, count: int) -> ClipSource:
    """As many further clips of a built-in set, none of which is among its first `count`."""
    longer = type(source)(source.split, 2 * count, source.span, source.resolution, source.seed)
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


def labels_of(model: Any, source: ClipSource, plan: ClipPlan) -> list[int] | None:
    """For a model with classes those of the real clips, so that both sides hold the same mix; else None."""
    if getattr(model.net, "num_classes", None) is None or not source.labels:
        return None
    return [source.labels[video] for video, _ in plan.windows]


def as_bytes(videos: Tensor, rounding: str) -> Tensor:
    """Videos in [-1, 1] to uint8: rounded, or truncated as ``(127.5 (x + 1))`` cast to integers does."""
    if rounding == "round":
        return to_uint8(videos)
    return videos.float().add(1).mul(127.5).clamp(0, 255).floor().to(torch.uint8)


def describe(model: Any) -> dict[str, Any]:
    """How a model draws."""
    inner = getattr(model.sampler, "predictor", model.sampler)
    options = {name: getattr(inner, name) for name in ("gamma", "eta", "delta") if hasattr(inner, name)}
    return {
        "class": type(model).__name__,
        "sampler": type(model.sampler).__name__,
        "steps": model.sampler.num_steps,
        "guidance": model.guidance_scale,
        **options,
    }
