"""Arguments of the data module that no reading is needed to refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def check_numbers(
    at_least_1: Mapping[str, int | None], at_least_0: Mapping[str, int], shares: Mapping[str, float | None]
) -> None:
    """Refuse the first number that is out of its range; None is unset.

    Raises:
        ValueError: with its name and the rule.
    """
    for name, value in at_least_1.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    for name, number in at_least_0.items():
        if number < 0:
            raise ValueError(f"{name} must not be negative, got {number}")
    for name, share in shares.items():
        if share is not None and not 0 <= share < 1:
            raise ValueError(f"{name} must lie in [0, 1), got {share}")


def check_combinations(
    random_crop: float | None, latents: str | None, images_per_video: int, buckets: Any, built_in: str | None
) -> None:
    """Refuse options that leave each other without effect.

    Args:
        random_crop: of the data module.
        latents: the same.
        images_per_video: the same.
        buckets: the same.
        built_in: name of the built-in set that is read, or None.

    Raises:
        ValueError: naming the option.
    """
    if random_crop is not None and not 0 < random_crop <= 1:
        raise ValueError(f"random_crop must lie in (0, 1], got {random_crop}")
    if random_crop is not None and (latents is not None or built_in is not None):
        what = f"data.latents {latents}" if latents is not None else f"the built-in {built_in}"
        raise ValueError(f"random_crop must be left out with {what}, got {random_crop}")
    if latents is not None and images_per_video:
        raise ValueError(f"images_per_video must be 0 with data.latents, got {images_per_video}")
    if buckets is None:
        return
    if images_per_video:
        raise ValueError(
            f"images_per_video must be 0 with data.buckets, got {images_per_video}; still images are a bucket of "
            "num_frames 1"
        )
    for name, value in (("random_crop", random_crop), ("latents", latents)):
        if value is not None:
            raise ValueError(f"{name} must be left out with data.buckets, got {value}")
