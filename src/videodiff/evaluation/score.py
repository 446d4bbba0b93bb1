"""From features of real and generated clips to numbers, each with its count, interval and floor."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from videodiff.evaluation.named import OF_SINGLE_CLIPS, diversity, named_entries
from videodiff.evaluation.observed import Observed
from videodiff.evaluation.protocol import Protocol
from videodiff.metrics.directory import SHARE, better, metric_info
from videodiff.metrics.distribution import DistributionMetric
from videodiff.metrics.entry import Entry, mean_entry
from videodiff.metrics.figure import ClipFigure
from videodiff.metrics.video import (
    FrechetInfinity,
    FrechetVideoDistance,
    KernelVideoDistance,
    StandardisedFrechetDistance,
)
from videodiff.metrics.video_score import VideoInceptionScore
from videodiff.say import counted

# Features -> name of their Frechet distance. Only I3D's is called FVD.
FRECHET = {"i3d": "fvd", "evaluator": "evaluator_fd", "random": "rand_fd"}
# Logits -> name of their inception score, which the number of splits is added to. Only C3D's is called IS.
INCEPTION = {"i3d": "is_k400", "c3d": "is", "evaluator_logits": "evaluator_is"}


def distance_metric(features: str, protocol: Protocol) -> FrechetVideoDistance:
    """The Frechet distance of a protocol over features that were seen before."""
    kind = StandardisedFrechetDistance if features == "random" else FrechetVideoDistance
    return kind(
        ddof=protocol.ddof,
        clips_per_video=protocol.clips_per_video,
        draws=protocol.draws if protocol.is_prediction else None,
        name=FRECHET[features],
        sync_on_compute=False,
    )


def metrics_of(
    features: str, protocol: Protocol, num_generated: int
) -> list[DistributionMetric | VideoInceptionScore]:
    """All metrics of a protocol over one set of features, in the order in which results hold them."""
    found: list[DistributionMetric | VideoInceptionScore] = []
    if features in FRECHET:
        found.append(distance_metric(features, protocol))
    if features == "i3d":
        if not protocol.is_prediction:  # what extrapolates over the count takes clips that are independent
            found.append(FrechetInfinity(ddof=protocol.ddof, sync_on_compute=False))
        found.append(KernelVideoDistance(has_interval=not protocol.is_prediction, sync_on_compute=False))
    if features in INCEPTION and (features != "i3d" or protocol.inception in ("k400", "c3d")):
        splits = min(protocol.inception_splits, num_generated)
        found.append(
            VideoInceptionScore(
                None, splits, protocol.inception_shuffle, name=INCEPTION[features], sync_on_compute=False
            )
        )
    return found


def score(
    real: Observed, generated: Observed, protocol: Protocol, floor: Observed | None = None
) -> tuple[dict[str, Entry], list[str]]:
    """All numbers of a protocol.

    Args:
        real: the real clips.
        generated: the generated clips.
        protocol: divisor, counts and the rule of the inception score.
        floor: other real clips, at most as many as there are generated ones, for what a perfect model would get.

    Returns:
        The metrics by name, and what a reader must know about them.

    Raises:
        ValueError: if a side holds fewer than 2 clips.
    """
    for name, side in (("real", real), ("generated", generated)):
        if len(side) < 2:
            raise ValueError(f"at least 2 {name} clips are needed, got {len(side)}")
    real, generated = real.first(protocol.num_real), generated.first(protocol.num_generated)
    others = {} if floor is None else floor.first(len(generated)).features
    metrics: dict[str, Entry] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for features, theirs in generated.features.items():
            ours = real.features[features]
            for metric in metrics_of(features, protocol, len(generated)):
                if not metric.is_defined(ours, theirs):
                    continue
                if isinstance(metric, DistributionMetric):
                    metric.use(real=ours, generated=theirs, other_real=others.get(features))
                else:
                    metric.use(theirs, ours)
                metrics[metric.name] = metric.entry()
    if (found := class_accuracy(real, generated, protocol.draws)) is not None:
        metrics["class_accuracy"] = found
    if not protocol.is_prediction:  # whose given frames show what a caption would name
        metrics |= named_entries(real, generated)
        if (found := diversity(real, generated, protocol.network)) is not None:
            metrics["diversity"] = found
    metrics |= pair_entries(generated.pairs, protocol.draws, protocol.best_of)
    for name, values in generated.figures.items():
        if name in OF_SINGLE_CLIPS:
            continue
        figure = ClipFigure(name, sync_on_compute=False)
        metrics[name] = figure.use(of_clips(values, protocol.draws), real.figures.get(name)).entry()
    said = dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    reduced = len(real) < protocol.num_real or len(generated) < protocol.num_generated
    for entry in metrics.values():
        entry["reduced"] = reduced
    return metrics, [*notes(real, generated, protocol), *said]


def class_accuracy(real: Observed, generated: Observed, draws: int) -> Entry | None:
    """Share of the clips that were told a class which the evaluator reads as of it; of real clips as the floor."""
    shares = {}
    for name, side, each in (("value", generated, draws), ("floor", real, 1)):
        logits = side.features.get("evaluator_logits")
        if side.classes is not None and logits is not None and logits.features is not None:
            hits = np.where(side.classes < 0, np.nan, logits.features.argmax(1) == side.classes)
            shares[name] = of_clips(hits, each)
    if "value" not in shares:
        return None
    entry = mean_entry(shares["value"], within=SHARE)
    return entry | ({"floor": float(np.nanmean(shares["floor"]))} if "floor" in shares else {})


def pair_entries(pairs: Mapping[str, np.ndarray], draws: int, best_of: int) -> dict[str, Entry]:
    """PSNR, SSIM and LPIPS of continuations: the mean of the draws of each clip, and its best of the first few.

    Intervals are over clips. The best draw is taken of each figure by itself, as the papers do.

    Args:
        pairs: one value per continuation ``[N * draws]``, the draws of a clip in a row.
        draws: of each clip.
        best_of: draws of which the best is told too; 1 is none.
    """
    found: dict[str, Entry] = {}
    for name, values in pairs.items():
        within = metric_info(name).within
        found[name] = mean_entry(of_clips(values, draws), within)
        if best_of > 1:
            by_clip = values.reshape(-1, draws)
            best = by_clip[:, :best_of].min(1) if better(name) == "lower" else by_clip[:, :best_of].max(1)
            found[f"{name}_best{best_of}"] = mean_entry(best, within)
    return found


def of_clips(values: np.ndarray, draws: int) -> np.ndarray:
    """The mean over the draws of each clip, ``[N * draws] -> [N]``: draws of one clip tell of one clip alone.

    NaN, which is not defined, does not count unless it is all there is.
    """
    if draws == 1:
        return values
    by_clip = values.reshape(-1, draws)
    known = ~np.isnan(by_clip)
    with np.errstate(invalid="ignore"):
        return np.where(known, by_clip, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)


def bare_distance(real: Observed, generated: Observed, protocol: Protocol) -> float:
    """The protocol's Frechet distance alone, without interval or warnings."""
    sides = real.first(protocol.num_real), generated.first(protocol.num_generated)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return distance_metric(protocol.network, protocol).distance(
            *(side.features[protocol.network] for side in sides)
        )


