"""From two sides to numbers: distances, scores and figures, each with its count, interval and floor."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from videodiff.evaluation.protocol import Protocol
from videodiff.evaluation.sides import Side
from videodiff.metrics.builtin import standardised
from videodiff.metrics.frechet import frechet_distance, frechet_infinity
from videodiff.metrics.frechet_intervals import frechet_interval
from videodiff.metrics.inception import inception_score, softmax
from videodiff.metrics.intervals import mean_interval
from videodiff.metrics.kernel import kernel_distance
from videodiff.metrics.kernel_intervals import kernel_interval
from videodiff.metrics.moments import FeatureStats

# Features -> name of their Frechet distance. Only I3D's is called FVD.
FRECHET = {"i3d": "fvd", "evaluator": "evaluator_fd", "random": "rand_fd"}
KERNEL = {"i3d": "kvd"}
# Logits -> name of their inception score, which the number of splits is added to. Only C3D's is called IS.
INCEPTION = {"i3d": "is_k400", "c3d": "is", "evaluator_logits": "evaluator_is"}

# Figures that are shares of frames or clips, 0 to 1.
SHARES = ("digit_present", "digit_identity", "digit_speed_in_range", "cloud_drift_in_range", "cloud_horizon")

# A quarter of the clips must exceed the effective dimension of the features, about a hundred for I3D's logits.
LEAST_FOR_INFINITY = 512

Entry = dict[str, Any]


def score(
    real: Side, fake: Side, protocol: Protocol, floor: Side | None = None
) -> tuple[dict[str, Entry], list[str]]:
    """All numbers of a protocol.

    Args:
        real: the real clips.
        fake: the generated clips.
        protocol: divisor, counts and the rule of the inception score.
        floor: other real clips, at most as many as there are generated ones, for what a perfect model would get.

    Returns:
        The metrics by name, and what a reader must know about them.

    Raises:
        ValueError: if a side holds fewer than 2 clips.
    """
    for name, side in (("real", real), ("generated", fake)):
        if len(side) < 2:
            raise ValueError(f"at least 2 {name} clips are needed, got {len(side)}")
    real, fake = real.first(protocol.num_real), fake.first(protocol.num_fake)
    metrics: dict[str, Entry] = {}
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for features in fake.features:
            if features in FRECHET:
                metrics[FRECHET[features]] = _distance(features, real, fake, protocol, floor)
            kept = _kept(real, features) and _kept(fake, features)
            if features == "i3d" and kept and min(len(real), len(fake)) >= LEAST_FOR_INFINITY:
                metrics["fvd_inf"] = _infinity(features, real, fake, protocol)
            if features in KERNEL and kept:
                metrics[KERNEL[features]] = _kernel(features, real, fake, floor)
            if features in INCEPTION and _kept(fake, features) and _wanted(features, protocol):
                splits = min(protocol.inception_splits, len(fake))
                metrics[f"{INCEPTION[features]}_splits{splits}"] = _inception(features, real, fake, protocol)
    for name in fake.figures:
        within = (0.0, 1.0) if name in SHARES else None
        metrics[name] = _figure(real.figures.get(name), fake.figures[name], within)
    said += dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    reduced = len(real) < protocol.num_real or len(fake) < protocol.num_fake
    for entry in metrics.values():
        entry["reduced"] = reduced
    return metrics, [*notes(real, fake, protocol), *said]


def bare_distance(real: Side, fake: Side, protocol: Protocol) -> float:
    """The protocol's Frechet distance alone, without interval or warnings."""
    sides = real.first(protocol.num_real), fake.first(protocol.num_fake)
    a, b = (side.features[protocol.network] for side in sides)
    if protocol.network == "random":
        a, b = standardised(a, a), standardised(b, a)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return frechet_distance(a, b, protocol.ddof)


def notes(real: Side, fake: Side, protocol: Protocol) -> list[str]:
    """What is unusual about the clips themselves."""
    said = []
    if len(real) < protocol.num_real or len(fake) < protocol.num_fake:
        said.append(
            f"{protocol.label} wants {protocol.num_real} real and {protocol.num_fake} generated clips, "
            f"{len(real)} and {len(fake)} were used: not a number of that protocol, compare at equal counts only"
        )
    same = len(set(real.digests) & set(fake.digests))
    if same:
        said.append(
            f"{same} of the {len(set(fake.digests))} different generated clips are real ones, bit for bit"
        )
    twice = len(fake) - len(set(fake.digests))
    if twice:
        said.append(f"{twice} generated clips repeat an earlier one, bit for bit")
    for name, side in (("real", real), ("generated", fake)):
        if side.constant:
            said.append(f"{side.constant} {name} clips are of one single colour")
    if protocol.network == "i3d" and any(height != width for height, width in real.sizes | fake.sizes):
        how = "the centre square alone" if protocol.resize == "crop" else "whole frames bent to a square"
        said.append(
            f"frames are not square (real {_sizes(real)}, generated {_sizes(fake)}): "
            f"{protocol.label} shows its network {how}"
        )
    if real.sizes != fake.sizes or len(real.sizes) > 1:
        said.append(
            f"frame sizes differ (real {_sizes(real)}, generated {_sizes(fake)}): the network sees each resized on its "
            "own, which alone moves the distance"
        )
    return said


