"""Errors as users see them: one line that names the thing, the rule and the way out."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from videodiff import stopping
from videodiff.usage import UsageError

DONE, FAILED, USAGE, INTERRUPTED, STOPPED = 0, 1, 2, 130, 143

JSONARGPARSE = ('Parser key "', "Does not validate against any of the Union subtypes")

BAD_INPUT = (
    ValueError,
    FileNotFoundError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
    FileExistsError,
)


def exit_code(error: BaseException) -> int:
    """2 for what the user can put right in the command, a config or on disk; 130 or 143 for a signal; else 1."""
    if isinstance(error, stopping.Stopped):
        return STOPPED
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    bad_input = isinstance(error, BAD_INPUT) or (isinstance(error, TypeError) and _raised_by_us(error))
    named = {"MisconfigurationException", "ArgumentError", "ParserError"} & {
        base.__name__ for base in type(error).__mro__
    }
    return USAGE if bad_input or named else FAILED


def one_line(error: BaseException) -> str:
    """The message of an error on one line, with its type where the message alone would not be understood."""
    from videodiff import reasons
    from videodiff.config.jsonargparse_errors import explain

    if isinstance(error, KeyboardInterrupt):
        return str(error) or "interrupted"
    used_up = (
        reasons.used_up(cause) for cause in causes(error)
    )  # jsonargparse wraps what a constructor raises
    if (found := next(filter(None, used_up), None)) is not None:
        return found
    text = str(error)
    if type(error).__name__ in {"ArgumentError", "ParserError"} or text.startswith(JSONARGPARSE):
        return explain(text)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        name = error.filename
        text = f"{os.fsdecode(name) if isinstance(name, bytes) else name}: {error.strerror.lower()}"
    if _raised_by_us(error):  # on one line already, but for a name that holds the end of one
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    text = " ".join(next((line for line in text.splitlines() if line.strip()), "").split())
    speaks = isinstance(error, (UsageError, OSError)) or (
        text and isinstance(error, (ValueError, TypeError, RuntimeError))
    )
    return text if speaks and text else f"{type(error).__name__}: {text}" if text else type(error).__name__


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it was raised from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def first_cause(error: BaseException) -> BaseException:
    """What went wrong, where cleaning up after it went wrong too: Lightning lets only the second error through."""
    while error.__context__ is not None:
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        if "_call_and_handle_interrupt" not in names or not {"_interrupt", "_teardown"} & set(names):
            break
        error = error.__context__
    return error


def report(error: BaseException, verbose: bool = False) -> int:
    """Write the error to stderr, on the first local process only, and give the exit code."""
    error = first_cause(error)
    if int(os.environ.get("LOCAL_RANK") or 0) == 0:
        if verbose or os.environ.get("VIDEODIFF_TRACEBACK") == "1":
            traceback.print_exception(type(error), error, error.__traceback__)
        print(f"videodiff: error: {one_line(error)}", file=sys.stderr, flush=True)
    return exit_code(error)


@contextmanager
def threads_reported(verbose: bool = False) -> Iterator[None]:
    """Inside, an error that ends a helper thread gives one line, once; the command continues, or fails by itself."""
    before, reported = threading.excepthook, set()

    def tell(args: threading.ExceptHookArgs) -> None:
        if verbose or os.environ.get("VIDEODIFF_TRACEBACK") == "1" or args.exc_value is None:
            before(args)
            return
        line = f"videodiff: warning: {args.thread.name if args.thread else 'a thread'}: {one_line(args.exc_value)}"
        if line not in reported:
            reported.add(line)
            print(line, file=sys.stderr, flush=True)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = before


def _raised_by_us(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
    return bool(frames) and os.path.abspath(frames[-1].filename).startswith(package)
