"""What is asked of videos that are to be drawn, besides how many and how long."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Request:
    """What is known of the videos to draw, from the command line to the metrics.

    Attributes:
        label: class of each video ``[B]`` int64 (-1: none), or None.
        frames: known frames ``[B, 3, n, H, W]`` in [-1, 1], or None.
        positions: where those ``n`` frames lie in the video, ascending.
        low_resolution: the whole video at a lower resolution ``[B, 3, T, h, w]`` in [-1, 1], or None.

    Raises:
        ValueError: if frames and positions differ in number, or positions do not ascend from 0.
    """

    label: Tensor | None = None
    frames: Tensor | None = None
    positions: tuple[int, ...] = ()
    low_resolution: Tensor | None = None

    def __post_init__(self) -> None:
        count = 0 if self.frames is None else self.frames.shape[2]
        if count != len(self.positions):
            raise ValueError(f"{count} known frames were given for {len(self.positions)} positions")
        if list(self.positions) != sorted(set(self.positions)) or any(p < 0 for p in self.positions):
            raise ValueError(f"positions of known frames must ascend from 0, got {self.positions}")

    def tensors(self) -> dict[str, Tensor]:
        """The fields that hold something of each video, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def expand(self, num_videos: int) -> Request:
        """The same for ``num_videos`` videos, from what was asked of one."""
        return self._with({n: v.expand(num_videos, *[-1] * (v.ndim - 1)) for n, v in self.tensors().items()})

    def only(self, names: Collection[str]) -> Request:
        """What is asked in the fields of these names; the others are None."""
        left_out: dict[str, Any] = {name: None for name in self.tensors() if name not in names}
        return self._with(left_out | ({} if "frames" in names else {"positions": ()}))

    def to(self, device: torch.device | str) -> Request:
        """The request with every tensor on ``device``."""
        return self._with({name: value.to(device) for name, value in self.tensors().items()})

    def _with(self, tensors: Mapping[str, Any]) -> Request:
        return replace(self, **tensors)
