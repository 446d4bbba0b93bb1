"""Work divided among processes, in order, where any single piece may crash its process or never end.

The standard pools either wait for ever for a process that died or give up all their work. A video can crash a decoder,
so here a lost piece is an answer like any other, and a new process takes the next one.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # not on every platform
    from multiprocessing.context import ForkServerContext, SpawnContext

START_S = 120.0  # a process may take this long to start
SILENCE_S = 300.0  # a piece whose process shows no sign of life for this long is given up
LISTEN_S = 1.0  # one wait for signs of life
Beat = Callable[[], None]


@dataclass(frozen=True)
class Lost:
    """The answer for a piece whose process died or fell silent."""

    reason: str


@dataclass
class _Worker:
    process: Any
    pipe: connection.Connection
    job: int | None = None
    silent: float = 0.0  # seconds that were waited for it in vain; a suspended parent has not waited
    has_started: bool = False


def ordered_map(
    function: Callable[[Any, Beat], Any], jobs: Sequence[Any], workers: int, silence_s: float = SILENCE_S
) -> Iterator[Any]:
    """``function(job, beat)`` of every job, in the order of the jobs.

    Args:
        function: a module-level function; it calls ``beat()`` now and then to show that it lives.
        jobs: its arguments.
        workers: processes; 0 works in this one, where nothing can be given up.
        silence_s: seconds without a sign of life after which a piece is given up.

    Yields:
        what the function returned, or :class:`Lost`.

    Raises:
        Exception: what the function raised.
    """
    if workers == 0:
        for job in jobs:
            yield function(job, _no_beat)
        return
    crew = _Crew(function, workers, silence_s)
    try:
        yield from crew.work(jobs)
    finally:
        crew.dismiss()


def _no_beat() -> None:
    return None


class _Crew:
    def __init__(self, function: Callable[[Any, Beat], Any], size: int, silence_s: float) -> None:
        # A fresh process that copies nothing of this one: forked threads and pipes would outlive their meaning.
        self.context: ForkServerContext | SpawnContext
        if "forkserver" in multiprocessing.get_all_start_methods():
            self.context = multiprocessing.get_context("forkserver")
            self.context.set_forkserver_preload([function.__module__])
        else:
            self.context = multiprocessing.get_context("spawn")
        self.function, self.silence_s = function, silence_s
        self.workers = [self._hire() for _ in range(size)]

    def _hire(self) -> _Worker:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_serve, args=(theirs, self.function), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def work(self, jobs: Sequence[Any]) -> Iterator[Any]:
        answers: dict[int, Any] = {}
        begun = 0
        for wanted in range(len(jobs)):
            while wanted not in answers:
                # Not far ahead: finished pieces that wait for an earlier one take room on the disk.
                for worker in self.workers:
                    if worker.job is None and begun < min(len(jobs), wanted + 4 * len(self.workers)):
                        self._give(worker, begun, jobs[begun])
                        begun += 1
                answers.update(self._listen())
            answer = answers.pop(wanted)
            if isinstance(answer, BaseException):
                raise answer
            yield answer

    def _give(self, worker: _Worker, number: int, job: Any) -> None:
        worker.job, worker.silent = number, 0.0
        with suppress(OSError):  # it died while idle; listening finds that out
            worker.pipe.send(job)

    def _listen(self) -> dict[int, Any]:
        busy = [(worker, worker.job) for worker in self.workers if worker.job is not None]
        answers: dict[int, Any] = {}
        began = time.monotonic()
        ready = connection.wait([worker.pipe for worker, _ in busy], timeout=LISTEN_S)
        waited = min(time.monotonic() - began, LISTEN_S)
        for worker, _ in busy:
            worker.silent += waited
        for worker, job in busy:
            if worker.pipe not in ready:
                continue
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                worker.process.join(5)
                answers[job] = Lost(f"its process died ({_ending(worker.process.exitcode)})")
                self._replace(worker)
                continue
            worker.silent, worker.has_started = 0.0, True
            if message is not None:  # None is a sign of life
                answers[job] = message[0]
                worker.job = None
        for worker in list(self.workers):
            patience = self.silence_s if worker.has_started else max(self.silence_s, START_S)
            if worker.job is not None and worker.silent > patience:
                worker.process.kill()
                answers[worker.job] = Lost(f"no progress for {self.silence_s:g} s")
                self._replace(worker)
        return answers

    def _replace(self, worker: _Worker) -> None:
        worker.pipe.close()
        self.workers[self.workers.index(worker)] = self._hire()

    def dismiss(self) -> None:
        for worker in self.workers:
            worker.pipe.close()
            worker.process.kill()
        for worker in self.workers:
            worker.process.join(10)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"


def _serve(pipe: connection.Connection, function: Callable[[Any, Beat], Any]) -> None:
    """Answer jobs until the pipe is closed, which a dying parent does too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent decides
    import torch

    torch.set_num_threads(1)
    heard = time.monotonic()

    def beat() -> None:
        nonlocal heard
        if time.monotonic() - heard > 1.0:
            heard = time.monotonic()
            pipe.send(None)

    try:
        pipe.send(None)
        while True:
            job = pipe.recv()
            try:
                answer: Any = function(job, beat)
            except Exception as error:
                answer = error
            pipe.send((answer,))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
