"""Parts of sentences about a comparison: values with their intervals, lists of names, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from videodiff.comparison.record import Comparison
from videodiff.comparison.tables import number, prefixed

Entry = Mapping[str, Any]
Entries = Mapping[str, Entry]


def metrics_of(comparison: Comparison) -> dict[str, Mapping[str, Entry]]:
    """The metrics that the table shows, by model."""
    return {model.name: model.draws[0].metrics for model in comparison.models if model.draws}


def entries(shown: Mapping[str, Mapping[str, Entry]], metric: str) -> dict[str, Entry]:
    """One metric of those that have a value."""
    return {name: record[metric] for name, record in shown.items() if has_value(record.get(metric))}


def rivals_of(comparison: Comparison, metric: str) -> dict[str, Entry]:
    """One metric of the clips made without a model."""
    return entries({base["name"]: base["metrics"] for base in comparison.baselines}, metric)


def has_value(entry: Entry | None) -> bool:
    """Whether a metric was measured."""
    return bool(entry) and entry is not None and entry.get("value") is not None


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
