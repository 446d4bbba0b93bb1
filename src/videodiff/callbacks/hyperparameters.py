"""After resuming, the configured optimizer and schedule override those stored in the checkpoint."""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

# How a step is computed rather than what it computes: these stay with the restored state they belong to.
EXECUTION = ("params", "param_names", "lr", "initial_lr", "foreach", "fused", "capturable", "differentiable")
POSITION = ("last_epoch", "_step_count", "_last_lr", "base_lrs", "_get_lr_called_within_step", "_is_initial")


def configured_hyperparameters(optimizers: Sequence[Optimizer], schedulers: Sequence[Any]) -> dict[str, Any]:
    """What freshly built optimizers and schedulers were told; to be taken before their state is restored."""
    groups = [[{k: v for k, v in g.items() if k != "params"} for g in o.param_groups] for o in optimizers]
    return {"groups": groups, "schedulers": [scalars(s.state_dict()) for s in schedulers]}


def scalars(state: dict[str, Any]) -> dict[str, Any]:
    """The plain settings of a scheduler: not where it stands."""
    return {k: v for k, v in state.items() if k not in POSITION and isinstance(v, bool | int | float | str)}


def apply_configured_hyperparameters(
    configured: dict[str, Any], optimizers: Sequence[Optimizer], schedulers: Sequence[Any]
) -> list[str]:
    """Put configured values back after a restore, keeping the place in the schedule; equal values are not touched.

    A learning rate under a schedule is scaled: lr = restored lr * configured initial lr / stored initial lr.

    Args:
        configured: from ``configured_hyperparameters``.
        optimizers: with their restored state.
        schedulers: with their restored state.

    Returns:
        One line per value that differed.
    """
    changes = []
    for fresh_groups, optimizer in zip(configured["groups"], optimizers, strict=True):
        for number, (fresh, group) in enumerate(zip(fresh_groups, optimizer.param_groups, strict=True)):
            key = "initial_lr" if "initial_lr" in group and "initial_lr" in fresh else "lr"
            if fresh[key] != group[key]:
                changes.append(
                    f"lr of group {number}: {group[key]} in the checkpoint, {fresh[key]} configured"
                )
                scale_learning_rate(optimizer, group, fresh, key, number, schedulers)
            for name in fresh.keys() & group.keys() - set(EXECUTION):
                if not equal(fresh[name], group[name]):
                    changes.append(
                        f"{name} of group {number}: {group[name]} in the checkpoint, {fresh[name]} configured"
                    )
                    group[name] = fresh[name]
    for fresh, scheduler in zip(configured["schedulers"], schedulers, strict=True):
        stored = scalars(scheduler.state_dict())
        for name in fresh.keys() & stored.keys():
            if fresh[name] != stored[name]:
                changes.append(f"schedule {name}: {stored[name]} in the checkpoint, {fresh[name]} configured")
                setattr(scheduler, name, fresh[name])
    return sorted(changes)


def scale_learning_rate(
    optimizer: Optimizer, group: dict, fresh: dict, key: str, number: int, schedulers: Sequence[Any]
) -> None:
    """Give one group its configured rate at the schedule's present place."""
    if key == "lr":
        group["lr"] = fresh["lr"]
        return
    ratio = fresh["initial_lr"] / group["initial_lr"] if group["initial_lr"] else 0.0
    group["lr"] = group["lr"] * ratio if ratio else fresh["lr"]
    group["initial_lr"] = fresh["initial_lr"]
    for scheduler in schedulers:
        if scheduler.optimizer is optimizer and getattr(scheduler, "base_lrs", None):
            scheduler.base_lrs[number] = fresh["initial_lr"]
            scheduler._last_lr = [g["lr"] for g in optimizer.param_groups]


def equal(a: Any, b: Any) -> bool:
    """Equal values; betas come back from a file as a list or a tuple."""
    return list(a) == list(b) if isinstance(a, list | tuple) and isinstance(b, list | tuple) else a == b
