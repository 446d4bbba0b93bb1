"""Kernel video distance: squared maximum mean discrepancy with a cubic kernel (Binkowski et al. 2018, KID)."""

from __future__ import annotations

import numpy as np

from videodiff.metrics.moments import Features, check_features

BLOCK = 2048  # rows of the kernel matrix held at once


def kernel_matrix(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``(x . y / D + 1)^3`` for all pairs, ``[N, D], [M, D] -> [N, M]``."""
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def kernel_row_sums(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sum over y of the kernel of each x, ``[N]``, in memory constant in N."""
    return np.concatenate([kernel_matrix(x[k : k + BLOCK], y).sum(axis=1) for k in range(0, len(x), BLOCK)])


def own_kernels(x: np.ndarray) -> np.ndarray:
    """The kernel of each clip with itself, ``[N]``."""
    return (np.sum(x * x, axis=1) / x.shape[1] + 1.0) ** 3


def kernel_distance(x: Features, y: Features) -> float:
    """Unbiased squared MMD of two sets of features, on the whole sets, in float64.

    ``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)`` over pairs of different clips. Its expectation does not
    depend on the number of clips and is 0 for equal distributions, so a value may be slightly negative.

    Args:
        x: ``[N, D]``.
        y: ``[M, D]``.

    Raises:
        ValueError: if a side has fewer than 2 clips, a feature is not finite, or the lengths differ.
    """
    x, y = check_pair(x, y)
    n, m = len(x), len(y)
    within_x = np.sum(kernel_row_sums(x, x) - own_kernels(x)) / (n * (n - 1))
    within_y = np.sum(kernel_row_sums(y, y) - own_kernels(y)) / (m * (m - 1))
    return float(within_x + within_y - 2 * kernel_row_sums(x, y).sum() / (n * m))


def check_pair(x: Features, y: Features) -> tuple[np.ndarray, np.ndarray]:
    """Both sides as finite float64 of at least 2 clips and one length.

    Raises:
        ValueError: otherwise.
    """
    x, y = check_features(x, what="real clip"), check_features(y, what="generated clip")
    if min(len(x), len(y)) < 2:
        raise ValueError(
            f"this distance needs at least 2 clips on each side, got {len(x)} real and {len(y)} generated"
        )
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features of {x.shape[1]} and of {y.shape[1]} numbers cannot be compared")
    return x, y
