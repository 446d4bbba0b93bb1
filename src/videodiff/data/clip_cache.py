"""Finished clips of a generated set, kept in memory that loader workers share."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


class ClipCache:
    """Finished clips in anonymous shared memory: loader workers that are forked fill and read one store.

    The memory is taken page by page as clips arrive. Two workers may write the same clip at once: same bytes. A
    pickled cache (spawned workers) holds nothing and draws each time.

    Args:
        size: number of clips of the set; those that do not fit are drawn each time.
        max_bytes: of all clips together.
    """

    def __init__(self, size: int, max_bytes: int) -> None:
        self.size, self.max_bytes = size, max_bytes
        self.key: Any = None  # start, stride and shape of the stored clips; others pass by
        self.store: np.ndarray = np.empty((0,), np.uint8)
        self.filled: np.ndarray = np.empty((0,), np.uint8)

    def __getstate__(self) -> dict[str, Any]:
        return ClipCache(self.size, self.max_bytes).__dict__

    def claim(self, key: tuple[int, int, tuple[int, ...]]) -> None:
        """Keep clips of this start, stride and shape; before workers are forked, or each has its own."""
        shape = key[-1]
        places = min(self.size, self.max_bytes // int(np.prod(shape)))
        if places > 0:
            self.key = key
            self.store = np.frombuffer(mmap.mmap(-1, places * int(np.prod(shape))), np.uint8).reshape(
                -1, *shape
            )
            self.filled = np.frombuffer(mmap.mmap(-1, places), np.uint8)

    def get(
        self, index: int, key: tuple[int, int, tuple[int, ...]], draw: Callable[[], np.ndarray]
    ) -> Tensor:
        """A copy of clip `index`, drawn if it is not there yet."""
        if key != self.key or index >= len(self.filled):
            return torch.from_numpy(draw())
        if not self.filled[index]:
            self.store[index] = draw()
            self.filled[index] = 1
        return torch.from_numpy(self.store[index].copy())
