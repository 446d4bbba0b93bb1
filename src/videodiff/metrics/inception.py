"""Inception score: how sure a classifier is of each clip, and how varied its answers are (Salimans et al. 2016)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from videodiff.metrics.moments import Features, as_float64, check_features


def softmax(logits: Features) -> np.ndarray:
    """Class probabilities of ``[N, K]`` logits, in float64.

    Raises:
        ValueError: if a logit is not finite; names the clip.
    """
    logits = check_features(logits)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def inception_score(
    probs: Features, splits: int, eps: float = 1e-20, shuffle_seed: int | None = None
) -> tuple[float, float]:
    """Mean and standard deviation over splits of ``exp(mean KL(p(y|x) || p(y)))``.

    The score grows with the size of a split, so scores of different `splits` or counts cannot be compared: 1 split in
    TGANv2's script, 10 after a shuffle with seed 42 in StyleGAN-V's ``isv2048_ucf``.

    Args:
        probs: class probabilities ``[N, K]``, rows sum to 1.
        splits: number of parts of consecutive clips, as equal as N allows; 1 has a deviation of 0.
        eps: added to each probability inside the logarithms (TGANv2: 1e-20).
        shuffle_seed: clips are permuted by numpy's ``RandomState(seed)`` first; None keeps their order.

    Raises:
        ValueError: if there are fewer than 2 clips, fewer clips than splits, or rows are no probabilities.
    """
    probs = as_float64(probs)
    if probs.ndim != 2 or len(probs) < 2:
        raise ValueError(
            f"an inception score needs probabilities [clips, classes] of 2 clips or more, got {list(probs.shape)}"
        )
    if not (probs.min() >= 0 and np.allclose(probs.sum(axis=1), 1.0, rtol=0, atol=1e-5)):
        raise ValueError("rows must be probabilities (not negative, sum 1); take the softmax of logits first")
    if not 1 <= splits <= len(probs):
        raise ValueError(f"splits must lie between 1 and the number of clips, {len(probs)}, got {splits}")
    if shuffle_seed is not None:
        # RandomState is frozen by numpy and has a stream of its own, so published shuffles can be repeated.
        probs = probs[np.random.RandomState(shuffle_seed).permutation(len(probs))]
    edges = [len(probs) * part // splits for part in range(splits + 1)]
    scores = [_score(probs[low:high], eps) for low, high in pairwise(edges)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(probs: np.ndarray, eps: float) -> float:
    marginal = probs.mean(axis=0, keepdims=True)
    divergence = np.sum(probs * (np.log(probs + eps) - np.log(marginal + eps)), axis=1)
    return float(np.exp(divergence.mean()))
