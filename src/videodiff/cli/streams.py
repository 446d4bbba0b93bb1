"""Standard output and error that outlive their readers: a lost message must not cost a result."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from videodiff.reasons import reason

# After these a later write may succeed again; after any other the stream is gone for good.
PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EAGAIN)


class LastingStream:
    """A text stream to write to whose failures are remembered, never raised.

    The reader of a pipe may end (``| head``, a killed ``tee``), a terminal may close, the disk of a log may fill up.
    A stream that is gone for good is turned to the null device, for child processes and for Python's own flush at exit.

    Args:
        stream: where the text goes.

    Attributes:
        lost: the first failure, or None.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.lost: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write, or drop the text."""
        try:
            self.stream.write(text)
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self.lose(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write, or drop, one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush what can be."""
        try:
            self.stream.flush()
        except OSError as error:
            self.lose(error)
        except ValueError:  # closed: nothing waits in it
            return

    def isatty(self) -> bool:
        """Whether it is a terminal, still."""
        try:
            return self.stream.isatty()
        except ValueError:
            return False

    def lose(self, error: OSError | ValueError) -> None:
        """Remember the first failure; turn a stream that is gone for good to the null device."""
        self.lost = self.lost or error
        if getattr(error, "errno", None) not in PASSING:
            self.silence()

    def silence(self) -> None:
        """Send everything from now on, and what waits in the buffer, to the null device."""
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.stream.fileno())
            os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def lasting() -> Iterator[tuple[LastingStream, LastingStream]]:
    """Inside, ``sys.stdout`` and ``sys.stderr`` are lasting ones, which are given."""
    fill_standard_files()
    before = sys.stdout, sys.stderr
    null = open(os.devnull, "w") if None in before else None  # noqa: SIM115 - of a process without one of them
    out, err = (LastingStream(cast(TextIO, null if stream is None else stream)) for stream in before)
    sys.stdout, sys.stderr = ours = out, err
    refusal = set_errors(before, ["backslashreplace"] * 2)  # a name may hold bytes that are no text
    try:
        yield ours
    finally:
        for stream in ours:
            stream.flush()
            if stream.lost is not None:  # Python flushes once more at exit, and would fail then
                stream.silence()
        sys.stdout, sys.stderr = before
        set_errors(before, refusal)
        if null is not None:
            null.close()


def set_errors(streams: Sequence[TextIO | None], handlers: Sequence[str | None]) -> list[str | None]:
    """Tell each stream what to do about characters that it cannot encode; returns what they did before."""
    before = [getattr(stream, "errors", None) for stream in streams]
    for stream, handler in zip(streams, handlers, strict=True):
        with suppress(AttributeError, OSError, ValueError):  # not a file's stream, or gone
            cast(Any, stream).reconfigure(errors=handler)
    return before


def fill_standard_files() -> None:
    """Open the null device where a standard file is closed: the next file would get its number, and the log with it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def unwritten(stream: LastingStream) -> str | None:
    """Why results were lost, in one line; a reader that had enough is no loss."""
    if stream.lost is None or isinstance(stream.lost, BrokenPipeError):
        return None
    return f"standard output cannot be written: {reason(stream.lost)}; what was printed is lost"
