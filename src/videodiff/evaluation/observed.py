"""The features of a set of clips, in an order that does not depend on batches or processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videodiff.evaluation.detectors import Detector
from videodiff.evaluation.plan import Batch
from videodiff.metrics.clip_metric import ClipMetric, Table, undisturbed
from videodiff.metrics.moments import KEEP_FEATURES, FeatureStats
from videodiff.metrics.video_pairs import PairMetric, pair_metrics
from videodiff.say import counted


@dataclass
class Observed:
    """Features and figures of N clips, by name.

    Args:
        features: statistics of what a network gave for each clip; the features themselves up to 20,000 clips.
        figures: one number per clip ``[N]``, NaN where it is not defined.
        places: place of each clip in its plan.
        digests: of the pixels of each clip, to know real clips that turn up again.
        sizes: frame sizes ``(H, W)`` that occurred.
        constant: clips of one single colour.
        pairs: of continuations: PSNR, SSIM and LPIPS of each beside what follows in truth, ``[N]``.
        classes: of each clip ``[N]``: what it is of, or was told to be of, -1 where nothing says it; None if of none.
        facts: of each clip ``[N]``: the truth behind its caption, or behind the one that it was told; None if of none.
    """

    features: dict[str, FeatureStats] = field(default_factory=dict)
    figures: dict[str, np.ndarray] = field(default_factory=dict)
    places: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    digests: list[str] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    constant: int = 0
    pairs: dict[str, np.ndarray] = field(default_factory=dict)
    classes: np.ndarray | None = None
    facts: Sequence[Mapping[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.places)

    def first(self, count: int) -> Observed:
        """The first `count` clips of the plan; all if there are no more.

        Raises:
            ValueError: if there are more clips than features are kept for.
        """
        if count >= len(self):
            return self
        if any(stats.features is None for stats in self.features.values()):
            raise ValueError(
                f"{counted(len(self), 'clip')} are too many to look at {count} of them again; ask for "
                "fewer with --num_clips"
            )
        features = {k: FeatureStats.from_features(s.kept_features[:count]) for k, s in self.features.items()}
        figures, pairs = (
            {name: values[:count] for name, values in held.items()} for held in (self.figures, self.pairs)
        )
        return Observed(
            features, figures, self.places[:count], self.digests[:count], self.sizes, self.constant, pairs,
            None if self.classes is None else self.classes[:count],
            None if self.facts is None else self.facts[:count],
        )  # fmt: skip


class ClipObserver(ClipMetric):
    """Shows clips to detectors once, and keeps what they gave: a table of rows for each feature and figure.

    Args:
        detectors: what to look with.
        keep_features: features are kept up to this many clips of this process, the sums always.
        kwargs: of ``torchmetrics.Metric``; ``sync_on_compute=False`` for a process that looks alone.
    """

    detectors: tuple[Detector, ...]
    compared: dict[str, PairMetric]
    CLIP = "clip"  # digest, height, width, whether it is of one single colour
    PAIR = "pair_"  # before the name of a table of pairs

    def __init__(
        self, detectors: Sequence[Detector], keep_features: int = KEEP_FEATURES, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.__dict__["detectors"] = tuple(detectors)
        self.__dict__["compared"] = dict[
            str, PairMetric
        ]()  # what pairs are compared by, from the first of them on
        self.keep_features = keep_features
        self._add_table(self.CLIP, Table(4, torch.int64))

    def update(
        self,
        clips: Tensor,
        index: Sequence[int] | Tensor | None = None,
        pairs: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Look at a batch.

        Args:
            clips: uint8 ``[B, T, H, W, 3]``.
            index: place of each clip in its plan.
            pairs: of continuations: frames in truth and as generated, each uint8 ``[B, T', H, W, 3]``.

        Raises:
            TypeError: if the clips are not uint8.
            ValueError: if they have another shape, fewer frames than a detector needs, or a feature is not finite.
        """
        clips = check_clips(clips, self.detectors)
        places = None if index is None else torch.as_tensor(index)
        seen: dict[str, np.ndarray] = {}
        for detector in self.detectors:
            seen.update(detector.see(clips))
        for name, values in seen.items():
            if values.ndim == 1:
                self._append_figure(name, torch.from_numpy(values), places)
            else:
                self._append_features(name, values, places, self.keep_features, "clip")
        if pairs is not None:
            self.compared = self.compared or pair_metrics(min(clips.shape[2:4]))
            for name, metric in self.compared.items():
                with undisturbed():
                    self._append_figure(self.PAIR + name, metric.values(*pairs), places)
        self._append(self.CLIP, torch.tensor([facts_of(clip) for clip in clips]), places)

    def _append_figure(self, name: str, values: Tensor, places: Tensor | None) -> None:
        if name not in self._tables:
            self._add_table(name, Table(1))
        self._append(name, values[:, None], places)

    def compute(self) -> Tensor:
        """How many clips were seen."""
        return torch.tensor(len(self._gathered(self.CLIP)[1]))

    def observed(self) -> Observed:
        """What was seen of all clips of all processes, in the order of their plan; call it on every process."""
        with self._over_processes():
            facts, places = self._gathered(self.CLIP)
            found = Observed(places=places)
            for name, table in self._tables.items():
                if table.has_sums:
                    found.features[name] = self._feature_stats(name)
                elif name.startswith(self.PAIR):
                    found.pairs[name.removeprefix(self.PAIR)] = self._gathered(name)[0][:, 0]
                elif name != self.CLIP:
                    found.figures[name] = self._gathered(name)[0][:, 0]
        found.digests = [int(digest).to_bytes(8, "big", signed=True).hex() for digest in facts[:, 0]]
        found.sizes = {(int(height), int(width)) for height, width in facts[:, 1:3]}
        found.constant = int(facts[:, 3].sum())
        return found


def facts_of(clip: Tensor) -> list[int]:
    """Of a clip uint8 ``[T, H, W, 3]``: digest of its pixels, height, width, and whether it is of one single colour."""
    digest = hashlib.blake2b(clip.contiguous().numpy().tobytes(), digest_size=8).digest()
    is_plain = bool((clip == clip[0, 0, 0]).all())
    return [int.from_bytes(digest, "big", signed=True), clip.shape[1], clip.shape[2], int(is_plain)]


def observe(
    batches: Iterable[Batch | Tensor],
    detectors: Sequence[Detector],
    progress: Callable[[int], None] | None = None,
    together: bool = False,
) -> Observed:
    """Look at every clip once.

    Args:
        batches: uint8 ``[B, T, H, W, 3]``, with their places or counted from 0.
        detectors: what to look with.
        progress: called with the number of clips seen so far.
        together: with the other processes, each of which looks at its share; all get the whole.

    Raises:
        TypeError: if a batch is not uint8.
        ValueError: if it has another shape, or fewer frames than a network needs.
    """
    observer = ClipObserver(detectors, sync_on_compute=together)
    seen = 0
    for batch in batches:
        if not isinstance(batch, tuple):
            batch = Batch(list(range(seen, seen + len(batch))), batch)
        places, clips, pairs = Batch(*batch)
        observer.update(clips, list(places), pairs)
        seen += len(clips)
        if progress is not None:
            progress(seen)
    return observer.observed()


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
