"""Values, names and clauses as the words of a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from videodiff.comparison.answer import Entry
from videodiff.comparison.tables import number, prefixed


def ranged(entry: Entry) -> str:
    """``758 [700, 816]``."""
    low_high = entry.get("interval")
    ends = f" [{number(low_high[0], 3)}, {number(low_high[1], 3)}]" if low_high else ""
    return f"{number(entry['value'], 3)}{ends}"


def valued(name: str, entry: Entry) -> str:
    """``VDM 758 [700, 816]``."""
    return f"{name} {ranged(entry)}"


def large(count: int) -> str:
    """``2.90 M``; below a million in full."""
    return prefixed(count) if count >= 1e6 else f"{count:,}"


def plural(says: str, count: int) -> str:
    """A clause in the third person for one or several."""
    verb, rest = says.split(" ", 1)
    return says if count == 1 else f"{ {'gets': 'get', 'shows': 'show', 'has': 'have'}[verb] } {rest}"


def capital(text: str) -> str:
    """A sentence with a capital first, unless it begins with a name that is written small."""
    return text if "_" in text.split(" ")[0] else text[:1].upper() + text[1:]


def listed(words: Sequence[str], last: str = "and") -> str:
    """``A``, ``A and B``, ``A, B and C``."""
    return (
        words[0] if len(words) == 1 else f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
    )
