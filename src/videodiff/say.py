"""Lines for users: one on stderr from the first of several processes, and numbers with their nouns."""

from __future__ import annotations

import os
import sys


def rank() -> int:
    """This process's rank among all, before any process group exists."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", os.environ.get("SLURM_PROCID", "0"))))


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 video``, ``2 videos``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def say(text: str) -> None:
    """One line on stderr, from rank 0."""
    if rank() == 0:
        print(f"videodiff: {text}", file=sys.stderr, flush=True)
