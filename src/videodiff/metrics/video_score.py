"""Inception score of generated videos as a torchmetrics class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from videodiff.metrics.clip_metric import ClipMetric, Table
from videodiff.metrics.distribution import counts
from videodiff.metrics.entry import Entry
from videodiff.metrics.inception import inception_score, softmax
from videodiff.metrics.moments import FeatureStats

if TYPE_CHECKING:
    from videodiff.metrics.features import FeatureExtractor


class VideoInceptionScore(ClipMetric):
    """Inception score of generated clips; the number of splits is part of its name.

    On C3D logits (UCF-101) it is the IS of the papers, on the Kinetics classes of I3D a stand-in, ``is_k400``.

    Args:
        features: frozen classifier, uint8 clips ``[B, T, H, W, 3]`` -> logits ``[B, K]``; None where they are known.
        splits: parts of consecutive clips; TGANv2 takes 1, StyleGAN-V 10.
        shuffle_seed: permutation before the split (StyleGAN-V: 42); None keeps the clips' order.
        eps: added to probabilities inside logarithms.
        num_clips: how many clips the protocol asks for; fewer make ``compute`` warn.
        name: of the value without the splits, in place of that of the network.
        kwargs: of ``torchmetrics.Metric``.

    Attributes:
        deviation: standard deviation over splits of the last ``compute``.
    """

    higher_is_better = True

    def __init__(
        self,
        features: FeatureExtractor | None,
        splits: int,
        shuffle_seed: int | None = None,
        eps: float = 1e-20,
        num_clips: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_clips=num_clips, **kwargs)
        if splits < 1:
            raise ValueError(f"splits must be at least 1, got {splits}")
        self.__dict__["features"] = features
        self.splits, self.shuffle_seed, self.eps = splits, shuffle_seed, eps
        self.deviation = 0.0
        self._given_name = name
        self._held: dict[str, FeatureStats] = {}
        if features is not None:
            self._add_table("generated", Table(features.dim))

    @property
    def name(self) -> str:
        """``is_splits10`` (C3D), ``is_k400_splits10`` (I3D), else with the network's own name."""
        if self._given_name is not None or self.features is None:
            return f"{self._given_name or 'is'}_splits{self.splits}"
        network = self.features.name
        kind = "" if network.startswith("c3d") else "_k400" if network.startswith("i3d") else f"_{network}"
        return f"is{kind}_splits{self.splits}"

    def update(self, clips: Tensor, index: Tensor | None = None) -> None:
        """Add generated clips, uint8 ``[B, T, H, W, 3]``; `index` as in :meth:`DistributionMetric.update`.

        Raises:
            TypeError: if the clips are not uint8.
            ValueError: if the shape or length is another, or a logit is not finite.
        """
        clips = self._check_clips(clips, "generated")
        if len(clips):
            self.update_features(self._features(clips), index)
            self._remember(clips)

    def update_features(self, logits: Tensor, index: Tensor | None = None) -> None:
        """Add logits ``[B, K]``, where they are known already.

        Raises:
            ValueError: if a logit is not finite; names the clip.
        """
        self._append_features("generated", logits, index, 2**62, "generated clip")
        self._computed = None
        self._update_count += 1

    def use(self, generated: FeatureStats, real: FeatureStats | None = None) -> VideoInceptionScore:
        """Take logits of clips that were seen before, the same on every process.

        Args:
            generated: of the generated clips.
            real: of real clips, whose first ones, as many, give the floor of :meth:`entry`.
        """
        self._held = {"generated": generated, **({} if real is None else {"real": real})}
        self._update_count += 1
        return self

    def is_defined(self, real: FeatureStats | None, generated: FeatureStats) -> bool:
        """Whether these statistics hold the logits themselves."""
        return generated.features is not None

    def entry(self) -> Entry:
        """The score with counts, spread over splits and floor, as results hold it; call it on every process."""
        with self._over_processes():
            logits = self._logits()
        real = self._held.get("real")
        mean, spread = self._score(logits)
        num_real = 0 if real is None else real.n
        entry: Entry = {"value": mean, **counts(num_real, len(logits)), "splits": self.splits}
        if self.splits > 1:
            entry["spread"] = spread  # over splits, as papers print it; not an interval
        if real is not None and real.features is not None:
            entry["floor"] = self._score(real.features[: len(logits)])[0]
        return entry

    def _logits(self) -> np.ndarray:
        if "generated" in self._held:
            return self._held["generated"].kept_features
        return self._gathered("generated")[0]

    def _score(self, logits: np.ndarray) -> tuple[float, float]:
        return inception_score(softmax(logits), min(self.splits, len(logits)), self.eps, self.shuffle_seed)

    def compute(self) -> Tensor:
        """Mean score over the splits, float64.

        Raises:
            ValueError: if there are fewer than 2 clips, or fewer than splits.
        """
        logits = self._logits()
        if len(logits) < max(2, self.splits):
            raise ValueError(f"{self.name} needs at least {max(2, self.splits)} clips, got {len(logits)}")
        self._check_count("generated", len(logits))
        mean, self.deviation = self._score(logits)
        return torch.tensor(mean, dtype=torch.float64)
