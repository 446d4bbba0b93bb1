"""Exponential moving average of the denoiser's weights, and of what is trained with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor


class EMA(Callback):
    """average <- d average + (1 - d) weights, d = min(decay, (1 + n) / (10 + n)) after n updates.

    ``pl_module.net`` and what its conditioners train (a text encoder) are averaged, in fp32; frozen parameters are left
    out and buffers are the modules' own. A module without ``net`` (an autoencoder, whose published training has no
    average) is left alone.
    Validation, sampling and whatever follows ``fit`` see the average. A checkpoint's ``state_dict`` holds the average
    under its usual names and the raw weights lie under ``raw_state_dict``; a resume restores both bit for bit.

    Args:
        decay: share of the old average that one update keeps, in [0, 1).
        warmup: start with a short memory, so that the random start is forgotten early.
        every_n_steps: optimizer steps per update; the decay holds per update.

    Raises:
        ValueError: if decay or every_n_steps lies outside its range.
    """

    def __init__(self, decay: float = 0.9999, warmup: bool = True, every_n_steps: int = 1) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay must lie in [0, 1), got {decay}")
        if every_n_steps < 1:
            raise ValueError(f"EMA every_n_steps must be at least 1, got {every_n_steps}")
        self.decay, self.warmup, self.every_n_steps = decay, warmup, every_n_steps
        self.num_updates = 0
        self.names: list[str] = []
        self.weights: list[Tensor] = []
        self.average: list[Tensor] = []
        self.raw: list[Tensor] | None = None  # the raw weights while the network holds the average
        self.restored: dict[str, Tensor] = {}
        self.step: int | None = None  # the optimizer step last taken in; none before training starts

    def decay_at(self, num_updates: int) -> float:
        """The decay of the update that follows ``num_updates`` earlier ones."""
        return min(self.decay, (1 + num_updates) / (10 + num_updates)) if self.warmup else self.decay

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != "fit":
            return
        self.restored = {key: value.float() for key, value in checkpoint["state_dict"].items()}
        self.num_updates = checkpoint.get("ema", {}).get("num_updates", 0)
        raw = checkpoint.get("raw_state_dict", {})
        with torch.no_grad():
            for name, weight in averaged_parameters(pl_module):
                if name in raw:
                    weight.copy_(raw[name])

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # The module is on its device now and, after a resume, holds the raw weights.
        if not self.restored:
            self.num_updates = 0
        named = [(name, p) for name, p in averaged_parameters(pl_module) if p.requires_grad]
        self.names, self.weights = [name for name, _ in named], [p for _, p in named]
        self.average = [
            self.restored.get(name, p).detach().to(p.device, torch.float32, copy=True) for name, p in named
        ]
        self.raw, self.restored, self.step = None, {}, None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.update(trainer.global_step)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Average in the weights after optimizer step ``step``, once, whichever caller comes first."""
        if self.step is None or step == self.step or self.raw is not None:
            return
        self.step = step
        if step % self.every_n_steps:
            return
        if not self.average:
            return
        weights = [w if w.dtype == torch.float32 else w.float() for w in self.weights]
        torch._foreach_lerp_(self.average, weights, 1 - self.decay_at(self.num_updates))
        self.num_updates += 1

    @torch.no_grad()
    def swap_in(self) -> None:
        """Put the average into the network; a second call does nothing."""
        if self.raw is None and self.average:
            self.raw = [w.clone() for w in self.weights]
            torch._foreach_copy_(self.weights, self.average)

    @torch.no_grad()
    def swap_out(self) -> None:
        """Put the raw weights back, bit for bit; without them this does nothing."""
        if self.raw is not None:
            torch._foreach_copy_(self.weights, self.raw)
            self.raw = None

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The network holds the average inside the block."""
        already = self.raw is not None
        self.swap_in()
        try:
            yield
        finally:
            if not already:
                self.swap_out()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.average and trainer.state.fn == "fit":
            self.update(trainer.global_step)
            self.swap_in()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self.swap_out()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self.swap_out()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.swap_in()  # for good: who uses the module after fit gets the average

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not self.average:
            return
        self.update(trainer.global_step)
        state = checkpoint["state_dict"]
        raw = {key: value for key, value in state.items() if key.startswith("net.") or key in self.names}
        for name, average, weight in zip(self.names, self.average, self.raw or self.weights, strict=True):
            state[name], raw[name] = average, weight.detach()
        checkpoint["raw_state_dict"] = raw
        checkpoint["ema"] = {"decay": self.decay, "num_updates": self.num_updates}


def averaged_parameters(pl_module: pl.LightningModule) -> list[tuple[str, torch.nn.Parameter]]:
    """Names, as in the module's ``state_dict``, and parameters that are averaged."""
    children = dict(pl_module.named_children())
    if "net" not in children:
        return []
    parts = [(name, children[name]) for name in ("net", "conditioners") if name in children]
    return [(name, p) for part, module in parts for name, p in module.named_parameters(part)]
