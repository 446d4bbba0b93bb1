"""The optimizer of a module with its learning-rate scheduler, as Lightning takes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytorch_lightning as pl
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from videodiff.models.rate import LearningRate
from videodiff.reasons import reason

LRSchedulerCallable = Callable[[Optimizer], LRScheduler]


def with_rate(
    module: pl.LightningModule,
    make_optimizer: Callable[[Any], Optimizer],
    params: Any,
    make: LRSchedulerCallable | None,
    factors: list[float] | None = None,
) -> Any:
    """What ``configure_optimizers`` returns; ``make`` makes the scheduler, None keeps the rate.

    Args:
        module: whose trainer says how many steps there are.
        make_optimizer: parameters or groups of them -> optimizer.
        params: what it gets.
        make: optimizer -> scheduler.
        factors: of the rate of each group; None leaves all rates as they are.

    Raises:
        ValueError: if an argument of either is out of its range, if the scheduler's steps end before the trainer's do
            (OneCycleLR fails at the step after its last), or if it sets one rate for groups that shall differ.
    """
    optimizer = _made("optimizer", make_optimizer, params)
    for group, factor in zip(optimizer.param_groups, factors or (), strict=False):
        group["lr"] *= factor
    if make is None:
        return optimizer
    scheduler = _made("lr_scheduler", make, optimizer)
    rates = [
        group["lr"] / factor for group, factor in zip(optimizer.param_groups, factors or (), strict=False)
    ]
    if rates and max(rates) - min(rates) > 1e-6 * max(rates):
        raise ValueError(
            f"{type(scheduler).__name__} sets the rate of every group itself, and rate_factors would be without "
            "effect: take --model.lr_scheduler videodiff.models.LearningRate, or leave rate_factors out"
        )
    wanted = getattr(module._trainer, "max_steps", -1)
    if isinstance(scheduler, LearningRate):
        scheduler.for_training_of(wanted)
    total = getattr(scheduler, "total_steps", None)
    if total is not None and wanted > total:
        raise ValueError(
            f"{type(scheduler).__name__} ends after {total} steps and training after {wanted}: set "
            f"--model.lr_scheduler.total_steps {wanted} too"
        )
    # "step": Lightning's own default would change the rate once per epoch, and our stream is one epoch.
    return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def groups_by_rate(
    named: Iterable[tuple[str, nn.Parameter]], factors: Mapping[str, float]
) -> tuple[list[dict[str, Any]], list[float]]:
    """Parameters in groups of one rate, and the factor of each group.

    Args:
        named: trained parameters by name.
        factors: shell pattern of a name (``net.embedding.*``) -> factor of the learning rate; the first that matches
            counts, and what none matches has 1.

    Raises:
        ValueError: for a factor that is not above 0, or a pattern that matches nothing.
    """
    for pattern, factor in factors.items():
        if not 0 < factor < math.inf:
            raise ValueError(
                f"rate_factors: the factor of {pattern} must be above 0 and finite, got {factor}"
            )
    found: dict[str, list[nn.Parameter]] = {pattern: [] for pattern in factors}
    others: list[nn.Parameter] = []
    names = []
    for name, parameter in named:
        names.append(name)
        first = next((p for p in factors if fnmatchcase(name, p)), None)
        (others if first is None else found[first]).append(parameter)
    for pattern, members in found.items():
        if not members:
            raise ValueError(
                f"rate_factors: no parameter is left for {pattern}; names are like {names[0]} and {names[-1]}, and the "
                "first pattern that matches one takes it"
            )
    sets = [(others, 1.0)] * bool(others) + [(found[pattern], factor) for pattern, factor in factors.items()]
    return [{"params": members} for members, _ in sets], [factor for _, factor in sets]


def _made(name: str, make: Callable[[Any], Any], given: Any) -> Any:
    """What torch makes, or its reason not to with the key of the config before it."""
    try:
        return make(given)
    except ValueError as error:
        raise ValueError(f"model.{name}: {reason(error)}") from error
