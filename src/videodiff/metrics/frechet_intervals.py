"""Intervals of Frechet distances: the delete-a-group jackknife, over one model or the difference of two."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np

from videodiff.metrics.frechet import frechet_infinity, gaussian, gaussian_distance, held_features
from videodiff.metrics.intervals import Interval, student_quantile
from videodiff.metrics.moments import Features, FeatureStats

GROUPS = 20
Side = FeatureStats | Features


def frechet_interval(
    real: Side,
    generated: Side,
    ddof: int = 0,
    groups: int = GROUPS,
    level: float = 0.95,
    sides: Literal["both", "generated"] = "both",
    paired: bool = False,
    clips_per_video: int = 1,
    seed: int = 0,
    draws: int = 1,
) -> Interval:
    """Interval of a Frechet distance by leaving out one of `groups` parts of the clips at a time.

    Symmetric about the root of the distance. It is about the distance *at this count*, bias and all: what fresh
    clips in the same number would give on average.

    Args:
        real: features ``[N, D]`` in the order of the clips, or statistics that hold them.
        generated: the same of the generated clips.
        ddof: the covariance's divisor is ``N - ddof``.
        groups: parts of each side; the cost is this many distances a side.
        level: nominal coverage.
        sides: ``generated`` holds the real clips fixed (they are all there are, or only their sums are known).
        paired: generated clips are reconstructions or continuations of the real ones; both of a pair are left out
            together.
        clips_per_video: so many clips in a row come from one video and are left out together.
        seed: of the parts; numpy's generator, torch's is not touched.
        draws: so many generated clips in a row belong to each real one.

    Raises:
        ValueError: if a side has too few clips or no features.
    """
    left_out = _frechet_left_out(real, generated, ddof, groups, sides, paired, clips_per_video, seed, draws)
    what = f"{sides} sides" if sides == "both" else "generated side, real clips fixed"
    method = f"jackknife, {groups} groups, {'pairs' if paired else what}"
    value = gaussian_distance(gaussian(real, ddof), gaussian(generated, ddof))
    sd = jackknife_interval(value, left_out, level, method).sd
    # Distances are positive and skewed to the right: symmetric ends belong to their root (which is a distance proper).
    root = jackknife_interval(value**0.5, [np.sqrt(v) for v in left_out], level, method)
    return Interval(value, max(root.low, 0.0) ** 2, root.high**2, sd, level, method)


def frechet_difference_interval(
    real: Side,
    generated_a: Side,
    generated_b: Side,
    ddof: int = 0,
    groups: int = GROUPS,
    level: float = 0.95,
    clips_per_video: int = 1,
    seed: int = 0,
) -> Interval:
    """Interval of ``FD(real, a) - FD(real, b)``; the same real clips are left out for both models.

    Much narrower than the two intervals apart suggest, as the models share the real side. Without 0 inside, the
    models differ. Compare at equal counts of a and b only, or the bias differs too.

    Args:
        real: features ``[N, D]``, or statistics that hold them.
        generated_a: the same of one model.
        generated_b: the same of the other.
        ddof: the covariance's divisor is ``N - ddof``.
        groups: parts of each side.
        level: nominal coverage.
        clips_per_video: so many clips in a row are left out together.
        seed: of the parts.

    Raises:
        ValueError: if a side has too few clips or no features.
    """
    counts = [len(held_features(generated, "an interval")) for generated in (generated_a, generated_b)]
    if counts[0] != counts[1]:
        warnings.warn(
            f"{counts[0]} clips of one model against {counts[1]} of the other: the distances' biases differ",
            stacklevel=2,
        )
    whole = gaussian(real, ddof)
    value = [gaussian_distance(whole, gaussian(generated, ddof)) for generated in (generated_a, generated_b)]
    a, b = (
        _frechet_left_out(real, generated, ddof, groups, "both", False, clips_per_video, seed)
        for generated in (generated_a, generated_b)
    )
    return jackknife_interval(
        value[0] - value[1],
        [a[0] - b[0], a[1], b[1]],
        level,
        f"jackknife, {groups} groups, common real clips",
    )


def frechet_infinity_interval(
    real: Side, generated: Side, ddof: int = 0, groups: int = 10, level: float = 0.95, seed: int = 0
) -> Interval:
    """Interval of :func:`~videodiff.metrics.frechet.frechet_infinity` by leaving out groups of both sides.

    It holds the fit's expectation, not the true distance: what the law ``a + b / N`` misses is not in it. The cost is
    2 x `groups` fits, each about as much as ten distances.

    Args:
        real: features ``[N, D]``, or statistics that hold them.
        generated: the same of the generated clips.
        ddof: the covariance's divisor is ``N - ddof``.
        groups: parts of each side.
        level: nominal coverage.
        seed: of the order of clips and of the parts.

    Raises:
        ValueError: if a side has fewer than 10 clips or no features.
    """
    rng = np.random.default_rng(seed)
    # One order for all fits: a clip stays where it was when others leave.
    x, y = (
        side[rng.permutation(len(side))]
        for side in (held_features(s, "an interval") for s in (real, generated))
    )
    left_out = [
        np.array(
            [frechet_infinity(part, y, ddof, seed=None).value for part in _without_each(x, groups, 1, seed)]
        ),
        np.array(
            [frechet_infinity(x, part, ddof, seed=None).value for part in _without_each(y, groups, 1, seed)]
        ),
    ]
    value = frechet_infinity(x, y, ddof, seed=None).value
    return jackknife_interval(value, left_out, level, f"jackknife of the fit, {groups} groups")


def jackknife_interval(value: float, left_out: Sequence[np.ndarray], level: float, method: str) -> Interval:
    """Independent sides add their variances; the degrees of freedom are Satterthwaite's."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    parts = np.array([(len(v) - 1) * np.var(v) for v in left_out])
    freedom = np.array([len(v) - 1 for v in left_out])
    sd = float(np.sqrt(parts.sum()))
    degrees = parts.sum() ** 2 / np.sum(parts**2 / freedom) if sd > 0 else float(freedom.sum())
    half = student_quantile(level, degrees) * sd
    return Interval(value, value - half, value + half, sd, level, method)