def _sizes(side: Side) -> str:
    shown = [f"{h}x{w}" for h, w in sorted(side.sizes)]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


def _kept(side: Side, features: str) -> bool:
    return features in side.features and side.features[features].features is not None


def _have_features(*stats: FeatureStats) -> bool:
    return all(s.features is not None for s in stats)


def _wanted(features: str, protocol: Protocol) -> bool:
    return features != "i3d" or protocol.inception in ("k400", "c3d")


def _count(real: Side, fake: Side) -> Entry:
    return {"count": len(fake), "num_real": len(real), "num_fake": len(fake)}


def _distance(name: str, real: Side, fake: Side, protocol: Protocol, floor: Side | None) -> Entry:
    a, b = real.features[name], fake.features[name]
    other = None if floor is None else floor.first(len(fake)).features[name]
    if name == "random":  # their scales are arbitrary: measured in those of the real side
        b, other = standardised(b, a), None if other is None else standardised(other, a)
        a = standardised(a, a)
    entry: Entry = {"value": frechet_distance(a, b, protocol.ddof), **_count(real, fake)}
    if _have_features(a, b) and min(a.n, b.n) >= 4:
        found = frechet_interval(a, b, protocol.ddof, clips_per_video=protocol.clips_per_video)
        entry |= {
            "interval": [float(found.low), float(found.high)],
            "sd": float(found.sd),
            "interval_method": found.method,
        }
    if other is not None:
        entry |= {"floor": frechet_distance(a, other, protocol.ddof), "floor_count": other.n}
    return entry


def _infinity(name: str, real: Side, fake: Side, protocol: Protocol) -> Entry:
    fit = frechet_infinity(real.features[name], fake.features[name], protocol.ddof)
    return {"value": fit.value, **_count(real, fake)}


def _kernel(name: str, real: Side, fake: Side, floor: Side | None) -> Entry:
    a, b = real.features[name].kept_features, fake.features[name].kept_features
    entry: Entry = {"value": kernel_distance(a, b), **_count(real, fake)}
    if min(len(a), len(b)) >= 3:
        found = kernel_interval(a, b)
        entry |= {
            "interval": [float(found.low), float(found.high)],
            "sd": float(found.sd),
            "interval_method": found.method,
        }
    if floor is not None:
        entry["floor"] = kernel_distance(a, floor.first(len(fake)).features[name].kept_features)
    return entry


def _inception(name: str, real: Side, fake: Side, protocol: Protocol) -> Entry:
    def rate(stats: FeatureStats) -> tuple[float, float]:
        splits = min(protocol.inception_splits, stats.n)
        return inception_score(softmax(stats.kept_features), splits, shuffle_seed=protocol.inception_shuffle)

    mean, sd = rate(fake.features[name])
    entry: Entry = {"value": mean, **_count(real, fake), "splits": min(protocol.inception_splits, len(fake))}
    if protocol.inception_splits > 1:
        entry["spread"] = sd  # over splits, as papers print it; not an interval
    if _kept(real, name):
        entry["floor"] = rate(real.first(len(fake)).features[name])[0]
    return entry


def _figure(real: np.ndarray | None, fake: np.ndarray, within: tuple[float, float] | None) -> Entry:
    """Mean of an exact figure over the clips for which it is defined; its floor is that of the real clips."""
    known = fake[np.isfinite(fake)]
    if len(known) == 0:
        return {"value": None, "count": 0}
    mean = float(known.mean())
    entry: Entry = {"value": mean, "median": float(np.median(known)), "count": len(known)}
    if len(known) > 1:
        found = mean_interval(known, within=within)
        entry |= {"interval": [float(found.low), float(found.high)], "interval_method": found.method}
    if real is not None and np.isfinite(real).any():
        entry["floor"] = float(real[np.isfinite(real)].mean())
    return entry
