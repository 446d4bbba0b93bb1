"""Peak memory of training as a function of the batch: two counted steps make a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .meta_model import MetaModel, Precision, num_bytes
from .optimizer import optimizer_cost
from .training import Step, step_of

LARGEST_BATCH = 1 << 20


@dataclass(frozen=True)
class Memory:
    """Bytes of one process at the worst moment of a training step.

    Attributes:
        fixed: weights, buffers, optimizer state and weight average.
        optimizer: gradients and what the optimizer takes for itself in its step, beyond ``fixed``.
        one: the counted step of one clip.
        two: that of two.
    """

    fixed: int
    optimizer: int
    one: Step
    two: Step

    def at(self, clips: int) -> int:
        """Bytes with a micro-batch of ``clips``."""
        forward, backward = (
            getattr(self.one, name) + (clips - 1) * (getattr(self.two, name) - getattr(self.one, name))
            for name in ("forward_bytes", "backward_bytes")
        )
        counted = {1: self.one.peak_bytes, 2: self.two.peak_bytes}.get(clips, 0)
        return self.fixed + max(forward, backward, self.optimizer, counted)

    def largest_batch(self, num_bytes: int) -> int:
        """Most clips that fit; 0 if one does not."""
        fits, fails = 0, LARGEST_BATCH
        while fails - fits > 1:
            middle = (fits + fails) // 2
            fits, fails = (middle, fails) if self.at(middle) <= num_bytes else (fits, middle)
        return fits


def memory_of(
    meta: MetaModel,
    data: Mapping[str, Any],
    precision: Precision,
    accumulates: bool = False,
    kept_latents: bool = False,
    progress: Callable[[str], None] = lambda part: None,
) -> Memory:
    """Count steps of one and of two clips.

    Arguments as for :func:`~videodiff.cost.training.step_of`; ``progress`` is told of each step before it.
    """
    model = meta.model
    trained = num_bytes([p for p in model.parameters() if p.requires_grad])
    averaged = trained if model.is_averaged else 0  # the EMA callback knows no other
    cost = optimizer_cost(model)
    fixed = num_bytes(meta.tensors()) + round(cost.state * trained) + averaged
    scratch = trained if cost.whole_scratch and meta.device != "cpu" else 0
    steps = []
    for clips in (1, 2):
        progress(f"a training step of batch size {clips} in {precision}")
        steps.append(step_of(meta, data, clips, precision, accumulates, kept_latents))
    return Memory(fixed, steps[0].gradient_bytes + scratch, *steps)
