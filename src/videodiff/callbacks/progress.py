"""Progress on stderr: a few lines at the start, then one line now and then."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from videodiff.trainer import data_of


class Progress(Callback):
    """Say on stderr what starts, and how it goes: in place on a terminal, else one plain line every half minute.

    The loss is read from the device only when a line is printed. Rank 0 only.

    Args:
        every_seconds: time between lines when stderr is not a terminal.

    Raises:
        ValueError: if ``every_seconds`` is negative.
    """

    def __init__(self, every_seconds: float = 30.0) -> None:
        if every_seconds < 0:
            raise ValueError(f"every_seconds must not be negative, got {every_seconds}")
        self.every_seconds = every_seconds
        self.began, self.first_step, self.last_line = 0.0, 0, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = self.last_line = time.monotonic()
        self.first_step = trainer.global_step
        if trainer.is_global_zero:
            for line in start_lines(trainer, pl_module):
                print(line, file=sys.stderr, flush=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "validate":
            self.on_test_start(trainer, pl_module)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            for line in data_lines(data_of(trainer)):
                print(line, file=sys.stderr, flush=True)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        terminal = sys.stderr.isatty()
        now = time.monotonic()
        if not trainer.is_global_zero or now - self.last_line < (0.5 if terminal else self.every_seconds):
            return
        self.last_line = now
        line = self.line(trainer, pl_module, now)
        print(
            f"\r\033[K{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True
        )

    def line(self, trainer: pl.Trainer, pl_module: pl.LightningModule, now: float) -> str:
        """Step, loss, speed and time left."""
        step, total = trainer.global_step, expected_steps(trainer)
        speed = (step - self.first_step) / max(now - self.began, 1e-9)
        loss = trainer.callback_metrics.get("train/loss")
        parts = [f"{type(pl_module).__name__}  step {step}" + (f"/{total}" if total else "")]
        if loss is not None:
            parts.append(f"loss {float(loss):.4g}")
        parts.append(f"{speed:.3g} it/s")
        if total and speed > 0:
            parts.append(f"{(total - step) / speed:.0f} s left")
        return "  ".join(parts)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = trainer.callback_metrics.get("val/loss")
        if (
            trainer.is_global_zero
            and trainer.state.fn == "fit"
            and not trainer.sanity_checking
            and loss is not None
        ):
            lead = "\r\033[K" if sys.stderr.isatty() else ""
            print(
                f"{lead}validation  step {trainer.global_step}  loss {float(loss):.4g}",
                file=sys.stderr,
                flush=True,
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            now = time.monotonic()
            lead = "\r\033[K" if sys.stderr.isatty() else ""
            print(
                f"{lead}{self.line(trainer, pl_module, now)}  done in {now - self.began:.0f} s",
                file=sys.stderr,
            )
            for line in getattr(data_of(trainer), "report", list)():
                print(f"data     {line}", file=sys.stderr)


def expected_steps(trainer: pl.Trainer) -> int | None:
    """Optimizer steps of the whole run, or None when no limit is set."""
    return trainer.max_steps if trainer.max_steps > 0 else None


def data_lines(data: Any) -> list[str]:
    """Lines on the data that were found, and on what is left out."""
    name = type(data).__name__ if data is not None else "loader"
    described = data.describe() if hasattr(data, "describe") else [name]
    return [f"data     {described[0]}", *(f"         {line.strip()}" for line in described[1:])]


def start_lines(trainer: pl.Trainer, pl_module: pl.LightningModule) -> list[str]:
    """Model, data, machine, batch, folder and length of the run."""
    trained = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
    every = sum(p.numel() for p in pl_module.parameters())
    data = data_of(trainer)
    described = data_lines(data)
    batch = getattr(data, "batch_size", None)
    micro = (
        f", {trainer.accumulate_grad_batches} micro-batches" if trainer.accumulate_grad_batches > 1 else ""
    )
    steps = expected_steps(trainer)
    return [
        f"model    {type(pl_module).__name__}, {trained / 1e6:.2f} M parameters trained of {every / 1e6:.2f} M",
        *described,
        f"machine  {trainer.world_size} x {pl_module.device.type}, precision {trainer.precision}",
        f"batch    {batch if batch is not None else 'as the loader gives'}{micro}",
        f"run      {trainer.default_root_dir}",
        f"steps    {trainer.global_step} of {steps if steps else 'no limit'}",
    ]
