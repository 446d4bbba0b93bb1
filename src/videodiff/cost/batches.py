"""A batch as the data would give it, and random choices that do not depend on numbers in it.

On tensors without numbers none can be read, so the coins that choose rows of a batch (which clip pairs are learnt,
which latent frames are given) are replaced by their largest case. All else is the model's own code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from videodiff.conditioning import Keys
from videodiff.models.trained import TrainedModule


def make_batch(model: TrainedModule, data: Mapping[str, Any], size: int, device: str) -> dict[str, Any]:
    """``size`` samples of the config's data, with ``video [size, 3, T, H, W]`` fp32."""
    return {**model.example_batch(data, size, device), "sample": _Positions(size)}


def keep_latents(model: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """The same batch as a cache of first-stage latents gives it."""
    return {**{k: v for k, v in batch.items() if k != "video"}, "latent": model.latents_of(batch["video"])}


def without_randomness(model: TrainedModule) -> None:
    """Replace, on this model alone, what reads numbers of a batch."""
    model.use_keys(EvenKeys)


class EvenKeys(Keys):
    """Coins that share a batch out evenly: of a share p of n samples, p n rounded up."""

    def coins(self, *name: str) -> np.ndarray:
        return np.arange(len(self.positions), dtype=np.float32) / np.float32(len(self.positions))


class _Positions:
    """Places in the training stream, which tensors without numbers could not tell."""

    def __init__(self, size: int) -> None:
        self.size = size

    def tolist(self) -> list[int]:
        return list(range(self.size))

    def __len__(self) -> int:
        return self.size
