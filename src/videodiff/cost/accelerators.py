"""Accelerators: their memory and the peak of their matrix units, for what a config needs and how long it takes."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

GIB = 2**30
CONTEXT_BYTES = int(0.6 * GIB)
"""What CUDA and its libraries take of a card before the first tensor."""
FRAGMENTATION = 0.05
"""Share of a card that the allocator holds without being able to use it."""


@dataclass(frozen=True)
class Accelerator:
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


# Name -> GiB that the driver shows, dense bf16 TFLOP/s with fp32 sums, fp32 TFLOP/s; SXM where nothing else is said.
# Sources are NVIDIA's documents, named beside the figures, as others quote them (tables of Lightning and torchtitan,
# lists of specifications). "With sparsity" doubles the dense figure; on GeForce cards fp32 sums halve the rate of fp16.
CARDS = {
    "t4": (15.0, 65.0, 8.1),  # Tesla T4 data sheet: mixed precision (fp16)
    "v100": (31.7, 125.0, 15.7),  # V100 data sheet, SXM2: deep learning (fp16)
    "v100-pcie": (31.7, 112.0, 14.0),  # the same, PCIe
    "a10": (22.5, 125.0, 31.2),  # A10 data sheet
    "l4": (22.5, 121.0, 30.3),  # L4 data sheet: 242 with sparsity
    "rtx3090": (23.7, 71.0, 35.6),  # GA102 architecture: fp16 with fp32 sums; 142 is with fp16 sums
    "rtx4090": (23.5, 165.2, 82.6),  # Ada architecture; 330.3 is with fp16 sums or sparsity
    "rtx5090": (31.8, 209.5, 104.8),  # RTX Blackwell architecture
    "a6000": (47.5, 154.8, 38.7),  # GA102 architecture: the professional GA102 sums in fp32 at full rate
    "l40s": (44.5, 362.0, 91.6),  # L40S data sheet: 362.05, 733 with sparsity
    "a100-40": (39.5, 312.0, 19.5),  # A100 data sheet, SXM and PCIe alike
    "a100": (79.2, 312.0, 19.5),
    "h100": (79.2, 989.4, 66.9),  # H100 architecture: H100 SXM5; 1,979 with sparsity
    "h100-pcie": (79.2, 756.0, 51.2),  # H100 data sheet, PCIe: 1,513 with sparsity
    "h200": (140.0, 989.4, 66.9),  # H200 data sheet: 1,979 with sparsity, the chip of the H100 SXM
    "b200": (178.0, 2250.0, 75.0),  # Blackwell data sheet, HGX B200: 4.5 PFLOPS with sparsity
}
UNLISTED = frozenset(("ti", "super", "d", "laptop", "max", "nvl"))
"""Words of names of cards that are others than their numbers say."""


def find_card(text: str) -> Accelerator:
    """A card by name (``h100``) or by its memory (``24GiB``, ``80GB``, ``24``).

    Raises:
        ValueError: for neither, naming the cards that are known.
    """
    name = text.strip().lower().replace(" ", "")
    if name in CARDS:
        gib, teraflops, teraflops_fp32 = CARDS[name]
        return Accelerator(name, int(gib * GIB), teraflops * 1e12, teraflops_fp32 * 1e12)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(gib|gb|g|mib|mb)?", name)
    if match and float(match[1]) > 0:
        unit = {"gb": 10**9, "mb": 10**6, "mib": 2**20}.get(match[2] or "gib", GIB)
        return Accelerator(text.strip(), int(float(match[1]) * unit))
    raise ValueError(f"--card must be a size such as 24GiB or one of {', '.join(CARDS)}, got {text[:60]!r}")


def local_card() -> Accelerator | None:
    """The first CUDA device of this machine, or none; its peak is known if it is listed."""
    import torch

    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    name = listed(properties.name)
    peaks = () if name is None else CARDS[name][1:]
    return Accelerator(properties.name, properties.total_memory, *(peak * 1e12 for peak in peaks))


def listed(name: str) -> str | None:
    """The listed card that a driver's name means (``NVIDIA A100-SXM4-80GB`` is an a100), or None.

    Others with the number of a listed one (``RTX 4090 Laptop GPU``, ``H100 NVL``) are none.
    """
    words = re.findall(r"[a-z0-9]+", name.lower())
    if not UNLISTED.isdisjoint(words):
        return None
    known = {*words, *map("".join, itertools.pairwise(words))}  # RTX 4090 is rtx4090
    return max((card for card in CARDS if known.issuperset(card.split("-"))), key=len, default=None)
