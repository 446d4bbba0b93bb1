"""One answer about a comparison, and the entries of its record that answers are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from videodiff.comparison.record import Comparison

Entry = Mapping[str, Any]
Entries = Mapping[str, Entry]


@dataclass(frozen=True)
class Answer:
    """What is said of one question.

    Args:
        topic: the question in a word or two.
        says: whole sentences.
        best: the model that is ahead by more than the intervals, if one is.
        by: how far it is ahead of the next.
        lead: that model, or all that cannot be told from the first.
        timed: it rests on measured time, which another run of the same comparison need not repeat.
    """

    topic: str
    says: str
    best: str | None = None
    by: str = ""
    lead: tuple[str, ...] = ()
    timed: bool = False


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