def notes(real: Observed, generated: Observed, protocol: Protocol) -> list[str]:
    """What is unusual about the clips themselves."""
    said = []
    if len(real) < protocol.num_real or len(generated) < protocol.num_generated:
        said.append(
            f"{protocol.label} wants {protocol.num_real} real and {protocol.num_generated} generated clips, "
            f"{len(real)} and {len(generated)} were used: not a number of that protocol, compare at equal counts only"
        )
    same = len(set(real.digests) & set(generated.digests))
    if same:
        said.append(
            f"{same} of the {len(set(generated.digests))} different generated clips are real ones, bit for bit"
        )
    twice = len(generated) - len(set(generated.digests))
    if twice:
        said.append(f"{counted(twice, 'generated clip')} the same as an earlier one, bit for bit")
    for name, side in (("real", real), ("generated", generated)):
        if side.constant:
            said.append(f"{counted(side.constant, f'{name} clip')} of one single colour")
    if protocol.network == "i3d" and any(height != width for height, width in real.sizes | generated.sizes):
        how = "the centre square alone" if protocol.resize == "crop" else "whole frames bent to a square"
        said.append(
            f"frames are not square (real {_sizes(real)}, generated {_sizes(generated)}): "
            f"{protocol.label} shows its network {how}"
        )
    if real.sizes != generated.sizes or len(real.sizes) > 1:
        said.append(
            f"frame sizes differ (real {_sizes(real)}, generated {_sizes(generated)}): the network sees each resized "
            "on its own, which alone moves the distance"
        )
    return said


def _sizes(side: Observed) -> str:
    shown = [f"{h}x{w}" for h, w in sorted(side.sizes)]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
