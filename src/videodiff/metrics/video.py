"""Distances between real and generated videos as torchmetrics classes, over the features of any network.

All take uint8 clips ``[B, T, H, W, 3]`` in any batches and on any number of processes, and give the same number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from videodiff.metrics.distribution import DistributionMetric
from videodiff.metrics.frechet import frechet_distance
from videodiff.metrics.kernel import kernel_distance
from videodiff.metrics.moments import KEEP_FEATURES, check_features

if TYPE_CHECKING:
    from videodiff.metrics.features import FeatureExtractor


class FrechetVideoDistance(DistributionMetric):
    """Frechet distance of the features of real and generated clips; FVD if the network is the I3D of that metric.

    Unterthiner et al. 2018. Biased upwards by about c/N: only values at equal counts can be compared.

    Args:
        features: frozen network, uint8 clips ``[B, T, H, W, 3]`` -> ``[B, dim]``.
        ddof: the covariance's divisor is ``N - ddof``; StyleGAN-V takes 0, the original FVD 1.
        keep_features: features are kept up to this many clips a side and process, the sums always.
        num_clips: how many clips the protocol asks for; fewer make ``compute`` warn.
        kwargs: of ``torchmetrics.Metric``.
    """

    known_name = "fvd"
    general_name = "frechet"

    def __init__(
        self,
        features: FeatureExtractor,
        ddof: int = 0,
        keep_features: int = KEEP_FEATURES,
        num_clips: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(features, keep_features, num_clips, **kwargs)
        if ddof not in (0, 1):
            raise ValueError(f"ddof must be 0 (divisor N) or 1 (divisor N - 1), got {ddof!r}")
        self.ddof = ddof

    def compute(self) -> Tensor:
        """The distance, float64.

        Raises:
            ValueError: if a side has fewer than 2 clips.
        """
        real, fake = self._both()
        return torch.tensor(frechet_distance(real, fake, self.ddof), dtype=torch.float64)


class ContentDebiasedFVD(FrechetVideoDistance):
    """FVD over features that react to motion more than to single frames (Ge et al. 2024: VideoMAE-v2 on SSv2).

    The network is injected: that paper's has a billion parameters and comes with its own code.
    """

    known_name = "cd_fvd_i3d"
    general_name = "cd_fvd"


class ReconstructionFVD(FrechetVideoDistance):
    """FVD between clips and their reconstructions: the same clips on both sides (R-FVD of Yu et al. 2023)."""

    known_name = "r_fvd"
    general_name = "r_frechet"

    def update(  # type: ignore[override]  # both sides come at once: a reconstruction belongs to its clip
        self, real: Tensor, fake: Tensor, index: Tensor | None = None
    ) -> None:
        """Add clips and their reconstructions.

        Args:
            real: uint8 ``[B, T, H, W, 3]``.
            fake: uint8, their reconstructions in the same order.
            index: number of each clip, ``[B]``.

        Raises:
            TypeError: if the clips are not uint8.
            ValueError: if the shapes differ, or a feature is not finite.
        """
        if real.shape != fake.shape:
            raise ValueError(
                f"clips {list(real.shape)} and reconstructions {list(fake.shape)} must have one shape"
            )
        real, fake = self._check_clips(real, "real"), self._check_clips(fake, "fake")
        if not len(real):
            return
        both = self._features(real), self._features(fake)
        check_features(
            both[1], first=sum(map(len, self.fake_index)), what="fake clip"
        )  # before its clip goes in
        self.update_features(both[0], True, index)
        self.update_features(both[1], False, index)
        self._remember(real)


class FrechetFrameDistance(FrechetVideoDistance):
    """Frechet distance over single frames, FID with the network that the user brings (Heusel et al. 2017).

    Args:
        features: frozen network that takes clips of one frame, uint8 ``[B, 1, H, W, 3]`` -> ``[B, dim]``.
        frames: every frame of each clip, or the first alone.
        ddof: see :class:`FrechetVideoDistance`.
        keep_features: features are kept up to this many frames a side and process, the sums always.
        num_clips: how many clips the protocol asks for.
        kwargs: of ``torchmetrics.Metric``.
    """

    def __init__(
        self,
        features: FeatureExtractor,
        frames: Literal["all", "first"] = "all",
        ddof: int = 0,
        keep_features: int = KEEP_FEATURES,
        num_clips: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(features, ddof, keep_features, num_clips, **kwargs)
        if frames not in ("all", "first"):
            raise ValueError(f"frames must be all or first, got {frames!r}")
        self.frames = frames

    @property
    def name(self) -> str:
        """``frame_fid`` with the network's name and which frames."""
        return f"frame_fid_{self.features.name}_{self.frames}"

    def update(self, clips: Tensor, real: bool, index: Tensor | None = None) -> None:
        side = "real" if real else "fake"
        clips = self._check_clips(clips, side)
        if not len(clips):
            return
        seen = clips[:, :1] if self.frames == "first" else clips
        per_clip = seen.shape[1]
        if index is not None:
            index = (torch.as_tensor(index).cpu()[:, None] * per_clip + torch.arange(per_clip)).flatten()
        self.update_features(self._features(seen.flatten(0, 1)[:, None]), real, index)
        self._remember(clips)

    def _check_count(self, side: str, count: int) -> None:
        frames = self._clip_shape[0] if self.frames == "all" and self._clip_shape else 1
        super()._check_count(side, count // frames)


class KernelVideoDistance(DistributionMetric):
    """Unbiased squared MMD of the features with the kernel ``(x . y / D + 1)^3``, on the whole sets.

    May be slightly negative; its expectation does not depend on the count. Keeps all features.

    Args:
        features: frozen network, uint8 clips ``[B, T, H, W, 3]`` -> ``[B, dim]``.
        num_clips: how many clips the protocol asks for; fewer make ``compute`` warn.
        kwargs: of ``torchmetrics.Metric``.
    """

    known_name = "kvd"
    general_name = "kernel"

    def __init__(self, features: FeatureExtractor, num_clips: int | None = None, **kwargs: Any) -> None:
        super().__init__(features, 2**62, num_clips, **kwargs)

    def compute(self) -> Tensor:
        """The squared distance, float64.

        Raises:
            ValueError: if a side has fewer than 2 clips, or the reference holds no features.
        """
        real, fake = self._both()
        if real.features is None:
            raise ValueError(
                f"{self.name} needs the features of the real clips, the stored reference holds sums alone"
            )
        return torch.tensor(kernel_distance(real.features, fake.kept_features), dtype=torch.float64)