def _frechet_left_out(
    real: Side,
    generated: Side,
    ddof: int,
    groups: int,
    sides: Literal["both", "generated"],
    paired: bool,
    clips_per_video: int,
    seed: int,
    draws: int = 1,
) -> list[np.ndarray]:
    """Distances without each group: one array for each side that is left out from."""
    if sides not in ("both", "generated"):
        raise ValueError(f"sides must be both or generated, got {sides!r}")
    without_y = _without_each(generated, groups, clips_per_video * draws, seed)
    if sides == "generated":
        whole = gaussian(real, ddof)
        return [np.array([gaussian_distance(whole, gaussian(y, ddof)) for y in without_y])]
    without_x = _without_each(real, groups, clips_per_video, seed)
    if paired:
        counts = [len(held_features(side, "an interval")) for side in (real, generated)]
        if counts[0] * draws != counts[1]:
            each = "one clip" if draws == 1 else f"{draws} clips"
            raise ValueError(
                f"paired sides must have {each} each for the other, got {counts[0]} and {counts[1]}"
            )
        pairs = zip(without_x, without_y, strict=True)
        return [np.array([gaussian_distance(gaussian(x, ddof), gaussian(y, ddof)) for x, y in pairs])]
    whole_x, whole_y = gaussian(real, ddof), gaussian(generated, ddof)
    return [
        np.array([gaussian_distance(gaussian(x, ddof), whole_y) for x in without_x]),
        np.array([gaussian_distance(whole_x, gaussian(y, ddof)) for y in without_y]),
    ]


def _without_each(side: Side, groups: int, clips_per_video: int, seed: int) -> list[np.ndarray]:
    """The features of a side without each group."""
    features = held_features(side, "an interval")
    labels = _groups(len(features), groups, clips_per_video, seed)
    return [features[labels != k] for k in range(labels.max() + 1)]


def _groups(count: int, groups: int, clips_per_video: int, seed: int) -> np.ndarray:
    """A group for each clip, ``[count]``: whole videos in random order, groups as equal as can be."""
    videos = -(-count // clips_per_video)
    groups = min(groups, videos)
    if groups < 3 or count < 4:
        raise ValueError(
            f"an interval needs at least 4 clips and 3 groups on each side, got {count} and {groups}"
        )
    order = np.random.default_rng(seed).permutation(videos)
    return (order % groups)[np.arange(count) // clips_per_video]
