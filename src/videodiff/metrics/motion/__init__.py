"""Exact figures of the motion in clips of the built-in sets, whose laws are known."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from .arrays import means
from .clouds import cloud_motion
from .compass import COMPASS, compass
from .digits import digit_motion

__all__ = ["COMPASS", "cloud_motion", "compass", "digit_motion", "means", "motion_metrics"]


def motion_metrics(clips: Tensor, content: Literal["digits", "clouds"], stride: int = 1) -> dict[str, float]:
    """Mean figures of uint8 clips ``[B, T, H, W, 3]`` (:func:`digit_motion`, :func:`cloud_motion`, :func:`means`).

    Args:
        clips: of one built-in set.
        content: which one.
        stride: frames of the generator between two frames.

    Raises:
        TypeError: if the clips are not uint8.
        ValueError: if their shape does not fit, or for another content.
    """
    measures = {"digits": digit_motion, "clouds": cloud_motion}
    if content not in measures:
        raise ValueError(f"content must be digits or clouds (the sets with a known law), got {content!r}")
    return means(measures[content](clips, stride))
