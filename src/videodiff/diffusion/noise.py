"""Gaussian noise from a generator, one generator per sample, or torch's global one."""

from __future__ import annotations

import torch
from torch import Tensor

from videodiff.say import counted

Generator = torch.Generator | list[torch.Generator] | None


def normal_like(z: Tensor, generator: Generator) -> Tensor:
    """Standard normal noise with the shape, dtype and device of ``z`` (``[B, ...]``).

    With a list of ``B`` generators, row ``i`` depends on generator ``i`` alone, not on the batch it is in.
    Noise is drawn on a generator's own device and moved, so a CPU generator gives the same numbers for a CUDA
    ``z``.

    Raises:
        ValueError: if a list does not hold one generator per sample.
    """
    if generator is None:
        return torch.randn_like(z)
    if isinstance(generator, torch.Generator):
        return torch.randn(z.shape, generator=generator, device=generator.device, dtype=z.dtype).to(z.device)
    if len(generator) != len(z):
        raise ValueError(
            f"a list of generators needs one per sample: {counted(len(z), 'sample')}, got {len(generator)}"
        )
    noise = torch.empty(z.shape, device=generator[0].device, dtype=z.dtype)
    for row, source in zip(noise, generator, strict=True):
        row.normal_(generator=source)
    return noise.to(z.device)
