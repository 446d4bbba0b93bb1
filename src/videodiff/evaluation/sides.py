"""One side of a comparison: what the networks saw of its clips, in an order that no batch or process decides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from videodiff.evaluation.detectors import Detector
from videodiff.evaluation.sampling import Batch
from videodiff.metrics.moments import FeatureStats


@dataclass
class Side:
    """Features and figures of N clips, by name.

    Args:
        features: statistics of what a network gave for each clip; the features themselves up to 20,000 clips.
        figures: one number per clip ``[N]``, NaN where it is not defined.
        places: place of each clip in its plan.
        digests: of the pixels of each clip, to know real clips that turn up again.
        sizes: frame sizes ``(H, W)`` that occurred.
        constant: clips of one single colour.
    """

    features: dict[str, FeatureStats] = field(default_factory=dict)
    figures: dict[str, np.ndarray] = field(default_factory=dict)
    places: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    digests: list[str] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    constant: int = 0

    def __len__(self) -> int:
        return len(self.places)

    def add(self, places: Sequence[int], clips: Tensor, seen: dict[str, np.ndarray]) -> None:
        """Take in one batch and what the detectors gave for it: ``[B, D]`` features, ``[B]`` figures."""
        self.places = np.concatenate([self.places, np.asarray(places, np.int64)])
        for clip in clips:
            self.digests.append(
                hashlib.blake2b(clip.contiguous().numpy().tobytes(), digest_size=8).hexdigest()
            )
            self.constant += int((clip == clip[0, 0, 0]).all())
        self.sizes.add((clips.shape[2], clips.shape[3]))
        for name, values in seen.items():
            if values.ndim == 1:
                self.figures[name] = np.concatenate([self.figures.get(name, np.zeros(0)), values])
                continue
            if name not in self.features:
                self.features[name] = FeatureStats.empty(values.shape[1])
            self.features[name].update(values)

    def first(self, count: int) -> Side:
        """The first `count` clips of the plan; the whole side if it has no more.

        Raises:
            ValueError: if there are more clips than features are kept for.
        """
        if count >= len(self):
            return self
        if any(stats.features is None for stats in self.features.values()):
            raise ValueError(
                f"{len(self)} clips are too many to look at {count} of them again; ask for fewer with --num_clips"
            )
        features = {k: FeatureStats.from_features(s.kept_features[:count]) for k, s in self.features.items()}
        figures = {name: values[:count] for name, values in self.figures.items()}
        return Side(features, figures, self.places[:count], self.digests[:count], self.sizes, self.constant)


def join(parts: Sequence[Side]) -> Side:
    """One side from those of several processes, in the order of the plan, whoever saw which clip."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return Side()
    places = np.concatenate([part.places for part in parts])
    order = np.argsort(places, kind="stable")
    digests = [digest for part in parts for digest in part.digests]
    features = {}
    for name in parts[0].features:
        stats = [part.features[name] for part in parts]
        if all(s.features is not None for s in stats):
            features[name] = FeatureStats.from_features(np.concatenate([s.features for s in stats])[order])
        else:
            merged = stats[0]
            for other in stats[1:]:
                merged = merged.merge(other)
            features[name] = merged
    figures = {k: np.concatenate([p.figures[k] for p in parts])[order] for k in parts[0].figures}
    return Side(
        features,
        figures,
        places[order],
        [digests[i] for i in order],
        set().union(*(part.sizes for part in parts)),
        sum(part.constant for part in parts),
    )


def observe(
    batches: Iterable[Batch | Tensor],
    detectors: Sequence[Detector],
    progress: Callable[[int], None] | None = None,
) -> Side:
    """Look at every clip once.

    Args:
        batches: uint8 ``[B, T, H, W, 3]``, with their places or counted from 0.
        detectors: what to look with.
        progress: called with the number of clips seen so far.

    Raises:
        TypeError: if a batch is not uint8.
        ValueError: if it has another shape, or fewer frames than a network needs.
    """
    side = Side()
    for batch in batches:
        if not isinstance(batch, tuple):
            batch = Batch(list(range(len(side), len(side) + len(batch))), batch)
        clips = check_clips(batch.clips, detectors)
        seen: dict[str, np.ndarray] = {}
        for detector in detectors:
            seen.update(detector.see(clips))
        side.add(batch.places, clips, seen)
        if progress is not None:
            progress(len(side))
    return join([side])


def check_clips(clips: Tensor, detectors: Sequence[Detector]) -> Tensor:
    """The clips on the CPU, if they are what detectors take."""
    if str(clips.dtype) != "torch.uint8":
        raise TypeError(f"clips must be uint8 [B, T, H, W, 3] (use to_uint8), got {clips.dtype}")
    if clips.ndim != 5 or clips.shape[-1] != 3 or 0 in clips.shape:
        raise ValueError(f"clips must have the shape [B, T, H, W, 3], got {list(clips.shape)}")
    for detector in detectors:
        if clips.shape[1] < detector.min_frames:
            raise ValueError(
                f"{detector.name} needs clips of at least {detector.min_frames} frames, got {clips.shape[1]}; "
                f"ask for more with --frames"
            )
    return clips.cpu()
