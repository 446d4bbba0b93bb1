"""Command-line words as plain values: numbers in a range, existing files, places to write. Imports nothing heavy."""

from __future__ import annotations

import argparse
import errno
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST = 10_000_000


def shortened(value: Any) -> str:
    """A value as text of at most 60 characters."""
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def whole(least: int = 1, most: int = MOST) -> Callable[[str], int]:
    """The ``type`` of an option that is a whole number in a range; beyond ``most`` it is a slip of the keyboard."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, got {shortened(text)!r}") from None
        check_range(value, least, most)
        return value

    return convert


def real(least: float = -math.inf, most: float = math.inf) -> Callable[[str], float]:
    """The ``type`` of an option that is a finite number in a range."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number, got {shortened(text)!r}") from None
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"must be a finite number, got {shortened(text)}")
        check_range(value, least, most)
        return value

    return convert


def check_range(value: float, least: float, most: float) -> None:
    """Refuse a number outside a range.

    Raises:
        argparse.ArgumentTypeError: with the end that is passed.
    """
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, got {shortened(value)}")
    if value > most:
        raise argparse.ArgumentTypeError(f"must be at most {most}, got {shortened(value)}")


def existing(text: str) -> str:
    """The ``type`` of an option that names a file or a folder which is there."""
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"must be a file or folder that exists, got {text!r}")
    return text


def writable(text: str) -> Path:
    """The ``type`` of an option that names a folder or a file to write: its nearest folder must let us write."""
    path = Path(text)
    there = next((p for p in (path, *path.parents) if os.path.lexists(p)), Path())
    reason = None
    if there != path and not there.is_dir():
        reason = errno.ENOTDIR
    elif there.is_dir() and not os.access(there, os.W_OK | os.X_OK):
        reason = errno.EACCES
    if reason is not None:
        told = os.strerror(reason).lower()
        raise argparse.ArgumentTypeError(
            f"must be a place to write: {text} cannot be written ({told}); name another directory"
        )
    return path
