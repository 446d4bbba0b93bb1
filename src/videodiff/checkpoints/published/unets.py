"""Sizes of U-Nets of guided-diffusion's layout (PVDM, LVDM), read from the shapes of their weights."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .formats import Shapes


def count(names: Iterable[str], pattern: str) -> int:
    """One more than the largest number that stands in a pattern's group; 0 without a match."""
    found = [int(match[1]) for match in map(re.compile(pattern).match, names) if match]
    return max(found, default=-1) + 1


def levels(shapes: Shapes, up: str) -> tuple[int, list[int], list[int]]:
    """Residual blocks per level, channels of each level, and the number of each level's first block on the way down.

    Args:
        shapes: of the whole network.
        up: pattern of a name that only a block with a change of size has, its group the block's number.
    """
    outputs = count(shapes, r"output_blocks\.(\d+)\.")
    inputs = count(shapes, r"input_blocks\.(\d+)\.")
    ups = sorted({int(match[1]) for match in map(re.compile(up).match, shapes) if match})
    blocks = ups[0] if ups else outputs - 1
    firsts = list(range(1, inputs, blocks + 1))
    channels = [shapes[f"input_blocks.{i}.0.in_layers.2.weight"][0] for i in firsts]
    return blocks, channels, firsts


def check(condition: bool, kind: str, text: str) -> None:
    """Raise ValueError unless a layout is one of those that are published."""
    if not condition:
        raise ValueError(f"{kind}: {text}")
