"""Signals that end a command, and how a command with nothing to save ends on them.

Ground for everyone, like ``seeding``. Schedulers and terminals end a job in many ways: SIGTERM (all), SIGUSR1 (sbatch
``--signal``), SIGUSR2 (submitit, SGE ``-notify``), SIGXCPU (limits of LSF and SGE), SIGHUP (a terminal that closes).
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (
    signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU, signal.SIGHUP, signal.SIGINT,
)  # fmt: skip


class Stopped(KeyboardInterrupt):
    """A signal other than Ctrl-C asked the command to end; whoever cleans up after Ctrl-C does so after this.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")


def exit_code(number: int) -> int:
    """130 for Ctrl-C, 143 for every other signal, as schedulers expect of a job that saved and left."""
    return 130 if number == signal.SIGINT else 143


def heeded() -> tuple[signal.Signals, ...]:
    """The signals that were not ignored when the process began: nohup means that SIGHUP stays ignored."""
    return tuple(number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN)


@contextmanager
def raised() -> Iterator[None]:
    """Inside, a signal that would kill this process raises :class:`Stopped` in its main thread.

    Handlers of somebody else and ignored signals are left alone. Forked children die of the signal as before.
    """
    pid = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == pid:
            raise Stopped(number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    ours = []
    if threading.current_thread() is threading.main_thread():
        ours = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) == handle:
                signal.signal(number, signal.SIG_DFL)
