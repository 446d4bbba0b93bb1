"""The classes of the videos to generate, as words of the command line say them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from videodiff.words import whole

if TYPE_CHECKING:
    from torch import Tensor

    from videodiff.conditioning.request import Generated

RANDOM_CLASSES = 10_007  # drawn for --class_id random; then they repeat


def class_words(text: str) -> int | str:
    """``3`` -> 3; ``3,4``, ``all``, ``random`` and ``none`` stay words.

    Raises:
        argparse.ArgumentTypeError: for anything else.
    """
    if text in ("all", "random", "none"):
        return text
    try:
        numbers = [whole(0)(word) for word in text.split(",")]
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; or give a list 3,4, all, random or none") from None
    return numbers[0] if len(numbers) == 1 else ",".join(map(str, numbers))


def classes(value: int | str, generated: Generated) -> Tensor | None:
    """The classes that videos take in turn, int64: video i is of class ``i`` modulo their number.

    None of a model without classes leaves nothing to be told: None.

    Raises:
        ValueError: if all or random ones are asked of a model without classes.
    """
    import torch

    from videodiff.seeding import coins

    if isinstance(value, int):
        return torch.tensor([value])
    if value == "none":
        return None if generated.num_classes is None else torch.tensor([-1])
    if value not in ("all", "random"):
        return torch.tensor([int(number) for number in value.split(",")])
    if generated.num_classes is None:
        raise ValueError(f"--class_id {value}: this model has no classes; leave --class_id out")
    if value == "all":
        return torch.arange(generated.num_classes)
    drawn = coins([("class", number) for number in range(RANDOM_CLASSES)])
    return torch.from_numpy((drawn * generated.num_classes).astype("int64"))
