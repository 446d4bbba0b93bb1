"""A training bounded by the seconds of compute that it takes, however often it is interrupted."""

import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

SECONDS = "throughput/compute_seconds"
"""Key under which the seconds so far are logged."""


class ComputeBudget(Callback):
    """End training at the first step after so many seconds of compute; the seconds so far are in every checkpoint.

    On a CPU these are CPU seconds of the training process, of all its threads; on a GPU seconds on the clock, while
    the process holds the device. They count from the first batch, with reading, saving and drawing samples; start-up
    and validation stand outside. Loader processes are not seen: ``--data.num_workers 0`` has reading counted. A run
    that goes on from a checkpoint goes on with its seconds. Of several processes that which has spent most counts.

    Args:
        seconds: of the whole training; none is no bound, and nothing is counted.

    Raises:
        ValueError: if ``seconds`` is not positive, and in training if they do not hold one step.
    """

    def __init__(self, seconds: float | None = None) -> None:
        if seconds is not None and not 0 < seconds < float("inf"):
            raise ValueError(f"budget.seconds must be above 0 and finite, got {seconds}")
        self.seconds = seconds
        self.spent, self.starting = 0.0, 0.0
        self.mark: float | None = None  # since when seconds count that are not in `spent` yet
        self.on_device = False

    def now(self) -> float:
        """A clock in seconds, of which only differences mean something."""
        return time.perf_counter() if self.on_device else time.process_time()

    def so_far(self) -> float:
        """Seconds spent."""
        return self.spent + (0.0 if self.mark is None else self.now() - self.mark)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_device = pl_module.device.type != "cpu"
        if self.seconds is not None:
            self.starting += time.process_time()
            self.mark = self.now()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.spent, self.mark = self.so_far(), None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.mark = None if self.seconds is None else self.now()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.seconds is None:
            return
        self.spent, self.mark = self.so_far(), self.now()
        if trainer.fit_loop._should_accumulate():
            return
        if trainer.world_size > 1:
            most = torch.tensor(self.spent, dtype=torch.float64, device=trainer.strategy.root_device)
            torch.distributed.all_reduce(most, op=torch.distributed.ReduceOp.MAX)
            self.spent = float(most)
        pl_module.log(SECONDS, self.spent, rank_zero_only=True)
        if self.spent < self.seconds:
            return
        if self.on_device:
            torch.cuda.synchronize(pl_module.device)
        if trainer.global_step <= 1:
            raise ValueError(
                f"{self.seconds:g} seconds of compute are too few: the first step took {self.spent:.3g}; give more "
                "(budget.seconds) or train something smaller"
            )
        trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.spent, self.mark = self.so_far(), None

    def state_dict(self) -> dict[str, Any]:
        return {} if self.seconds is None else {"seconds": self.so_far(), "starting": self.starting}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.spent, self.starting = state_dict.get("seconds", 0.0), state_dict.get("starting", 0.0)


def spent(checkpoint: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of a training by its checkpoint: ``seconds`` of compute, and CPU seconds of its starts (``starting``).

    Both are 0 where nothing was counted.
    """
    state = (checkpoint.get("callbacks") or {}).get(ComputeBudget.__qualname__) or {}
    return {name: float(state.get(name, 0.0)) for name in ("seconds", "starting")}
