"""Skip the steps whose loss or gradient is NaN or infinite, and give up after many in a row."""

import sys
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer


class Attempt(NamedTuple):
    """One optimizer step not yet looked at: its number, its verdict on the device, and the samples it saw."""

    step: int
    bad: Tensor
    samples: list[Tensor]


class NonFiniteGuard(Callback):
    """Leave weights and optimizer state as they are when the loss or the gradient norm is not finite.

    Fused optimizers are told on the device (``found_inf``), so the host never waits for a verdict; others cost one
    synchronisation a step. A non-finite micro-batch voids its whole accumulated step. Ranks agree, because gradients
    are already averaged and the loss verdict is reduced. The learning-rate schedule goes on. With ``16-mixed``
    precision the gradient scaler does this work and the guard stays out of its way.

    Args:
        max_in_a_row: stop the run (``RuntimeError``) after this many skipped steps in a row.
        check_every: steps between two checks; none means 1 on a CPU and 20 on an accelerator.

    Raises:
        ValueError: if either is below 1.
    """

    def __init__(self, max_in_a_row: int = 10, check_every: int | None = None) -> None:
        if max_in_a_row < 1 or (check_every is not None and check_every < 1):
            raise ValueError(
                f"max_in_a_row and check_every must be at least 1, got {max_in_a_row} and {check_every}"
            )
        self.max_in_a_row, self.check_every = max_in_a_row, check_every
        self.skipped, self.in_a_row, self.last_bad = 0, 0, 0
        self.attempts: list[Attempt] = []
        self.samples: list[Tensor] = []
        self.bad_loss: Tensor | None = None
        self.enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.attempts, self.samples, self.bad_loss = [], [], None
        self.enabled = getattr(trainer.precision_plugin, "scaler", None) is None
        self.every = self.check_every or (1 if pl_module.device.type == "cpu" else 20)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if isinstance(batch, dict) and "sample" in batch:
            self.samples.append(batch["sample"])

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        bad = ~torch.isfinite(loss.detach())
        self.bad_loss = bad if self.bad_loss is None else self.bad_loss | bad

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if not self.enabled:
            return
        bad = self.verdict(trainer, optimizer)
        self.attempts.append(Attempt(trainer.global_step + 1, bad, self.samples))
        self.samples, self.bad_loss = [], None
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            optimizer.found_inf = bad  # type: ignore[attr-defined]  # where PyTorch's scaler puts it too
        elif bool(bad):
            optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def verdict(self, trainer: pl.Trainer, optimizer: Optimizer) -> Tensor:
        """1.0 if this step must be skipped, else 0.0; a scalar on the gradients' device, equal on all ranks."""
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        bad = self.bad_loss
        assert bad is not None  # a backward pass goes before a step
        if trainer.world_size > 1:
            bad = bad.float()
            torch.distributed.all_reduce(
                bad, op=torch.distributed.ReduceOp.MAX
            )  # queued on the device, no barrier
            bad = bad > 0
        if grads:
            norm = torch.stack([n.float() for n in torch._foreach_norm(grads)]).norm()
            bad = bad.to(norm.device) | ~torch.isfinite(norm)
        return bad.float().reshape(())

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        if len(self.attempts) >= self.every:
            self.look()
        # A tensor of the host: Lightning would copy a plain number to the device, and wait for it, every step.
        pl_module.log("train/skipped_steps", torch.tensor(float(self.skipped)))
        self.stop_if_hopeless()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.look()
        self.stop_if_hopeless()

    def stop_if_hopeless(self) -> None:
        """Stop after too many skipped steps in a row; all ranks count the same and stop together."""
        if self.in_a_row >= self.max_in_a_row:
            raise RuntimeError(
                f"{self.in_a_row} steps in a row up to step {self.last_bad} had a non-finite loss or gradient; "
                "stopped with the weights from before them (lower the learning rate or look at the samples named)"
            )

    def look(self) -> None:
        """Read the verdicts since the last look, in one transfer; count and name the bad ones."""
        if not self.attempts:
            return
        verdicts = torch.stack([a.bad for a in self.attempts]).tolist()
        for attempt, bad in zip(self.attempts, verdicts, strict=True):
            self.in_a_row = self.in_a_row + 1 if bad else 0
            if bad:
                self.skipped, self.last_bad = self.skipped + 1, attempt.step
                samples = [int(i) for ids in attempt.samples for i in ids.flatten().tolist()]
                print(
                    f"step {attempt.step}: loss or gradient not finite, update skipped "
                    f"({self.in_a_row} in a row, {self.skipped} in all; samples {samples})",
                    file=sys.stderr,
                    flush=True,
                )
        self.attempts = []

    def state_dict(self) -> dict[str, Any]:
        self.look()
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]
