"""Intervals of kernel distances: a bootstrap that never pairs a clip with its own copy."""

from __future__ import annotations

import numpy as np

from videodiff.metrics.frechet import held_features
from videodiff.metrics.intervals import Interval, quantile_interval
from videodiff.metrics.kernel import BLOCK, check_pair, kernel_distance, kernel_matrix, own_kernels
from videodiff.metrics.moments import Features, FeatureStats

Side = FeatureStats | Features


def kernel_interval(
    real: Side, generated: Side, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Percentile bootstrap of the unbiased kernel distance; a clip is never paired with its own copy.

    Args:
        real: features ``[N, D]``, or statistics that hold them.
        generated: the same of the generated clips.
        level: nominal coverage.
        resamples: draws of both sides with replacement.
        seed: numpy's generator; torch's is not touched.

    Raises:
        ValueError: if a side has fewer than 3 clips or no features.
    """
    draws = _kernel_draws(real, [generated], resamples, seed)[0]
    value = kernel_distance(held_features(real, "an interval"), held_features(generated, "an interval"))
    return quantile_interval(value, draws, level, f"bootstrap over clips, {resamples} draws")


def kernel_difference_interval(
    real: Side,
    generated_a: Side,
    generated_b: Side,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Interval of ``KVD(real, a) - KVD(real, b)``; the same real clips are resampled for both models.

    Args:
        real: features ``[N, D]``, or statistics that hold them.
        generated_a: the same of one model.
        generated_b: the same of the other.
        level: nominal coverage.
        resamples: draws of all sides with replacement.
        seed: numpy's generator; torch's is not touched.

    Raises:
        ValueError: if a side has fewer than 3 clips or no features.
    """
    a, b = _kernel_draws(real, [generated_a, generated_b], resamples, seed)
    held = [held_features(side, "an interval") for side in (real, generated_a, generated_b)]
    value = kernel_distance(held[0], held[1]) - kernel_distance(held[0], held[2])
    return quantile_interval(
        value, a - b, level, f"bootstrap over clips, {resamples} draws, common real clips"
    )


def _kernel_draws(real: Side, generated_sides: list[Side], resamples: int, seed: int) -> list[np.ndarray]:
    """Kernel distances of resampled clips, ``[resamples]`` for each generated side, the same real ones for all."""
    rng = np.random.default_rng(seed)
    x = held_features(real, "an interval")
    times_x = _draw(len(x), resamples, rng)
    within_x = _within(x, times_x)
    draws = []
    for generated in generated_sides:
        _, y = check_pair(x, held_features(generated, "an interval"))
        times_y = _draw(len(y), resamples, rng)
        across = _quadratic(x, y, times_x, times_y) / (len(x) * len(y))
        draws.append(within_x + _within(y, times_y) - 2 * across)
    return draws


def _draw(count: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `count` clips is resampled, ``[resamples, count]``."""
    if count < 3:
        raise ValueError(f"an interval needs at least 3 clips on each side, got {count}")
    return rng.multinomial(count, np.full(count, 1 / count), resamples).astype(np.float64)


def _within(x: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mean kernel over pairs of resampled clips that are not the same clip, ``[resamples]``."""
    squares = times**2
    # A draw of one clip alone has no pair; it cannot happen but for a handful of clips, and counts as 0 there.
    pairs = np.maximum(len(x) ** 2 - squares.sum(axis=1), 1)
    return (_quadratic(x, x, times, times) - squares @ own_kernels(x)) / pairs


def _quadratic(x: np.ndarray, y: np.ndarray, times_x: np.ndarray, times_y: np.ndarray) -> np.ndarray:
    """``sum_ij times_x_i k(x_i, y_j) times_y_j``, ``[resamples]``, in memory linear in the clips."""
    total = np.zeros(len(times_x))
    for start in range(0, len(y), BLOCK):
        columns = slice(start, start + BLOCK)
        total += np.sum((times_x @ kernel_matrix(x, y[columns])) * times_y[:, columns], axis=1)
    return total
