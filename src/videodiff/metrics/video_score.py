"""Inception score of generated videos as a torchmetrics class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from videodiff.metrics.clip_metric import ClipMetric
from videodiff.metrics.inception import inception_score, softmax
from videodiff.metrics.moments import check_features

if TYPE_CHECKING:
    from videodiff.metrics.features import FeatureExtractor


class VideoInceptionScore(ClipMetric):
    """Inception score of generated clips; the number of splits is part of its name.

    On C3D logits (UCF-101) it is the IS of the papers, on the Kinetics classes of I3D a stand-in, ``is_k400``.

    Args:
        features: frozen classifier, uint8 clips ``[B, T, H, W, 3]`` -> logits ``[B, K]``.
        splits: parts of consecutive clips; TGANv2 takes 1, StyleGAN-V 10.
        shuffle_seed: permutation before the split (StyleGAN-V: 42); None keeps the clips' order.
        eps: added to probabilities inside logarithms.
        num_clips: how many clips the protocol asks for; fewer make ``compute`` warn.
        kwargs: of ``torchmetrics.Metric``.

    Attributes:
        deviation: standard deviation over splits of the last ``compute``.
    """

    higher_is_better = True

    def __init__(
        self,
        features: FeatureExtractor,
        splits: int,
        shuffle_seed: int | None = None,
        eps: float = 1e-20,
        num_clips: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_clips=num_clips, **kwargs)
        if splits < 1:
            raise ValueError(f"splits must be at least 1, got {splits}")
        self.__dict__["features"] = features
        self.splits, self.shuffle_seed, self.eps = splits, shuffle_seed, eps
        self.deviation = 0.0
        self._add_rows("fake", features.dim)

    @property
    def name(self) -> str:
        """``is_splits10`` (C3D), ``is_k400_splits10`` (I3D), else with the network's own name."""
        network = self.features.name
        kind = "" if network.startswith("c3d") else "_k400" if network.startswith("i3d") else f"_{network}"
        return f"is{kind}_splits{self.splits}"

    def update(self, clips: Tensor, index: Tensor | None = None) -> None:
        """Add generated clips, uint8 ``[B, T, H, W, 3]``; `index` as in :meth:`DistributionMetric.update`.

        Raises:
            TypeError: if the clips are not uint8.
            ValueError: if the shape or length is another, or a logit is not finite.
        """
        clips = self._check_clips(clips, "fake")
        if len(clips):
            self.update_features(self._features(clips), index)
            self._remember(clips)

    def update_features(self, logits: Tensor, index: Tensor | None = None) -> None:
        """Add logits ``[B, K]``, where they are known already.

        Raises:
            ValueError: if a logit is not finite; names the clip.
        """
        rows = check_features(logits, first=sum(map(len, self.fake_index)), what="fake clip")
        self._append("fake", torch.from_numpy(rows), index)
        self._computed = None
        self._update_count += 1

    def compute(self) -> Tensor:
        """Mean score over the splits, float64.

        Raises:
            ValueError: if there are fewer than 2 clips, or fewer than splits.
        """
        logits, _ = self._gathered("fake")
        if len(logits) < max(2, self.splits):
            raise ValueError(f"{self.name} needs at least {max(2, self.splits)} clips, got {len(logits)}")
        self._check_count("fake", len(logits))
        mean, self.deviation = inception_score(softmax(logits), self.splits, self.eps, self.shuffle_seed)
        return torch.tensor(mean, dtype=torch.float64)
