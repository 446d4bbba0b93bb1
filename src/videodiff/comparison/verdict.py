"""The verdict of a comparison in one sentence: which models beat the baselines, and how far the best is ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from videodiff.comparison.best import distance_of, is_better
from videodiff.comparison.record import Comparison
from videodiff.comparison.tables import number
from videodiff.metrics.directory import metric_info

UNMEASURED = "noise and frozen frames were not measured"
UNSAID = "so nothing here says that a model is better than noise or frozen frames"


def verdict(comparison: Comparison) -> str:
    """The sentence: on the protocol's distance, which models beat the clips made without one, and who is ahead."""
    shown = {model.name: model.draws[0] for model in comparison.models if model.draws}
    distance = distance_of([draw.metrics for draw in shown.values()])
    if distance is None:
        return f"No distance was measured, {UNSAID}."
    models = {name: draw.metrics.get(distance) or {} for name, draw in shown.items()}
    measured = {name: entry for name, entry in models.items() if entry.get("value") is not None}
    rivals = {
        base["name"]: base["metrics"][distance]
        for base in comparison.baselines
        if base["metrics"].get(distance, {}).get("value") is not None
    }
    counts = sorted({draw.count for draw in shown.values()})
    facts = [f"{' or '.join(f'{count:,}' for count in counts)} clips", "lower is better"]
    facts += [valued(name, entry) for name, entry in rivals.items()]
    head = f"On {metric_info(distance).label} ({'; '.join(facts)})"
    if rivals:
        said = [f"{head}, by more than the 95 % intervals: {', '.join(against(measured, rivals))}"]
    else:
        said = [f"{head}: {listed([valued(*m) for m in measured.items()])}", f"{UNMEASURED}, {UNSAID}"]
    said += ahead(measured)
    said += [f"{name} was not measured" for name in models if name not in measured]
    return "; ".join(said) + "."


def valued(name: str, entry: dict[str, Any]) -> str:
    """``VDM 758.0 [700, 816]``."""
    low_high = entry.get("interval")
    return f"{name} {number(entry['value'])}" + (
        f" [{number(low_high[0], 3)}, {number(low_high[1], 3)}]" if low_high else ""
    )


def against(models: dict[str, dict[str, Any]], rivals: dict[str, dict[str, Any]]) -> list[str]:
    """Clauses: who beats all of the clips made without a model, then every other model by itself."""
    winners, others = [], []
    for name, entry in models.items():
        beats = {rival: is_better(entry, other, "lower") for rival, other in rivals.items()}
        if all(beats.values()):
            winners.append(valued(name, entry))
            continue
        won = [rival for rival, yes in beats.items() if yes]
        worse = [rival for rival in rivals if is_better(rivals[rival], entry, "lower")]
        level = [rival for rival in rivals if rival not in (*won, *worse)]
        parts = [f"does not beat {listed(level, 'or')}"] if level else []
        parts += [f"is worse than {listed(worse)}"] if worse else []
        clause = " and ".join(parts)
        clause = f"beats {listed(won)} but {clause}" if won else clause
        if None in beats.values():
            clause += " (no interval to tell by: too few clips)"
        others.append(f"{valued(name, entry)} {clause}")
    first = (
        f"{listed(winners or ['no model'])} {'beat' if len(winners) > 1 else 'beats'} {listed(list(rivals))}"
    )
    return [first, *others]


def ahead(models: dict[str, dict[str, Any]]) -> list[str]:
    """By how much the best is before the next, and whether their intervals overlap; nothing of one model."""
    if len(models) < 2:
        return []
    (best, ours), (second, theirs) = sorted(models.items(), key=lambda item: item[1]["value"])[:2]
    gap = theirs["value"] - ours["value"]
    if gap == 0:
        return [f"no model is ahead, {best} and {second} are level"]
    share = f" ({100 * gap / theirs['value']:.0f} %)" if theirs["value"] > 0 else ""
    apart = is_better(ours, theirs, "lower")
    sure = {True: "their intervals do not overlap", False: "but their intervals overlap",
            None: "with no intervals to say how sure that is"}[apart]  # fmt: skip
    return [f"{best} is ahead of {second}, the next, by {number(gap)}{share}, {sure}"]


def listed(words: Sequence[str], last: str = "and") -> str:
    """``A``, ``A and B``, ``A, B and C``."""
    return (
        words[0] if len(words) == 1 else f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
    )
