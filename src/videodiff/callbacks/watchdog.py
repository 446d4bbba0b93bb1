"""Ends a process that makes no more progress."""

import faulthandler
import os
import statistics
import sys
import threading
import time
from collections import deque
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerStatus

COLLECTIVE = timedelta(days=30)  # that ranks may wait for each other; the watchdog ends them long before


class Watchdog(Callback):
    """Dump all stacks to stderr and end the process (exit code 1) when no step ends in time.

    A stuck loader worker, a cut network link or a dead rank leave a job waiting for ever. The limit is the larger of
    ``min_seconds`` and ``factor`` times the median step. Validation batches count as steps.

    Time is counted in the watcher's own short waits. While a process is suspended (SIGSTOP, Ctrl-Z, a cgroup freezer, a
    closed laptop) the watcher does not run either, so that hours of it are one wait; a step that hangs after waking is
    ended once the rest of the limit has passed. Collectives between ranks are given no time limit of their own, which
    would pass while all of them are suspended.

    Args:
        min_seconds: shortest limit.
        factor: limit in median steps.

    Raises:
        ValueError: if either is not positive.
    """

    def __init__(self, min_seconds: float = 600.0, factor: float = 20.0) -> None:
        if min_seconds <= 0 or factor <= 0:
            raise ValueError(
                f"watchdog min_seconds and factor must be positive, got {min_seconds} and {factor}"
            )
        self.min_seconds, self.factor = min_seconds, factor
        self.durations: deque[float] = deque(maxlen=101)
        self.last_beat, self.beats = 0.0, 0
        self.tick = min(min_seconds / 4, 5.0)
        self.waited = 0.0  # since the last beat, in ticks; written by the watcher alone
        self.limit = min_seconds
        self.stop: threading.Event | None = None

    def beat(self) -> None:
        """Something moved."""
        self.last_beat, self.beats = time.monotonic(), self.beats + 1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        lift_collective_limit()
        self.beat()
        self.waited = 0.0
        self.stop = threading.Event()
        thread = threading.Thread(
            target=self.watch, args=(self.stop, trainer), name="videodiff-watchdog", daemon=True
        )
        thread.start()

    def watch(self, stop: threading.Event, trainer: pl.Trainer) -> None:
        """Count its waits until told to stop; never returns once the limit has passed.

        A run that has failed is over, too, whether or not anybody said so: where another callback fails in its
        ``on_exception``, those after it are not called, and the process may go on with other work.
        """
        seen = self.beats
        while not stop.wait(self.tick) and trainer.state.status is TrainerStatus.RUNNING:
            seen, self.waited = self.beats, 0.0 if self.beats != seen else self.waited + self.tick
            if self.waited > self.limit:
                try:
                    print(
                        f"watchdog: no step ended for {self.waited:.0f} s (limit {self.limit:.0f} s)",
                        file=sys.stderr,
                        flush=True,
                    )
                    faulthandler.dump_traceback(file=2, all_threads=True)
                finally:  # whether or not somebody reads it
                    os._exit(1)

    def on_train_batch_end(self, *args: Any) -> None:
        # A suspension within the step is on the clock, not in the ticks, of which one may be under way.
        took = min(time.monotonic() - self.last_beat, self.waited + 2 * self.tick)
        self.durations.append(took)
        self.limit = max(self.min_seconds, self.factor * statistics.median(self.durations))
        self.beat()

    def on_validation_start(self, *args: Any) -> None:
        self.beat()

    def on_validation_batch_end(self, *args: Any) -> None:
        self.beat()

    def on_validation_end(self, *args: Any) -> None:
        self.beat()

    def halt(self) -> None:
        """Stop watching; a second call does nothing."""
        if self.stop is not None:
            self.stop.set()
            self.stop = None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.halt()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self.halt()


def lift_collective_limit() -> None:
    """Let ranks wait for each other as long as it takes; torch's own limit goes on while they are suspended."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        set_timeout = (
            getattr(distributed, "set_timeout", None) or distributed.distributed_c10d._set_pg_timeout
        )
        set_timeout(COLLECTIVE, distributed.group.WORLD)
