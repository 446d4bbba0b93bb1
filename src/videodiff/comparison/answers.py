"""A comparison in words: what a reader asks, answered as far as the intervals allow and no further.

From the record alone, so that the page, ``results.md`` and the terminal say the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from videodiff.comparison.against_none import against_none, unbeaten_rivals
from videodiff.comparison.answer import Answer, metrics_of
from videodiff.comparison.drift_answer import long_video
from videodiff.comparison.ranking import by_metric
from videodiff.comparison.record import Comparison
from videodiff.comparison.time_spent import speed, training
from videodiff.comparison.wording import capital, listed
from videodiff.comparison.words_heeded import words_heeded
from videodiff.metrics.directory import DISTANCES

# What is asked, and the metrics that answer it: the first that was measured is taken.
TOPICS = {
    "Likeness to the data": DISTANCES,
    "Prediction": ("psnr",),
    "Motion": ("digit_speed_in_range", "cloud_drift_in_range", "digit_residual", "cloud_spread"),
    "Identity": ("digit_identity", "cloud_horizon"),
}
UNMEASURED = {
    "Motion": "motion (only the built-in data have exact figures of it)",
    "Identity": "identity (likewise)",
    "Long video": "long video (--long_frames F)",
}


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


def as_told(comparison: Comparison) -> Answer | None:
    """Which models do what captions told them."""
    says = words_heeded(metrics_of(comparison))
    return None if says is None else Answer("Words", says)
