"""The size of a frame, written ``64`` for a square or ``[height, width]``: the one way in, and the one way out."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

# As arguments and YAML have it; on a command line and in messages ``[80, 48]`` is 80x48.
Resolution = int | tuple[int, int] | str
FORM = "64 for a square, or [height, width], such as [80, 48] or 80x48"


class FrameSize(NamedTuple):
    """Height and width of a frame, in pixels or in places of a latent; equal to the tuple of the two."""

    height: int
    width: int

    @classmethod
    def of(cls, value: Any, name: str = "resolution") -> FrameSize:
        """Read ``64``, ``[80, 48]``, ``(80, 48)``, ``"64"`` or ``"80x48"``.

        Args:
            value: as it is written; a :class:`FrameSize` too.
            name: of the argument, for the message.

        Raises:
            ValueError: if it is none of these, or a side is below 1.
        """
        if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+)(?:\s*[xX]\s*(\d+))?\s*", value)):
            sides: Sequence[Any] = [int(side) for side in (match[1], match[2] or match[1])]
        else:
            sides = value if isinstance(value, tuple | list) else [value, value]
        if len(sides) != 2 or not all(type(side) is int for side in sides):
            raise ValueError(f"{name} must be {FORM}, got {value!r}")
        size = cls(*sides)
        if min(size) < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
        return size

    @property
    def written(self) -> int | list[int]:
        """As configs and records hold it: 64 for a square, so that they are what they were; else [80, 48]."""
        return self.height if self.is_square else [self.height, self.width]

    @property
    def is_square(self) -> bool:
        return self.height == self.width

    @property
    def pixels(self) -> int:
        return self.height * self.width

    def __str__(self) -> str:
        return str(self.height) if self.is_square else f"{self.height}x{self.width}"

    def nearest(self, multiple: int | tuple[int, int]) -> FrameSize:
        """The nearest size whose sides are multiples of a number, or of one for height and one for width."""
        factors = FrameSize.of(multiple, "multiple")
        height, width = (
            max(1, (side + factor // 2) // factor) * factor
            for side, factor in zip(self, factors, strict=True)
        )
        return FrameSize(height, width)

    def check_multiple(self, multiple: int | tuple[int, int], why: str, name: str = "resolution") -> None:
        """Refuse a size that something cannot take, with the nearest that it can.

        Args:
            multiple: what height and width must be multiples of, one number or one for each.
            why: what asks for it, such as ``three halvings``.
            name: of the argument.

        Raises:
            ValueError: if a side is no multiple.
        """
        nearest = self.nearest(multiple)
        if nearest != self:
            factors = FrameSize.of(multiple)
            rule = (
                str(factors)
                if factors.is_square
                else f"{factors.height} in height and {factors.width} in width"
            )
            raise ValueError(
                f"{name} must be divisible by {rule} ({why}), got {self}; the nearest is {nearest}"
            )


def size_option(least: int = 1, most: int = 32_768) -> Any:
    """The ``type`` of an option that is a frame size with sides in a range."""

    def convert(text: str) -> FrameSize:
        try:
            size = FrameSize.of(text, "it")
        except ValueError:
            if re.fullmatch(r"\d+(?:[xX]\d+)?", text):  # a side of 0
                raise argparse.ArgumentTypeError(
                    f"must have sides of {least} to {most} pixels, got {text}"
                ) from None
            raise argparse.ArgumentTypeError(
                f"must be N for a square or HEIGHTxWIDTH, such as 64 or 80x48, got {text!r}"
            ) from None
        if min(size) < least or max(size) > most:
            raise argparse.ArgumentTypeError(f"must have sides of {least} to {most} pixels, got {size}")
        return size

    return convert
