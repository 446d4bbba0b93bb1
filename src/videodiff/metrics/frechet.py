"""The Frechet distance between two sets of features, in float64, without a matrix square root.

``FD = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)`` (Heusel et al. 2017; Unterthiner et al. 2018 for video). With
factors ``S1 = A'A`` and ``S2 = B'B`` the last trace is the nuclear norm of ``A B'``: no complex numbers, no ridge, and
no condition number is squared.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from videodiff.metrics.moments import Features, FeatureStats, as_float64, check_features

NEGATIVE = 1e-6  # share of the total variance below zero that rounding may cause


@dataclass(frozen=True)
class Gaussian:
    """A mean ``[D]`` and a factor ``[K, D]`` of the covariance, ``S = factor' factor``."""

    mean: np.ndarray
    factor: np.ndarray

    @property
    def total_variance(self) -> float:
        """Trace of the covariance."""
        return float(np.sum(self.factor**2))


def gaussian(data: FeatureStats | Features, ddof: int = 0) -> Gaussian:
    """Mean and covariance factor of a set of clips; from the features where they are kept, else from the sums.

    Args:
        data: statistics, or features ``[N, D]``.
        ddof: the covariance's divisor is ``N - ddof``.

    Raises:
        ValueError: if there are fewer than 2 clips, a feature is not finite, or `ddof` is not 0 or 1.
    """
    if ddof not in (0, 1):
        raise ValueError(f"ddof must be 0 (divisor N) or 1 (divisor N - 1), got {ddof!r}")
    if isinstance(data, FeatureStats):
        _check_count(data.n)
        if data.features is None:
            return gaussian_from_moments(data.mean(), data.covariance(ddof), rank=data.n - 1)
        features = data.features
    else:
        features = check_features(data)
        _check_count(len(features))
    mean = features.mean(axis=0)
    factor = (features - mean) / np.sqrt(len(features) - ddof)
    if len(features) > factor.shape[1]:
        factor = np.linalg.qr(factor, mode="r")
    return Gaussian(mean, factor)


def _check_count(clips: int) -> None:
    if clips < 2:
        raise ValueError(f"a Frechet distance needs at least 2 clips on each side, got {clips}")


