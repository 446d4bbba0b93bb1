"""Which models beat clips made without a model: noise and frozen frames."""

from __future__ import annotations

from collections.abc import Mapping

from videodiff.comparison.answer import Answer, Entries, Entry, entries, metrics_of, rivals_of
from videodiff.comparison.best import distance_of, is_better
from videodiff.comparison.record import Comparison
from videodiff.comparison.wording import listed, valued
from videodiff.metrics.directory import metric_info


def against_none(comparison: Comparison) -> Answer:
    """On the protocol's distance: which models beat noise and frozen frames."""
    topic, unsaid = (
        "Against no model",
        "so nothing here says that a model is better than noise or frozen frames",
    )
    shown = metrics_of(comparison)
    distance = distance_of(list(shown.values()))
    if distance is None:
        return Answer(topic, f"No distance from the data was measured, {unsaid}.")
    models, rivals = entries(shown, distance), rivals_of(comparison, distance)
    if not rivals:
        return Answer(topic, f"Noise and frozen frames were not measured, {unsaid}.")
    head = f"By {metric_info(distance).label} and by more than the 95 % intervals"
    return Answer(topic, f"{head}: {'; '.join(beating(models, rivals))}.")


def unbeaten_rivals(comparison: Comparison) -> list[str]:
    """The clips made without a model, unless a model beats them all on the protocol's distance by their intervals."""
    shown = metrics_of(comparison)
    distance = distance_of(list(shown.values()))
    rivals = rivals_of(comparison, distance) if distance else {}
    if distance is None or not rivals:
        return ["noise", "frozen frames"]
    models = entries(shown, distance).values()
    beaten = any(all(is_better(entry, rival, "lower") for rival in rivals.values()) for entry in models)
    return [] if beaten else list(rivals)


def beating(models: Entries, rivals: Entries) -> list[str]:
    """Clauses: who beats all of the clips made without a model, then every other model by itself."""
    winners, others = [], []
    for name, entry in models.items():
        beats = {rival: is_better(entry, other, "lower") for rival, other in rivals.items()}
        if all(beats.values()):
            winners.append(name)
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
        others.append(f"{name} {clause}")
    without = listed([valued(name, entry) for name, entry in rivals.items()])
    first = f"{listed(winners or ['no model'])} {'beat' if len(winners) > 1 else 'beats'} {without}"
    return [first, *others]


def is_beaten(comparison: Comparison, record: Mapping[str, Entry]) -> bool:
    """Whether clips made without a model are closer to the data by more than the intervals."""
    distance = distance_of([record])
    if distance is None:
        return False
    return any(
        is_better(rival, record[distance], "lower") for rival in rivals_of(comparison, distance).values()
    )
