"""A sentence on words: which models do what captions told them, and whether a guess would do as well."""

from __future__ import annotations

from collections.abc import Mapping

from videodiff.comparison.answer import Entry, entries
from videodiff.comparison.best import penalty_interval
from videodiff.comparison.tables import number
from videodiff.comparison.wording import listed, valued
from videodiff.metrics.directory import NAMED, metric_info


def words_heeded(shown: Mapping[str, Mapping[str, Entry]]) -> str | None:
    """What is said of models that were told captions and judged by them; None if none was.

    A model shows what was named where the lower end of its interval lies above the share that a guess gets right.

    Args:
        shown: metrics by model.
    """
    chances = {
        name: next(iter(found.values()))["chance"] for name in NAMED if (found := entries(shown, name))
    }
    if not chances:
        return None
    guess = listed([f"{metric_info(name).label} {number(value, 3)}" for name, value in chances.items()])
    judged = {
        model: {name: record[name] for name in chances if entries({model: record}, name)}
        for model, record in shown.items()
    }
    clauses = [heeded(model, found) for model, found in judged.items() if found]
    return f"What captions named, beside a guess ({guess}): {'; '.join(clauses)}."


def heeded(model: str, found: Mapping[str, Entry]) -> str:
    """The clause of one model."""
    above, level, unknown = list[str](), list[str](), list[str]()
    for name, entry in found.items():
        interval = penalty_interval(entry, "higher")
        group = unknown if interval is None else above if -interval[1] > entry["chance"] else level
        group.append(valued(metric_info(name).label, entry))
    if unknown:
        return f"{model} has no interval to tell it from a guess ({listed([*above, *level, *unknown])})"
    if not level:
        return f"{model} does what it is told, above chance ({listed(above)})"
    if not above:
        return f"{model} is not shown to do what it is told: not above chance ({listed(level)})"
    return f"{model} does a part of what it is told: {listed(above)} above chance, {listed(level)} not"
