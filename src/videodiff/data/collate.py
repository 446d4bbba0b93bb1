"""Samples to batches: what is stacked, and what stays a list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class StandIn:
    """Mark batches as those of a process that has no clip of its own: ``"stand_in": True``, not to be counted.

    A process without a batch would leave the loop that the others reduce their means in.

    Args:
        collate: makes the batches.
    """

    def __init__(self, collate: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self.collate(samples), "stand_in": True}


class Collate:
    """Stack samples to ``{"video": uint8 [B, 3, T + I, H, W], "sample": [B], "label": [B], "num_images": I}``.

    Classes of images become ``image_labels``, ``[B, I]``, captions a list of B texts, those of images B lists of I,
    actions ``[B, T + I, D]``.

    The video keeps the memory order of frames in files, channels last, which is what convolutions want.
    """

    def __init__(self, num_images: int) -> None:
        self.num_images = num_images

    def __call__(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        video = torch.stack([sample["video"] for sample in samples])  # [B, T + I, H, W, 3]
        beside = stacked_facts(samples)
        return {"video": video.permute(0, 4, 1, 2, 3), "num_images": self.num_images, **beside}


def stacked_facts(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """What is known of samples beside their clips.

    ``sample`` and ``label`` ``[B]``, ``image_labels`` ``[B, I]``, all int64; ``caption``, a list of B texts, and
    ``image_captions``, B lists of I texts; ``scene_caption``, B of :class:`~videodiff.data.captions.SceneCaption`;
    ``actions`` ``[B, T + I, D]`` fp32.
    """
    facts: dict[str, Any] = {
        key: torch.tensor([sample[key] for sample in samples], dtype=torch.int64)
        for key in ("sample", "label", "image_labels")
        if key in samples[0]
    }
    for key in ("caption", "image_captions", "scene_caption"):
        if key in samples[0]:
            facts[key] = [sample[key] for sample in samples]
    if "actions" in samples[0]:
        facts["actions"] = torch.stack([sample["actions"] for sample in samples])
    return facts
