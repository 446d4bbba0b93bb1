"""Drift of long video: metrics of windows along time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videodiff.evaluation.measurement import Measurement
from videodiff.evaluation.plan import Batch
from videodiff.metrics.entry import mean_entry


def drift(videos: Tensor, measurement: Measurement) -> list[dict[str, Any]]:
    """Metrics of each window of the protocol's clip length, ``{"frames": [first, last], "metrics": {...}}``.

    On the built-in data all metrics of the protocol, against the same real clips (what holds of real clips holds at
    any time); elsewhere statistics of frames, which need no network. A last part shorter than a window is left out.
    Every entry has the count of its videos; few make its interval wide, and a distance of fewer than 4 has none.

    Args:
        videos: long ones, uint8 ``[M, F, H, W, 3]``.
        measurement: of the comparison.
    """
    size, batch_size = measurement.protocol.frames, measurement.batch_size
    found = []
    for first in range(0, videos.shape[1] - size + 1, size):
        window = videos[:, first : first + size]
        batches = [
            Batch(list(range(i, i + len(part))), part)
            for i, part in zip(range(0, len(window), batch_size), window.split(batch_size), strict=True)
        ]
        metrics = statistics(batches)
        if measurement.is_built_in and len(videos) > 1:
            side = measurement.observe(batches, f"frames {first} to {first + size - 1}", len(videos))
            metrics |= measurement.result(side).metrics
        found.append({"frames": [first, first + size - 1], "metrics": metrics})
    return found


def statistics(batches: Iterable[Batch]) -> dict[str, dict[str, Any]]:
    """Statistics of frames, means over clips in grey levels.

    Brightness; contrast (standard deviation within a frame); detail (mean difference of neighbouring pixels); change
    (mean difference of neighbouring frames).
    """
    parts: dict[str, list[Tensor]] = {"brightness": [], "contrast": [], "detail": [], "change": []}
    for batch in batches:
        grey = batch.clips.double().mean(-1)  # [B, T, H, W]
        parts["brightness"].append(grey.flatten(1).mean(1))
        parts["contrast"].append(grey.flatten(2).std(2, correction=0).mean(1))
        sides = grey.diff(dim=2).abs().flatten(1).mean(1) + grey.diff(dim=3).abs().flatten(1).mean(1)
        parts["detail"].append(sides / 2)
        still = torch.zeros(len(grey), dtype=torch.float64)
        parts["change"].append(grey.diff(dim=1).abs().flatten(1).mean(1) if grey.shape[1] > 1 else still)
    return {
        f"frame_{name}": mean_entry(np.concatenate([p.numpy() for p in values]))
        for name, values in parts.items()
    }
