"""Stop on a signal: finish the step, save, say how to resume, and exit with the right code."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.utils.data._utils import signal_handling

from videodiff.names import shell_word
from videodiff.run_layout import CHECKPOINTS, LAST
from videodiff.stopping import exit_code, heeded


class StopOnSignal(Callback):
    """A signal of ``stopping.SIGNALS`` saves ``checkpoints/last.ckpt`` and ends the run: exit 143, after SIGINT 130.

    One that was ignored when the run began stays ignored.

    The handler only sets a flag, since a collective inside a handler meets those of other ranks out of order. Between
    steps the ranks agree on the flag and all stop at the same step, whichever of them the signal reached. A signal
    during validation saves the training state before it, and the resumed run validates again.

    Args:
        poll_seconds: how often ranks compare flags; the steps between are counted, so that all compare at the same one.

    Raises:
        ValueError: if ``poll_seconds`` is not positive.
    """

    def __init__(self, poll_seconds: float = 1.0) -> None:
        if poll_seconds <= 0:
            raise ValueError(f"poll_seconds must be positive, got {poll_seconds}")
        self.poll_seconds = poll_seconds
        self.received = 0
        self.active = False
        self.pid = 0
        self.previous: dict[int, Any] = {}
        self.calls, self.next_call, self.stride, self.last_poll = 0, 1, 1, 0.0
        self.common_batches = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Before Lightning registers its own handlers and before loader workers are forked: both find ours in place.
        self.received, self.active, self.pid = 0, True, os.getpid()
        self.calls, self.next_call, self.stride, self.last_poll = 0, 1, 1, time.monotonic()
        shield_workers(True)
        if not self.previous:
            self.previous = {number: signal.signal(number, self.handle) for number in heeded()}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        silence_lightning(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for number in self.previous:
            if signal.getsignal(number) != self.handle:
                signal.signal(number, self.handle)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal; outside ``fit`` behave as if this callback were not there."""
        if self.active and os.getpid() == self.pid:
            self.received = max(self.received, number)
        elif self.active:  # a forked child of ours
            ignore_once(number, frame)
        else:
            forward(self.previous.get(number), number, frame)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        # Between optimizer steps only: half an accumulated step cannot be saved.
        if not trainer.fit_loop._should_accumulate() and self.poll(trainer):
            self.leave(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.common_batches = float(sum(trainer.num_val_batches)) if not trainer.sanity_checking else 0.0
        if trainer.world_size > 1 and self.common_batches:  # ranks may have unlike shares of the set
            smallest = torch.tensor(self.common_batches, device=pl_module.device)
            torch.distributed.all_reduce(smallest, op=torch.distributed.ReduceOp.MIN)
            self.common_batches = float(smallest)
        self.restart_pace()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.restart_pace()

    def restart_pace(self) -> None:
        """Ask at the next call: training steps and validation batches take unlike times."""
        self.stride, self.next_call, self.last_poll = 1, self.calls + 1, time.monotonic()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        *args: Any,
    ) -> None:
        if trainer.state.fn == "fit" and batch_idx < self.common_batches and self.poll(trainer):
            self.leave(trainer)

    def poll(self, trainer: pl.Trainer) -> bool:
        """Has any rank received a signal? Asked at the same calls on every rank."""
        if trainer.world_size == 1:
            return self.received > 0
        self.calls += 1
        if self.calls < self.next_call:
            return False
        now = time.monotonic()
        pace = (now - self.last_poll) / self.stride
        state = torch.tensor([float(self.received), pace], device=trainer.strategy.root_device)
        torch.distributed.all_reduce(state, op=torch.distributed.ReduceOp.MAX)
        agreed, pace = state.tolist()
        self.last_poll = now
        self.stride = max(1, min(int(self.poll_seconds / max(pace, 1e-6)), 2 * self.stride))
        self.next_call = self.calls + self.stride
        if agreed:  # one that came while we reduced waits for the next poll, or ranks would part here
            self.received = int(agreed)
        return agreed > 0

    def leave(self, trainer: pl.Trainer) -> None:
        """Save, print the resume line and exit; every rank comes here at the same step."""
        for number in self.previous:
            signal.signal(number, signal.SIG_IGN)
        path = Path(trainer.default_root_dir) / CHECKPOINTS / LAST
        trainer.save_checkpoint(path, weights_only=False)
        if trainer.is_global_zero:
            print(
                f"{signal.Signals(self.received).name}: saved step {trainer.global_step}; resume with: "
                f"videodiff fit --out {shell_word(trainer.default_root_dir)}",
                file=sys.stderr,
                flush=True,
            )
        end_workers()
        raise SystemExit(exit_code(self.received))

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        if not (isinstance(exception, SystemExit) and self.received):
            self.restore()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.restore()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.restore()

    def restore(self) -> None:
        """Give the signals back to whom they belonged."""
        self.active = False
        shield_workers(False)
        for number, handler in self.previous.items():
            if signal.getsignal(number) == self.handle:
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def silence_lightning(trainer: pl.Trainer) -> None:
    """Keep Lightning's SIGTERM handler from running a collective, and its step loop from broadcasting a flag we reduce.

    Its handler broadcasts wherever the process happens to be, which hangs distributed runs, and the loop reads a flag
    on the host before every batch.
    """
    signals: Any = trainer._signal_connector
    signals._sigterm_notifier_fn = lambda number, frame: None
    loop: Any = trainer.fit_loop.epoch_loop
    if hasattr(loop, "_broadcast_sigterm_tensor"):
        loop._broadcast_sigterm_tensor = lambda: None


def ignore_once(number: int, frame: FrameType | None) -> None:
    """In a loader worker: the parent decides what its group's signal means; a second one ends the worker."""
    signal.signal(number, signal.SIG_DFL)


def shield_workers(on: bool) -> None:
    """Make loader workers forked from now on outlive the first signal, or no longer.

    A signal to the process group reaches them too. Torch gives them a SIGTERM handler that ends them, upon which the
    parent fails for want of data, at a place where it cannot save.
    """
    torchs: Any = signal_handling
    if on and not hasattr(torchs, "_videodiff_original"):
        original = torchs._videodiff_original = torchs._set_worker_signal_handlers

        def handlers() -> None:
            original()
            for number in heeded():
                signal.signal(number, ignore_once)

        torchs._set_worker_signal_handlers = handlers
    elif not on and hasattr(torchs, "_videodiff_original"):
        torchs._set_worker_signal_handlers = torchs._videodiff_original
        del torchs._videodiff_original


def end_workers() -> None:
    """End this process's loader workers at once; they would wait for each other's queues for seconds at exit."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises when a worker dies
    workers = [process for process in multiprocessing.active_children() if process.daemon]
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()


def forward(handler: Callable | int | None, number: int, frame: FrameType | None) -> None:
    """Do what an earlier handler would have done."""
    if callable(handler):
        handler(number, frame)
    elif handler == signal.SIG_DFL:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
