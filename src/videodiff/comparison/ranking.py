"""Who is ahead on one metric, as far as the intervals allow, and how many clips would tell."""

from __future__ import annotations

import math
from collections.abc import Sequence

from videodiff.comparison.against_none import is_beaten
from videodiff.comparison.answer import Answer, Entries, Entry, entries, metrics_of, rivals_of
from videodiff.comparison.best import is_better, penalty, penalty_interval
from videodiff.comparison.record import Comparison
from videodiff.comparison.tables import number
from videodiff.comparison.wording import capital, listed, ranged, valued
from videodiff.metrics.directory import DISTANCES, SHARE, WORDS, MetricInfo, metric_info

OUT_OF_REACH = 100  # times the clips; an estimate of more is no advice


def by_metric(comparison: Comparison, topic: str, names: Sequence[str]) -> Answer | None:
    """Who is ahead on the first of some metrics that was measured, beside real clips and clips made without a model."""
    shown = metrics_of(comparison)
    metric = next((name for name in names if entries(shown, name)), None)
    if metric is None:
        return None
    info, models = metric_info(metric), entries(shown, metric)
    lead, by, said = ranked(models, info)
    best = lead[0] if len(lead) == 1 else None
    floor = next((entry["floor"] for entry in models.values() if entry.get("floor") is not None), None)
    said += [f"Other real clips have {number(floor, 3)}"] if floor is not None else []
    first = min(models, key=lambda name: penalty(models[name], info.better))
    as_good = {
        name: entry
        for name, entry in rivals_of(comparison, metric).items()
        if metric not in DISTANCES and not is_better(models[first], entry, info.better)
    }  # of the distance the first answer says it
    if as_good:
        those = listed([valued(*item) for item in as_good.items()])
        said.append(f"As good without any model: {those}; alone this says little")
    if best is not None and is_beaten(comparison, shown[best]):
        said.append(f"But clips made without a model are closer to the data than those of {best}")
        best, by = None, ""
    said += [f"{name} was not measured" for name in shown if name not in models]
    return Answer(topic, " ".join(f"{capital(sentence)}." for sentence in said), best, by, lead)


def ranked(models: Entries, info: MetricInfo) -> tuple[tuple[str, ...], str, list[str]]:
    """Who leads, how far, and sentences that say so.

    Returns:
        The one that is ahead of all others by more than the intervals, or all that cannot be told from the first, or
        nobody; by how much the one is ahead; sentences without their full stops.
    """
    first, *others = sorted(models, key=lambda name: penalty(models[name], info.better))
    ours, way = models[first], f"{info.label} ({WORDS[info.better]})"
    if not others:
        return (), "", [f"{way} of {valued(first, ours)}"]
    counts = sorted({entry["count"] for entry in models.values() if entry.get("count")})
    if len(counts) > 1 and info.name in DISTANCES:
        values = listed([f"{valued(*item)} of {item[1].get('count')} clips" for item in models.items()])
        return (), "", [f"{way}: {values}; not compared, as a distance depends on the number of clips"]
    behind = [name for name in others if is_better(ours, models[name], info.better)]
    level = [name for name in others if name not in behind]
    if not level:
        theirs = models[others[0]]
        rest = [f"{name} {number(models[name]['value'], 3)}" for name in others[1:]]
        then = f", then {listed(rest)}" if rest else ""
        by = gap(ours, theirs, info)
        said = f"{first} is ahead in {way}: {ranged(ours)} against {ranged(theirs)} of {others[0]}, the next"
        return (first,), by, [f"{said}, {by}{then}; the intervals are apart"]
    return (first, *level), "", [*undecided(models, first, level, info), *trailing(models, first, behind)]


def undecided(models: Entries, first: str, level: Sequence[str], info: MetricInfo) -> list[str]:
    """Sentences of models that cannot be told from the first one, and what would tell them apart."""
    way, values = (
        f"{info.label} ({WORDS[info.better]})",
        [valued(name, models[name]) for name in (first, *level)],
    )
    if any(is_better(models[first], models[name], info.better) is None for name in level):
        return [f"{way}: {listed(values)}, with no intervals to say whether one is ahead"]
    count = models[first].get("count")
    with_clips = f" with {count:,} clips" if count else ""
    said = f"{way}: {listed(values)} cannot be told apart{with_clips}, as the intervals overlap"
    if penalty(models[first], info.better) == penalty(models[level[0]], info.better):
        return [f"{said}; {first} and {level[0]} are level"]
    needed = clips_to_tell(models[first], models[level[0]], info)
    if needed is not None:
        said += f"; about {needed:,} clips would part {first} and {level[0]} if the values stay"
    elif count:
        said += f"; not even {OUT_OF_REACH} times as many clips would part {first} and {level[0]}"
    return [said]


def trailing(models: Entries, first: str, behind: Sequence[str]) -> list[str]:
    """A sentence of those whose intervals lie apart from the first one's."""
    if not behind:
        return []
    those = listed([f"{name} {number(models[name]['value'], 3)}" for name in behind])
    return [f"{those} {'is' if len(behind) == 1 else 'are'} behind {first}"]


def clips_to_tell(ours: Entry, theirs: Entry, info: MetricInfo) -> int | None:
    """About how many clips would part two intervals if both values stayed; None if too many, or unknown.

    The width of an interval falls with the square root of the count.
    """
    left, right = penalty_interval(ours, info.better), penalty_interval(theirs, info.better)
    count = ours.get("count")
    apart = penalty(theirs, info.better) - penalty(ours, info.better)
    if left is None or right is None or not count or apart <= 0:
        return None
    reach = (left[1] - penalty(ours, info.better)) + (penalty(theirs, info.better) - right[0])
    needed = count * (reach / apart) ** 2
    if needed > OUT_OF_REACH * count:
        return None
    digit = 10 ** max(0, math.floor(math.log10(needed)) - 1)  # two digits: it is an estimate
    return math.ceil(needed / digit) * digit


def gap(ours: Entry, theirs: Entry, info: MetricInfo) -> str:
    """By how much: in percentage points of a share, in the unit, or in percent of the other value."""
    one, other = ours["value"], theirs["value"]
    if info.better == "real":
        return f"{number(abs(penalty(theirs, 'real') - penalty(ours, 'real')), 3)} closer to the real clips' value"
    word = "less" if one < other else "more"
    if info.within == SHARE:
        return f"{100 * abs(one - other):.0f} percentage points {word}"
    if info.unit or other <= 0:
        return f"{number(abs(one - other), 3)} {info.unit} {word}".replace("  ", " ")
    return f"{100 * abs(one - other) / other:.0f} % {word}"
