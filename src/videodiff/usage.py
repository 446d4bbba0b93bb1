"""Usage errors: something asked for that does not exist or is not allowed, and the nearest name that does."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """The command line or a config asks for something that does not exist or is not allowed."""


def nearest(name: str, candidates: Iterable[str], cutoff: float = 0.55) -> str | None:
    """The candidate that ``name`` is most likely a misspelling of, or None; ``cutoff`` is how alike, from 0 to 1."""
    by_folded = {candidate.lower(): candidate for candidate in candidates}
    near = difflib.get_close_matches(name.lower(), by_folded, n=1, cutoff=cutoff)
    return by_folded[near[0]] if near else None


def did_you_mean(name: str, candidates: Iterable[str], shown: str = "{}") -> str:
    """``"; did you mean 'x'?"``, or an empty text if nothing is near; ``shown`` dresses the name."""
    near = nearest(name, candidates)
    return f"; did you mean {shown.format(near)!r}?" if near else ""
