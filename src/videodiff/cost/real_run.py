"""FLOP and memory of work on real tensors: of a trained model that generates, and of its training step."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from videodiff.diffusion import Sampler

from .counter import Counter

COUNTED_STEPS = 2, 3  # of a sampler; the cost of others lies on the line through these
Generate = Callable[[Sampler], Any]


def counted(work: Callable[[], Any]) -> int:
    """Floating-point operations of matrix products and convolutions in ``work``, two per multiply-add.

    Attention takes its explicit form, which works on no heads filled up with zeros.
    """
    with Counter(is_real=True) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.flop


def flop_of_sampling(generate: Generate, sampler: Sampler) -> int:
    """Of one call of ``generate``, sampling and decoding.

    Counted at two short samplers, as every further step costs the same.
    """
    steps = sampler.num_steps
    if steps <= max(COUNTED_STEPS):
        return counted(lambda: generate(sampler))
    low, high = (counted(lambda n=n: generate(with_steps(sampler, n))) for n in COUNTED_STEPS)  # type: ignore[misc]  # a default binds it
    return low + (high - low) // (COUNTED_STEPS[1] - COUNTED_STEPS[0]) * (steps - COUNTED_STEPS[0])


def with_steps(sampler: Sampler, steps: int) -> Sampler:
    """The same sampler with another number of steps."""
    other = copy(sampler)
    other.num_steps = steps
    return other


def flop_per_step(model: Any, batch: dict[str, Any], batch_size: int) -> int | None:
    """Of forward and backward of one optimizer step, encoding by the first stage included.

    Counted on one training clip and taken ``batch_size`` times.

    Args:
        model: that generates; None comes back for one that is not trained as a whole.
        batch: of one clip, on the model's device.
        batch_size: of the run.
    """

    def step() -> None:
        if (loss := model.training_loss(batch)) is not None:
            loss.backward()

    model.train()
    try:
        with torch.enable_grad():
            return batch_size * counted(step) or None
    finally:
        model.zero_grad(set_to_none=True)
        model.eval()


def peak_of_sampling(module: nn.Module, device: torch.device, generate: Generate, sampler: Sampler) -> int:
    """Bytes that ``generate`` takes at its peak, the weights of ``module`` included; followed through a short sampler.

    On CUDA what the allocator had handed out. On a CPU the sum of all tensors alive at once (memory does not grow with
    steps); scratch space inside an operation is not seen.
    """
    short = with_steps(sampler, min(sampler.num_steps, max(COUNTED_STEPS)))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        generate(short)
        return int(torch.cuda.max_memory_allocated(device))
    counter = Counter(is_real=True)
    counter.take((*module.parameters(), *module.buffers()))
    with counter:
        generate(short)
    return counter.peak
