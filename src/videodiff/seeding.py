"""Stateless randomness: every random number is a function of a key, never of what ran before.

A key is a tuple such as ``(seed, "noise", position)``. Two runs, ranks, workers or batch sizes that ask for the same
key get the same numbers, so a run resumes bit for bit and one process sees the samples that four would see.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from videodiff.names import name_bytes


def key_to_seed(*key: int | str) -> int:
    """A 63-bit seed that depends on every part of the key (BLAKE2b of their text; of names, their bytes)."""
    text = "\x1f".join(f"{type(part).__name__[0]}{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(name_bytes(text), digest_size=8).digest(), "little") >> 1


def uniform(*key: int | str) -> float:
    """One number in [0, 1), with 53 random bits."""
    return (key_to_seed(*key) >> 10) / 2.0**53


def generator(*key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that starts at the key; its numbers differ between device types (CPU and CUDA), as torch's do."""
    return torch.Generator(device=device).manual_seed(key_to_seed(*key))


def send(host: Tensor, device: torch.device | str) -> Tensor:
    """A small tensor of the host on a device. A GPU is handed it through pinned memory, or the host would wait for it.

    A copy from ordinary memory ends only when everything the GPU was given before is done; a training step that makes
    one has its next kernels late.
    """
    if torch.device(device).type != "cuda":
        return host.to(device)
    return host.pin_memory().to(device, non_blocking=True)


def coins(keys: Sequence[tuple[int | str, ...]]) -> np.ndarray:
    """One uniform number in [0, 1) for each key, fp32 ``[len(keys)]``, on the host: to choose by."""
    return np.array([min(uniform(*key), 1.0 - 2.0**-24) for key in keys], dtype=np.float32)


def uniforms(keys: list[tuple[int | str, ...]], device: torch.device | str = "cpu") -> Tensor:
    """One uniform number in [0, 1) for each key, fp32 ``[len(keys)]``, the same on every device."""
    return send(torch.tensor(coins(keys).tolist(), dtype=torch.float32, device="cpu"), device)


def normals(
    keys: list[tuple[int | str, ...]], shape: tuple[int, ...], device: torch.device | str = "cpu"
) -> Tensor:
    """Standard normal noise ``[len(keys), *shape]``, fp32; row ``i`` depends on ``keys[i]`` and the shape alone."""
    source = torch.Generator(device=device)
    noise = torch.empty((len(keys), *shape), device=device)
    for row, key in zip(noise, keys, strict=True):
        row.normal_(generator=source.manual_seed(key_to_seed(*key)))
    return noise
