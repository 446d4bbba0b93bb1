"""From clips to one array per figure: input checks, pieces of bounded memory, and means."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

PIXELS = 2**19  # of one piece: 32 clips of 16 x 32 x 32
# A class, not a quantity, and what is as often to one side as to the other: they say something of single clips alone.
NO_MEAN = ("digit", "velocity_x", "velocity_y")

Figures = dict[str, np.ndarray]


def check_clips(clips: Tensor, frames: int, size: int) -> None:
    """Raise unless `clips` is uint8 ``[B, T, H, W, 3]`` with a clip, enough frames and enough pixels.

    Raises:
        TypeError: if it is not uint8.
        ValueError: if its shape does not fit, with the rule and what came.
    """
    if clips.dtype != torch.uint8:
        raise TypeError(f"clips must be uint8 [B, T, H, W, 3], got dtype {clips.dtype}")
    shape = list(clips.shape)
    if clips.ndim != 5 or shape[-1] != 3 or shape[0] == 0:
        raise ValueError(f"clips must be uint8 [B, T, H, W, 3], at least one, got shape {shape}")
    if shape[1] < frames or min(shape[2:4]) < size:
        raise ValueError(f"clips need at least {frames} frames of {size} x {size} pixels, got shape {shape}")


def in_pieces(measure: Callable[[Tensor], Figures], clips: Tensor) -> Figures:
    """`measure` on a few clips at a time, so that memory does not grow with their number."""
    size = max(1, PIXELS // clips[0, ..., 0].numel())
    parts = [measure(part) for part in clips.cpu().split(size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def means(figures: Figures) -> dict[str, float]:
    """The mean of each figure over clips, and the median of the residual, which a few lost clips do not rule.

    Arrays of several batches are joined with ``numpy.concatenate`` first.
    """
    result = {name: float(values.mean()) for name, values in figures.items() if name not in NO_MEAN}
    if "residual" in figures:
        result["median_residual"] = float(np.median(figures["residual"]))
    return result
