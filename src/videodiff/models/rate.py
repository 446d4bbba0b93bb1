"""The learning rate over a training: a warm-up and one of four shapes behind it."""

from __future__ import annotations

import math
from typing import Any, Literal

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Shape = Literal["constant", "linear", "cosine", "stable_decay"]
SHAPES = ("constant", "linear", "cosine", "stable_decay")


class LearningRate(LRScheduler):
    """A linear warm-up to the optimizer's learning rate, then the rate by a shape.

    Every parameter group keeps its own rate, times the same factor. ``constant`` stays at 1; ``linear`` and ``cosine``
    fall to ``end`` over all steps behind the warm-up; ``stable_decay`` stays at 1 and falls linearly over the last
    ``decay_steps`` (warm-up, stable, decay: Hu et al. 2024, arXiv 2404.06395, section 4).

    A run that is resumed with more steps follows the shape for these.

    Args:
        optimizer: whose rates are set.
        warmup_steps: optimizer steps of the warm-up; the first takes 1 / ``warmup_steps`` of the rate. 0 is none.
        shape: behind the warm-up.
        total_steps: optimizer steps of the whole training; None takes ``trainer.max_steps``. No part of ``constant``.
        decay_steps: of ``stable_decay``; None is a tenth of all steps.
        end: factor of the last step, in [0, 1].

    Raises:
        ValueError: for a number out of its range, or steps that do not fit in each other.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int = 0,
        shape: Shape = "constant",
        total_steps: int | None = None,
        decay_steps: int | None = None,
        end: float = 0.0,
    ) -> None:
        if shape not in SHAPES:
            raise ValueError(f"shape must be one of {', '.join(SHAPES)}, got {shape!r}")
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must be at least 0, got {warmup_steps}")
        if not 0 <= end <= 1:
            raise ValueError(f"end must lie in [0, 1], got {end}")
        if decay_steps is not None and (shape != "stable_decay" or decay_steps < 1):
            raise ValueError(
                f"decay_steps is of shape stable_decay and at least 1, got {decay_steps} with {shape}"
            )
        self.warmup_steps, self.shape, self.end = warmup_steps, shape, end
        self.total_steps, self.decay_steps = None if shape == "constant" else total_steps, decay_steps
        self._check_total()
        super().__init__(optimizer)

    def for_training_of(self, steps: int) -> None:
        """Take these as the steps of the whole training where none were given; called before the first step.

        Raises:
            ValueError: if there is no end to fall towards, or no room behind the warm-up.
        """
        if self.shape == "constant" or self.total_steps is not None:
            return
        if steps < 1:
            raise ValueError(
                f"a rate of shape {self.shape} falls towards the last step: set --trainer.max_steps, or "
                "--model.lr_scheduler.total_steps"
            )
        self.total_steps = steps
        self._check_total()

    def _check_total(self) -> None:
        behind = 0 if self.decay_steps is None else self.decay_steps
        if self.total_steps is not None and self.total_steps < self.warmup_steps + max(behind, 1):
            raise ValueError(
                f"total_steps must hold the warm-up and the decay, {self.warmup_steps} + {max(behind, 1)}, "
                f"got {self.total_steps}"
            )

    def factor(self, step: int) -> float:
        """The rate of optimizer step ``step`` (from 0), over the optimizer's own."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.total_steps is None:
            return 1.0
        begin = self.warmup_steps
        if self.shape == "stable_decay":
            begin = max(begin, self.total_steps - (self.decay_steps or max(self.total_steps // 10, 1)))
        done = min(max((step - begin) / max(self.total_steps - 1 - begin, 1), 0.0), 1.0)
        left = 0.5 * (1 + math.cos(math.pi * done)) if self.shape == "cosine" else 1 - done
        return self.end + (1 - self.end) * left

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each parameter group for the step that comes."""
        factor = self.factor(self.last_epoch)
        return [base * factor for base in self.base_lrs]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the stored step; shape and steps are those of the config, which may have been made longer."""
        own = ("warmup_steps", "shape", "end", "total_steps", "decay_steps")
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in own})
