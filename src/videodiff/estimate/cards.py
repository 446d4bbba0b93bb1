"""Accelerators: their memory and the peak of their matrix units, for what a config needs and how long it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass

GIB = 2**30
CONTEXT_BYTES = int(0.6 * GIB)
"""What CUDA and its libraries take of a card before the first tensor."""
FRAGMENTATION = 0.05
"""Share of a card that the allocator holds without being able to use it."""


@dataclass(frozen=True)
class Card:
    """One accelerator.

    Attributes:
        name: as asked for.
        num_bytes: memory that a program sees in all.
        peak: dense bf16 FLOP per second with fp32 sums (fp16 where there is no bf16), from the data sheet; or None.
        peak_fp32: FLOP per second in fp32 outside the matrix units, that is without TF32; or None.
    """

    name: str
    num_bytes: int
    peak: float | None = None
    peak_fp32: float | None = None

    @property
    def usable(self) -> int:
        """Bytes left for tensors."""
        return int(self.num_bytes * (1 - FRAGMENTATION)) - CONTEXT_BYTES


# Name -> GiB that the driver shows, dense bf16 TFLOP/s, fp32 TFLOP/s (NVIDIA's data sheets; SXM where there are two).
CARDS = {
    "t4": (15.0, 65.0, 8.1),
    "v100": (31.7, 125.0, 15.7),
    "a10": (22.5, 125.0, 31.2),
    "l4": (22.5, 121.0, 30.3),
    "rtx3090": (23.7, 71.0, 35.6),
    "rtx4090": (23.5, 165.0, 82.6),
    "rtx5090": (31.8, 209.5, 104.8),
    "a6000": (47.5, 154.8, 38.7),
    "l40s": (44.5, 362.0, 91.6),
    "a100-40": (39.5, 312.0, 19.5),
    "a100": (79.2, 312.0, 19.5),
    "h100": (79.2, 989.0, 67.0),
    "h200": (140.0, 989.0, 67.0),
    "b200": (178.0, 2250.0, 75.0),
}


def find_card(text: str) -> Card:
    """A card by name (``h100``) or by its memory (``24GiB``, ``80GB``, ``24``).

    Raises:
        ValueError: for neither, naming the cards that are known.
    """
    name = text.strip().lower().replace(" ", "")
    if name in CARDS:
        gib, teraflops, teraflops_fp32 = CARDS[name]
        return Card(name, int(gib * GIB), teraflops * 1e12, teraflops_fp32 * 1e12)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(gib|gb|g|mib|mb)?", name)
    if match and float(match[1]) > 0:
        unit = {"gb": 10**9, "mb": 10**6, "mib": 2**20}.get(match[2] or "gib", GIB)
        return Card(text.strip(), int(float(match[1]) * unit))
    raise ValueError(f"--card must be a size such as 24GiB or one of {', '.join(CARDS)}, got {text[:60]!r}")


def local_card() -> Card | None:
    """The first CUDA device of this machine, or none; its peak is known if its name holds that of a listed card."""
    import torch

    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    shown = properties.name.lower().replace(" ", "")
    known = [name for name in CARDS if name.split("-")[0] in shown]
    peaks = CARDS[max(known, key=len)][1:] if known else ()
    return Card(properties.name, properties.total_memory, *(peak * 1e12 for peak in peaks))