def gaussian_from_moments(mean: Features, covariance: Features, rank: int | None = None) -> Gaussian:
    """Factor a covariance by its eigenvectors; eigenvalues that are zero but for rounding become zero.

    Args:
        mean: ``[D]``.
        covariance: symmetric, positive semi-definite ``[D, D]``.
        rank: the largest rank that it can have (clips - 1), if known.

    Raises:
        ValueError: if the shapes do not fit, a value is not finite, or an eigenvalue is clearly negative.
    """
    mean, covariance = as_float64(mean), as_float64(covariance)
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise ValueError(
            f"mean {list(mean.shape)} and covariance {list(covariance.shape)} do not fit each other"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError("mean or covariance is not finite (NaN or infinite)")
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    largest = np.abs(values).max()
    if values[0] < -NEGATIVE * largest:
        raise ValueError(
            f"covariance is not positive semi-definite: eigenvalues {values[0]:.3g} .. {values[-1]:.3g}"
        )
    kept = values > len(mean) * np.finfo(np.float64).eps * largest
    if rank is not None and rank < len(mean):
        kept[: len(mean) - rank] = False
    return Gaussian(mean, (vectors[:, kept] * np.sqrt(values[kept])).T)


def gaussian_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Frechet (2-Wasserstein) distance of two normal distributions.

    Raises:
        ValueError: if the dimensions differ.
        ArithmeticError: if the result is negative by more than rounding explains.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features of {len(a.mean)} and of {len(b.mean)} numbers cannot be compared")
    # One scale for both keeps the products of very large or very small features inside float64.
    scale = max(np.abs(a.factor).max(initial=0.0), np.abs(b.factor).max(initial=0.0)) or 1.0
    cross = scale**2 * np.linalg.svd((a.factor / scale) @ (b.factor / scale).T, compute_uv=False).sum()
    variance = a.total_variance + b.total_variance
    distance = float(np.sum((a.mean - b.mean) ** 2) + variance - 2 * cross)
    if not distance >= -NEGATIVE * variance:
        raise ArithmeticError(
            f"Frechet distance {distance:.6g} with a total variance of {variance:.6g}: not a rounding error"
        )
    return max(distance, 0.0)


def frechet_distance(a: FeatureStats | Features, b: FeatureStats | Features, ddof: int = 0) -> float:
    """Frechet distance between two sets of clips.

    Biased upwards by about c/N: only values at equal N can be compared (see :func:`frechet_infinity`). Warns when
    a side has fewer clips than a feature has numbers; the covariance is singular then, the value still defined.

    Args:
        a: statistics, or features ``[N, D]``.
        b: the same of the other side.
        ddof: the covariance's divisor is ``N - ddof``; StyleGAN-V takes 0, the original FVD 1.

    Raises:
        ValueError: if a side has fewer than 2 clips, a feature is not finite, or the lengths differ.
        ArithmeticError: if the result is negative by more than rounding explains.
    """
    distance = gaussian_distance(gaussian(a, ddof), gaussian(b, ddof))
    counts = [side.n if isinstance(side, FeatureStats) else len(side) for side in (a, b)]
    dim = a.dim if isinstance(a, FeatureStats) else a.shape[1]
    if min(counts) < dim:
        warnings.warn(
            f"Frechet distance of {counts[0]} and {counts[1]} clips with {dim} numbers each: fewer clips than numbers, "
            f"the covariance is singular and the value far too large; compare it at equal counts only",
            stacklevel=2,
        )
    return distance


def frechet_distance_from_moments(
    mean_a: Features, covariance_a: Features, mean_b: Features, covariance_b: Features
) -> float:
    """Frechet distance of two normal distributions, given by mean ``[D]`` and covariance ``[D, D]``.

    Raises:
        ValueError: if the shapes do not fit, a value is not finite, or a covariance is not positive semi-definite.
    """
    return gaussian_distance(
        gaussian_from_moments(mean_a, covariance_a), gaussian_from_moments(mean_b, covariance_b)
    )


@dataclass(frozen=True)
class InfinityFit:
    """``a + b / N`` through distances at several counts.

    Attributes:
        value: a, the distance that endless clips would have.
        slope: b over the larger side's count.
        fractions: shares of both sides that were compared.
        distances: mean distance over the disjoint subsets of each share.
    """

    value: float
    slope: float
    fractions: tuple[float, ...]
    distances: tuple[float, ...]


def frechet_infinity(
    real: FeatureStats | Features,
    generated: FeatureStats | Features,
    ddof: int = 0,
    num_sizes: int = 8,
    seed: int | None = 0,
) -> InfinityFit:
    """Frechet distance without the bias of finite counts (Chong & Forsyth 2020, on both sides).

    Subsets of both sides at `num_sizes` shares between a quarter and all are compared, disjoint ones of a share
    averaged, and ``a + b / share`` is fitted by weighted least squares. Bias falls as 1/N only once a quarter of the
    clips exceeds the effective dimension. Report it beside the distance at N, never in its place.

    Args:
        real: features ``[N, D]``, or statistics that hold them.
        generated: features ``[M, D]``, or statistics that hold them.
        ddof: the covariance's divisor is ``N - ddof``.
        num_sizes: shares to compare, 2 or more.
        seed: of the order in which clips enter subsets; None takes them as they come.

    Raises:
        ValueError: if a side has fewer than 8 clips or no features.
    """
    sides = [held_features(side, "FVD at infinity") for side in (real, generated)]
    if min(map(len, sides)) < 8:
        raise ValueError(
            f"FVD at infinity needs at least 8 clips on each side, got {[len(s) for s in sides]}"
        )
    if num_sizes < 2:
        raise ValueError(f"num_sizes must be at least 2, got {num_sizes}")
    if seed is not None:
        rng = np.random.default_rng(seed)
        sides = [side[rng.permutation(len(side))] for side in sides]
    fractions = np.linspace(0.25, 1.0, num_sizes)
    distances, parts = [], []
    for fraction in fractions:
        parts.append(int(1 / fraction + 1e-9))
        cut = [[_part(side, fraction, k) for side in sides] for k in range(parts[-1])]
        distances.append(np.mean([gaussian_distance(*(gaussian(x, ddof) for x in pair)) for pair in cut]))
    weights = np.sqrt(np.array(parts) * fractions)  # roughly what each mean's spread calls for
    table = np.stack([np.ones(num_sizes), 1 / fractions], axis=1)
    value, per_share = np.linalg.lstsq(table * weights[:, None], distances * weights, rcond=None)[0]
    slope = float(per_share * max(map(len, sides)))
    return InfinityFit(float(value), slope, tuple(fractions.tolist()), tuple(map(float, distances)))


def _part(side: np.ndarray, fraction: float, k: int) -> np.ndarray:
    """The k-th disjoint subset of a share of the clips."""
    size = max(2, int(len(side) * fraction))
    return side[k * size : (k + 1) * size]


def held_features(side: FeatureStats | Features, what: str) -> np.ndarray:
    """The features themselves, float64 ``[N, D]``.

    Raises:
        ValueError: if only sums were kept, or a feature is not finite.
    """
    features = side.features if isinstance(side, FeatureStats) else check_features(side)
    if features is None:
        raise ValueError(f"{what} needs the features of each clip, these statistics hold sums alone")
    return features
