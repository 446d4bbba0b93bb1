"""Lines for users: one on stderr from the first of several processes, and numbers with their nouns."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_is_hushed = ContextVar("_is_hushed", default=False)


def rank() -> int:
    """This process's rank among all, before any process group exists."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", os.environ.get("SLURM_PROCID", "0"))))


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: ``1 video``, ``2 videos``; `plural` is for nouns that take more than an s."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def none_can_be(done: str, count: int, noun: str, of: str = "") -> str:
    """``none of the 3 videos of X can be read``; of one, ``the only video of X cannot be read``."""
    of = f" of {of}" if of else ""
    if count == 1:
        return f"the only {noun}{of} cannot be {done}"
    return f"none of the {count} {noun}s{of} can be {done}"


def all_too_short(count: int, of: str, longest: str) -> str:
    """``all 3 videos of X are too short: the longest has 4 frames``; of one, ``the only video of X is too short``."""
    if count == 1:
        return f"the only video of {of} is too short: it has {longest}"
    return f"all {count} videos of {of} are too short: the longest has {longest}"


def say(text: str) -> None:
    """One line on stderr, from rank 0."""
    if rank() == 0 and not _is_hushed.get():
        print(f"videodiff: {text}", file=sys.stderr, flush=True)


@contextmanager
def hushed() -> Iterator[None]:
    """Inside, ``say`` says nothing: of what is looked at beforehand and will be said again."""
    token = _is_hushed.set(True)
    try:
        yield
    finally:
        _is_hushed.reset(token)
