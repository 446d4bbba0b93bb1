"""Gradient clipping by norm or value, never before a loss scale is divided out."""

from __future__ import annotations

from collections.abc import Iterable

import pytorch_lightning as pl
from torch import nn
from torch.optim import Optimizer


def clip(parameters: Iterable[nn.Parameter], limit: float | None, algorithm: str | None) -> None:
    """Clip the gradients of some parameters, all by one norm or, for ``value``, each number; 0 and none do not."""
    if not limit:
        return
    if algorithm == "value":
        nn.utils.clip_grad_value_(parameters, limit)
    else:
        nn.utils.clip_grad_norm_(parameters, limit)


def check_unscaled(trainer: pl.Trainer, optimizer: Optimizer) -> None:
    """Refuse to clip gradients that fp16's loss scale still multiplies; a fused optimizer takes it off by itself.

    Raises:
        ValueError: in one line, with what to change.
    """
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
        raise ValueError(
            "gradients cannot be clipped under 16-mixed with a fused optimizer, which unscales them by itself; take "
            "--model.optimizer.fused false or --trainer.precision bf16-mixed"
        )
