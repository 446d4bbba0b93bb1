"""The optimizer of a module with its learning-rate scheduler, as Lightning takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from videodiff.reasons import reason

LRSchedulerCallable = Callable[[Optimizer], LRScheduler]


def with_rate(
    module: pl.LightningModule,
    make_optimizer: Callable[[Any], Optimizer],
    params: Any,
    make: LRSchedulerCallable | None,
) -> Any:
    """What ``configure_optimizers`` returns; ``make`` makes the scheduler, None keeps the rate.

    Raises:
        ValueError: if an argument of either is out of its range, or if the scheduler's steps end
            before the trainer's do (OneCycleLR fails at the step after its last).
    """
    optimizer = _made("optimizer", make_optimizer, params)
    if make is None:
        return optimizer
    scheduler = _made("lr_scheduler", make, optimizer)
    total, wanted = getattr(scheduler, "total_steps", None), getattr(module._trainer, "max_steps", -1)
    if total is not None and wanted > total:
        raise ValueError(
            f"{type(scheduler).__name__} ends after {total} steps and training after {wanted}: set "
            f"--model.lr_scheduler.total_steps {wanted} too"
        )
    # "step": Lightning's own default would change the rate once per epoch, and our stream is one epoch.
    return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def _made(name: str, make: Callable[[Any], Any], given: Any) -> Any:
    """What torch makes, or its reason not to with the key of the config before it."""
    try:
        return make(given)
    except ValueError as error:
        raise ValueError(f"model.{name}: {reason(error)}") from error
