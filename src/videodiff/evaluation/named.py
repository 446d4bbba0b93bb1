"""Whether clips show what their captions name, where the built-in sets state the truth behind these: shares of clips.

What a model was not told it cannot show: clips without such captions have none of these figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np

from videodiff.data.scenes import DIRECTIONS, SKIES
from videodiff.evaluation.observed import Observed
from videodiff.metrics.directory import SHARE
from videodiff.metrics.entry import Entry, mean_entry
from videodiff.metrics.motion import compass

BOUNCE = 3  # frames within which a clip that bounces has no direction to be judged
SIDES = ("left", "right")
COLOURS = tuple(dict.fromkeys(colour for _, colour, _ in SKIES))
OF_SINGLE_CLIPS = (
    "digit_velocity_x",
    "digit_velocity_y",
)  # figures that are read here; their means say nothing


class Judge(NamedTuple):
    """Reads off clips what a caption may name.

    Attributes:
        fact: that the truth of a caption states.
        words: of which it is one, and a guess too.
        read: clips -> the number of a word for each, -1 for none, ``[N]``; None where it cannot be seen by these means.
    """

    fact: str
    words: tuple[Any, ...]
    read: Callable[[Observed], np.ndarray | None]

    @property
    def metric(self) -> str:
        """Name of the share of clips that show it."""
        return f"named_{self.fact}"

    @property
    def chance(self) -> float:
        """Share of clips that a guess gets right."""
        return 1 / len(self.words)

    def hits(self, side: Observed) -> np.ndarray | None:
        """1 for a clip that shows what was named, 0 for one that does not, NaN where nothing is judged, ``[N]``."""
        named = np.array([self.named(fact) for fact in side.facts or ()])
        seen = self.read(side) if (named >= 0).any() else None
        return None if seen is None else np.where(named < 0, np.nan, named == seen)

    def named(self, fact: Mapping[str, Any]) -> int:
        """Number of the word that a caption names, -1 where it names none, or the clip bounces too soon to tell."""
        word = fact.get(self.fact)
        is_judged = self.fact != "direction" or fact.get("bounces_after", BOUNCE) >= BOUNCE
        return self.words.index(word) if word in self.words and is_judged else -1


def classes_read(side: Observed) -> np.ndarray | None:
    """The class of the built-in set that the evaluator reads in each clip, ``[N]``."""
    logits = side.features.get("evaluator_logits")
    return None if logits is None or logits.features is None else logits.features.argmax(1)


def colours_read(side: Observed) -> np.ndarray | None:
    """Number of the colour of the clouds, by the weather that the evaluator reads, ``[N]``."""
    weathers = classes_read(side)
    return None if weathers is None else np.array([COLOURS.index(colour) for _, colour, _ in SKIES])[weathers]


def directions_seen(side: Observed) -> np.ndarray | None:
    """Number of the direction in which a digit sets out, -1 where there is none."""
    velocity = [side.figures[name] for name in OF_SINGLE_CLIPS if name in side.figures]
    return compass(*velocity) if velocity else None


def sides_seen(side: Observed) -> np.ndarray | None:
    """0 for clouds that drift to the left, 1 for the right, -1 for those that stand."""
    drift = side.figures.get("cloud_drift_x")
    return None if drift is None else np.where(drift == 0, -1, drift > 0)


JUDGES = (
    Judge("digit", tuple(range(10)), classes_read),
    Judge("colour", COLOURS, colours_read),
    Judge("direction", DIRECTIONS, directions_seen),
    Judge("direction", SIDES, sides_seen),
)


def named_entries(real: Observed, generated: Observed) -> dict[str, Entry]:
    """Shares of clips that show what their captions name, and all of it at once, each beside chance and real clips.

    A clip in which nothing can be read shows nothing of it: it counts as one that does not.

    Args:
        real: the real clips, whose share is the floor.
        generated: clips with the facts that they were told; without any there is no figure.
    """
    found: dict[str, Entry] = {}
    judged: list[tuple[Judge, np.ndarray, np.ndarray | None]] = []
    for judge in JUDGES:
        if (hits := judge.hits(generated)) is not None:
            judged.append((judge, hits, judge.hits(real)))
            found[judge.metric] = share(hits, judged[-1][2], judge.chance)
    together = np.prod([hits for _, hits, _ in judged], axis=0)  # NaN where one of them is not judged
    if len(judged) > 1 and np.isfinite(together).any():
        floors = [real for _, _, real in judged if real is not None]
        floor = np.prod(floors, axis=0) if len(floors) == len(judged) else None
        found["named_all"] = share(together, floor, prod(judge.chance for judge, _, _ in judged))
    return found


def share(hits: np.ndarray, real: np.ndarray | None, chance: float) -> Entry:
    """The share of hits with its interval, beside that of a guess and of real clips."""
    entry = mean_entry(hits, within=SHARE) | {"chance": chance}
    if real is not None and np.isfinite(real).any():
        entry["floor"] = float(np.nanmean(real))
    return entry


def diversity(real: Observed, generated: Observed, network: str) -> Entry | None:
    """Variance of the features within clips that were told the same, as a share of that of real clips.

    The same is a class, or what captions name of digit or colour; single clips say nothing of it.

    Args:
        real: the real clips.
        generated: clips that were told something; None comes back where they were not.
        network: whose features are taken.
    """
    by_caption = generated.facts is not None
    ours, theirs = (squared_distances(side, network, by_caption) for side in (generated, real))
    spread = float(theirs[np.isfinite(theirs)].mean()) if np.isfinite(theirs).any() else 0.0
    if spread == 0 or not np.isfinite(ours).any():
        return None
    return mean_entry(ours / spread) | {"floor": 1.0}


def squared_distances(side: Observed, network: str, by_caption: bool) -> np.ndarray:
    """Of each clip from the mean of those told the same, without the bias of so few, ``[N]``; NaN if it is alone."""
    groups, features = told_alike(side) if by_caption else side.classes, side.features.get(network)
    found = np.full(len(side), np.nan)
    if groups is None or features is None or features.features is None:
        return found
    rows = features.features
    for group in np.unique(groups[groups >= 0]):
        members = np.flatnonzero(groups == group)
        if (count := len(members)) > 1:
            apart = rows[members] - rows[members].mean(0)
            found[members] = np.square(apart).sum(1) * count / (count - 1)
    return found


def told_alike(side: Observed) -> np.ndarray | None:
    """A number that clips share whose captions name the same digit or colour, -1 where they name none, ``[N]``."""
    facts = side.facts or ()
    for judge in JUDGES:
        if judge.fact != "direction" and any(judge.fact in fact for fact in facts):
            return np.array([judge.named(fact) for fact in facts])
    return None
