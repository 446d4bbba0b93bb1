"""End a process in which nothing moves any more."""

import faulthandler
import os
import statistics
import sys
import threading
import time
from collections import deque
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class Watchdog(Callback):
    """Dump all stacks to stderr and end the process (exit code 1) when no step ends in time.

    A stuck loader worker, a cut network link or a dead rank leave a job waiting for ever. The limit is the larger of
    ``min_seconds`` and ``factor`` times the median step. Validation batches count as steps.

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
        self.last_beat = 0.0
        self.limit = min_seconds
        self.stop: threading.Event | None = None

    def beat(self) -> None:
        """Something moved."""
        self.last_beat = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.beat()
        self.stop = threading.Event()
        threading.Thread(target=self.watch, args=(self.stop,), name="videodiff-watchdog", daemon=True).start()

    def watch(self, stop: threading.Event) -> None:
        """Look at the clock until told to stop; never returns once the limit has passed."""
        while not stop.wait(min(self.min_seconds / 4, 5.0)):
            waited = time.monotonic() - self.last_beat
            if waited > self.limit:
                try:
                    print(
                        f"watchdog: no step ended for {waited:.0f} s (limit {self.limit:.0f} s)",
                        file=sys.stderr,
                        flush=True,
                    )
                    faulthandler.dump_traceback(file=2, all_threads=True)
                finally:  # whether or not somebody reads it
                    os._exit(1)

    def on_train_batch_end(self, *args: Any) -> None:
        self.durations.append(time.monotonic() - self.last_beat)
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
