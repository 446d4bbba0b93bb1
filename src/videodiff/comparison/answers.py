"""A comparison in words: what a reader asks, answered as far as the intervals allow and no further.

From the record alone, so that the page, ``results.md`` and the terminal say the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from videodiff.comparison.best import distance_of, is_better, penalty, penalty_interval
from videodiff.comparison.phrases import (
    Entries,
    Entry,
    capital,
    entries,
    large,
    listed,
    metrics_of,
    plural,
    ranged,
    rivals_of,
    valued,
)
from videodiff.comparison.record import Comparison
from videodiff.comparison.tables import number, seconds
from videodiff.comparison.words_heeded import words_heeded
from videodiff.metrics.directory import DISTANCES, SHARE, WORDS, MetricInfo, metric_info
from videodiff.say import counted

# What is asked, and the metrics that answer it: the first that was measured is taken.
TOPICS = {
    "Likeness to the data": DISTANCES,
    "Prediction": ("psnr",),
    "Motion": ("digit_speed_in_range", "cloud_drift_in_range", "digit_residual", "cloud_spread"),
    "Identity": ("digit_identity", "cloud_horizon"),
}
ALONG = (*DISTANCES, "digit_identity", "cloud_horizon", "digit_speed_in_range", "cloud_drift_in_range")
UNMEASURED = {
    "Motion": "motion (only the built-in data have exact figures of it)",
    "Identity": "identity (likewise)",
    "Long video": "long video (--long_frames F)",
}
OUT_OF_REACH = 100  # times the clips; an estimate of more is no advice
ALIKE = 1.1  # ratio of two measured times up to which they are called alike
FAIR = 1.25  # ratio of two budgets of training from which a reader is told


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


def answers(comparison: Comparison) -> list[Answer]:
    """What a comparison says, question by question; first in short, if models were compared."""
    found = [
        against_none(comparison),
        *(by_metric(comparison, topic, names) for topic, names in TOPICS.items()),
        as_told(comparison),
        long_video(comparison),
        speed(comparison),
        training(comparison),
    ]
    there = [answer for answer in found if answer is not None]
    missing = [words for topic, words in UNMEASURED.items() if all(a.topic != topic for a in there)]
    if missing:
        there.append(Answer("Not measured", f"{capital(listed(missing))}."))
    return [*in_short(comparison, there), *there]


def in_short(comparison: Comparison, found: Sequence[Answer]) -> list[Answer]:
    """Who is ahead in what, and by how much; nothing of a single model."""
    if len(comparison.models) < 2:
        return []
    asked = [answer for answer in found if answer.topic in TOPICS]
    parts = []
    for model in comparison.models:
        won = [f"{answer.topic.lower()} ({answer.by})" for answer in asked if answer.best == model.name]
        parts += [f"{model.name} is ahead in {listed(won)}"] if won else []
    if unbeaten := unbeaten_rivals(comparison):
        parts.insert(0, f"no model is shown to beat {listed(unbeaten)}")
    open_ = [answer for answer in asked if answer.best is None]
    led = {answer.topic: answer.lead for answer in open_ if 1 < len(answer.lead) < len(comparison.models)}
    parts += [f"in {topic.lower()} {listed(lead)} lead, not told apart" for topic, lead in led.items()]
    level = [answer.topic.lower() for answer in open_ if answer.topic not in led]
    if level:
        parts.append(f"in {listed(level)} the intervals allow no model to be called ahead")
    return [Answer("In short", f"{capital('; '.join(parts))}.")] if parts else []


# --- clips made without a model -----------------------------------------------------------------------------------


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


# --- one metric ---------------------------------------------------------------------------------------------------


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


def is_beaten(comparison: Comparison, record: Mapping[str, Entry]) -> bool:
    """Whether clips made without a model are closer to the data by more than the intervals."""
    distance = distance_of([record])
    if distance is None:
        return False
    return any(
        is_better(rival, record[distance], "lower") for rival in rivals_of(comparison, distance).values()
    )


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


def as_told(comparison: Comparison) -> Answer | None:
    """Which models do what captions told them."""
    says = words_heeded(metrics_of(comparison))
    return None if says is None else Answer("Words", says)


# --- long video, time ---------------------------------------------------------------------------------------------


def long_video(comparison: Comparison) -> Answer | None:
    """From the first window of long videos to the last: who gets worse, as far as so few videos tell."""
    ends = {
        model.name: (model.drift[0], model.drift[-1]) for model in comparison.models if len(model.drift) > 1
    }
    if not ends:
        return None
    metric = next((name for name in ALONG if any(judged(pair, name) for pair in ends.values())), None)
    first, last = next(iter(ends.values()))
    place = "frames {} to {}".format(*last["frames"])
    if metric is None:
        return Answer("Long video", f"Up to {place}: too few videos for intervals, so nothing can be told.")
    info, groups = metric_info(metric), dict[str, list[str]]()
    for name, pair in ends.items():
        if judged(pair, metric):
            early, late = (window["metrics"][metric] for window in pair)
            worse, better = is_better(early, late, info.better), is_better(late, early, info.better)
            says = (
                "gets worse" if worse else "gets better" if better else "shows no change beyond the intervals"
            )
            values = (number(entry["value"], 3) for entry in (early, late))
            groups.setdefault(says, []).append(f"{name} ({' to '.join(values)})")
        else:
            groups.setdefault("has no intervals", []).append(name)
    clauses = [f"{listed(names)} {plural(says, len(names))}" for says, names in groups.items()]
    count = first["metrics"][metric].get("count") if metric in first["metrics"] else None
    videos = f", {counted(count, 'video')} of each model" if count else ""
    head = f"{info.label} ({WORDS[info.better]}) in {'frames {} to {}'.format(*first['frames'])} and in {place}{videos}"
    return Answer("Long video", f"{capital(head)}: {'; '.join(clauses)}.")


def judged(pair: Sequence[Mapping[str, Any]], metric: str) -> bool:
    """Whether a metric has intervals in both windows."""
    way = metric_info(metric).better
    return all(penalty_interval(window["metrics"].get(metric), way) is not None for window in pair)


def speed(comparison: Comparison) -> Answer | None:
    """Who makes a video fastest, on the machine that measured it."""
    taken = {
        model.name: value
        for model in comparison.models
        for draw in model.draws[:1]
        if (value := draw.timing.get("seconds_per_video"))
    }
    if not taken:
        return None
    first, *others = sorted(taken, key=lambda name: taken[name])
    if not others:
        return Answer(
            "Speed", f"A video of {first} takes {seconds(taken[first])} on this machine.", timed=True
        )
    alike = [name for name in others if taken[name] <= ALIKE * taken[first]]
    slower = [name for name in others if name not in alike]
    times = [
        f"{number(taken[name] / taken[first], 2)} times as long ({seconds(taken[name])})" for name in slower
    ]
    said = f"{listed([first, *alike])} {'take' if alike else 'takes'} {seconds(taken[first])} a video on this machine"
    said += ", alike within 10 %" if alike else ""
    said += "".join(f"; {name} {text}" for name, text in zip(slower, times, strict=True))
    return Answer("Speed", f"{said}. A time has no interval.", None if alike else first, timed=True)


def training(comparison: Comparison) -> Answer | None:
    """What the weights took, first stages included: figures of unequal budgets are of budgets, too."""
    spent = {}
    for model in comparison.models:
        stage = ((model.first_stage or {}).get("training") or {}).get("seconds")
        parts = [value for value in (model.training.seconds, stage) if value]
        if parts:
            spent[model.name] = sum(parts)
    if not spent:
        return None
    sizes = {model.name: sum(model.parameters.values()) for model in comparison.models}
    those = [
        f"{name} {seconds(value)}" + (f" ({large(sizes[name])} parameters)" if sizes[name] else "")
        for name, value in spent.items()
    ]
    said = f"{listed(those)}, first stages included"
    ratio = max(spent.values()) / min(spent.values())
    if ratio > FAIR:
        said += f". The longest is {number(ratio, 2)} times the shortest, which the figures above do not allow for"
    return Answer("Training", f"{said}.")
