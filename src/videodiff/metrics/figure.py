"""Exact figures of single clips, such as the speed of a digit, as a torchmetrics class."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from videodiff.metrics.clip_metric import ClipMetric, Table
from videodiff.metrics.directory import metric_info
from videodiff.metrics.entry import Entry, mean_entry


class ClipFigure(ClipMetric):
    """Mean over generated clips of one number per clip, over the clips for which it is defined.

    Args:
        name: of the figure; the directory of metrics knows its bounds.
        num_clips: how many clips the protocol asks for; fewer make ``compute`` warn.
        kwargs: of ``torchmetrics.Metric``.
    """

    def __init__(self, name: str, num_clips: int | None = None, **kwargs: Any) -> None:
        super().__init__(num_clips=num_clips, **kwargs)
        self.name = name
        self._held: dict[str, np.ndarray] = {}
        self._add_table("generated", Table(1))

    def update(self, values: Tensor, index: Tensor | None = None) -> None:
        """Add the figures of clips, ``[B]``; NaN where one is not defined.

        Args:
            values: one per clip.
            index: number of each clip in its set, ``[B]``; repeats are dropped.
        """
        self._append("generated", torch.as_tensor(values)[:, None], index)

    def use(self, generated: np.ndarray, real: np.ndarray | None = None) -> ClipFigure:
        """Take figures ``[N]`` of clips that were seen before; those of real clips give the floor of :meth:`entry`."""
        self._held = {"generated": generated, **({} if real is None else {"real": real})}
        self._update_count += 1
        return self

    def per_clip(self) -> np.ndarray:
        """Figures of all clips of all processes in their order, ``[N]``; call it on every process."""
        if "generated" in self._held:
            return self._held["generated"]
        with self._over_processes():
            return self._gathered("generated")[0][:, 0]

    def entry(self) -> Entry:
        """Mean, median and interval, and the mean of real clips as the floor; call it on every process."""
        within = metric_info(self.name).within
        entry = mean_entry(self.per_clip(), within, with_median=True)
        real = self._held.get("real")
        if entry["value"] is not None and real is not None and np.isfinite(real).any():
            entry["floor"] = float(real[np.isfinite(real)].mean())
        return entry

    def compute(self) -> Tensor:
        """Mean over the clips for which it is defined, float64; NaN where there is none.

        Raises:
            ValueError: if there is no clip.
        """
        values = self._held.get("generated")
        values = self._gathered("generated")[0][:, 0] if values is None else values
        if not len(values):
            raise ValueError(f"{self.name} needs at least 1 clip, got 0")
        self._check_count("generated", len(values))
        known = values[np.isfinite(values)]
        return torch.tensor(known.mean() if len(known) else np.nan, dtype=torch.float64)
