"""Options of layouts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Choices among the splits and views that a data set offers.

    Args:
        fold: number of the split files (UCF-101: 1 to 3).
        train_split: train, or all for training on every video there is.
        val_fraction: share of the training videos held out where the set has no validation split.
        view: camera of BAIR.
        classes: auto takes the layout's classes, folder the names of parent folders, none none.
    """

    fold: int = 1
    train_split: str = "train"
    val_fraction: float = 0.1
    view: str = "image_main"
    classes: str = "auto"
