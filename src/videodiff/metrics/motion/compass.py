"""Which of the eight directions of a compass a velocity takes."""

from __future__ import annotations

import numpy as np

COMPASS = ("east", "northeast", "north", "northwest", "west", "southwest", "south", "southeast")


def compass(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The nearest of the eight directions to velocities of a picture, where north is up.

    Args:
        x: to the right, ``[B]``.
        y: down, ``[B]``.

    Returns:
        Numbers in :data:`COMPASS`, int64 ``[B]``; -1 for what does not move.
    """
    eighths = np.rint(np.arctan2(-y, x) / (np.pi / 4)).astype(np.int64) % len(COMPASS)
    return np.where((x == 0) & (y == 0), -1, eighths)
