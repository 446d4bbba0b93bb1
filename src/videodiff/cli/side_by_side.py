"""Trainings as child processes, several at a time: each writes a log, and all end with the process that began them.

The children are forked from a server that has imported what training needs, so none waits for that. However this
process ends (Ctrl-C, a closed terminal, a kill), a child notices it and ends as on SIGTERM.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any

ENDING_S = 15.0  # what a child has for its last checkpoint before it is killed
PRELOAD = (
    "torch.utils.tensorboard", "pytorch_lightning", "jsonargparse", "videodiff.callbacks", "videodiff.checkpoints",
    "videodiff.cli.lightning", "videodiff.models", "videodiff.networks", "videodiff.data",
)  # fmt: skip


@dataclass
class Training:
    """One training.

    Args:
        name: by which others need it.
        words: of ``videodiff``, from the verb.
        log: file that takes what it says.
        folder: of its run.
        needs: name of the training that must have ended well before; None for one that needs none.

    Attributes:
        state: waiting, running, done or failed.
        seconds: that it has run, or ran.
        reason: why it failed, in one line.
        code: with which it ended.
    """

    name: str
    words: Sequence[str]
    log: Path
    folder: Path
    needs: str | None = None
    state: str = "waiting"
    reason: str = ""
    code: int | None = None
    began: float = 0.0
    ended: float | None = None
    process: Any = field(default=None, repr=False)

    @property
    def seconds(self) -> float:
        """Since its beginning, or that it took."""
        if not self.began:
            return 0.0
        return (self.ended or time.monotonic()) - self.began


class SideBySide:
    """Runs trainings, some at a time; ``with SideBySide(2) as trainings``, which ends those that still run.

    Args:
        at_a_time: how many.
        threads: of each.
    """

    def __init__(self, at_a_time: int, threads: int = 1) -> None:
        self.at_a_time, self.threads = at_a_time, threads
        self.all: list[Training] = []
        self.context = context()

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(self, *_: object) -> None:
        running = [each for each in self.all if each.process is not None and each.process.is_alive()]
        for each in running:
            each.process.terminate()
        until = time.monotonic() + ENDING_S
        for each in running:
            each.process.join(max(until - time.monotonic(), 0.0))
            if each.process.is_alive():
                each.process.kill()
                each.process.join()

    @property
    def is_over(self) -> bool:
        """Whether none runs or waits."""
        return all(each.state in ("done", "failed") for each in self.all)

    def begin(self) -> list[Training]:
        """Begin as many of those that wait as there is room for, in their order.

        Returns:
            Those that began, and those that have failed because what they need has.
        """
        begun = []
        for each in self.all:
            if each.state != "waiting":
                continue
            needed = next((other for other in self.all if other.name == each.needs), None)
            if needed is not None and needed.state == "failed":
                each.state, each.reason = "failed", f"it needs {needed.name}, which failed"
                begun.append(each)
            elif (needed is None or needed.state == "done") and self.running() < self.at_a_time:
                self.start(each)
                begun.append(each)
        return begun

    def running(self) -> int:
        """How many run."""
        return sum(each.state == "running" for each in self.all)

    def start(self, training: Training) -> None:
        """Begin one."""
        training.log.parent.mkdir(parents=True, exist_ok=True)
        training.process = self.context.Process(
            target=_train, args=(list(training.words), os.fspath(training.log), self.threads)
        )
        training.process.start()
        training.state, training.began = "running", time.monotonic()

    def wait(self, seconds: float) -> list[Training]:
        """Wait until a training ends, or so long; those that have ended."""
        running = {each.process.sentinel: each for each in self.all if each.state == "running"}
        if not running:
            return []
        ended = [running[sentinel] for sentinel in connection.wait(list(running), timeout=seconds)]
        for each in ended:
            each.process.join()
            each.ended, each.code = time.monotonic(), each.process.exitcode
            each.state = "done" if each.code == 0 else "failed"
            each.reason = "" if each.code == 0 else reason_of(each.log, each.code)
        return ended


def context() -> Any:
    """How children are made."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(list(PRELOAD))
    return found


def get_ready() -> None:
    """Let the server import what trainings need, beside whatever this process does meanwhile."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context()
        forkserver.ensure_running()


def reason_of(log: Path, code: int | None) -> str:
    """Why a training failed, in one line: its error, or else its last line, or the signal that ended it."""
    lines = list(told(log))
    errors = [line for line in lines if line.startswith("videodiff: error: ")]
    if errors:
        return errors[-1].removeprefix("videodiff: error: ")
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"it was ended by {signal.Signals(-code).name}"
    return lines[-1] if lines else f"it ended with code {code}"


def told(log: Path) -> Iterator[str]:
    """The lines of a log, without empty ones."""
    with suppress(OSError):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.strip():
                yield line.strip()


def _train(words: list[str], log: str, threads: int) -> None:
    """What a child does."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    threading.Thread(target=_end_with_parent, daemon=True, name="parent").start()
    import torch

    from videodiff.cli import main

    torch.set_num_threads(threads)
    sys.exit(main(words))


def _end_with_parent() -> None:
    """Wait until the parent is gone, then end this process as a scheduler would, and at last by force."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ENDING_S)
    os._exit(1)
