"""Distances between real and generated videos as torchmetrics classes, over the features of any network.

All take uint8 clips ``[B, T, H, W, 3]`` in any batches and on any number of processes, and give the same number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from videodiff.metrics.distribution import DistributionMetric
from videodiff.metrics.entry import Entry
from videodiff.metrics.frechet import frechet_distance, frechet_infinity
from videodiff.metrics.frechet_intervals import frechet_interval
from videodiff.metrics.intervals import Interval
from videodiff.metrics.kernel import kernel_distance
from videodiff.metrics.kernel_intervals import kernel_interval
from videodiff.metrics.moments import KEEP_FEATURES, FeatureStats, check_features
from videodiff.metrics.standardised import standardised

if TYPE_CHECKING:
    from videodiff.metrics.features import FeatureExtractor

LEAST_FOR_INFINITY = 512


class FrechetVideoDistance(DistributionMetric):
    """Frechet distance of the features of real and generated clips; FVD if the network is the I3D of that metric.

    Unterthiner et al. 2018. Biased upwards by about c/N: only values at equal counts can be compared.

    Args:
        features: frozen network, uint8 clips ``[B, T, H, W, 3]`` -> ``[B, dim]``; None where they are known already.
        ddof: the covariance's divisor is ``N - ddof``; StyleGAN-V takes 0, the original FVD 1.
        keep_features: features are kept up to this many clips a side and process, the sums always.
        num_clips: how many clips the protocol asks for; fewer make ``compute`` warn.
        clips_per_video: so many clips in a row come from one video; the interval leaves them out together.
        draws: so many generated clips in a row continue each real one, and are left out together with it; None for
            clips that continue none.
        name: of the value, in place of that of the network.
        kwargs: of ``torchmetrics.Metric``.
    """

    known_name = "fvd"
    general_name = "frechet"

    def __init__(
        self,
        features: FeatureExtractor | None = None,
        ddof: int = 0,
        keep_features: int = KEEP_FEATURES,
        num_clips: int | None = None,
        clips_per_video: int = 1,
        draws: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(features, keep_features, num_clips, name, **kwargs)
        if ddof not in (0, 1):
            raise ValueError(f"ddof must be 0 (divisor N) or 1 (divisor N - 1), got {ddof!r}")
        self.ddof, self.clips_per_video, self.draws = ddof, clips_per_video, draws

    def distance(self, real: FeatureStats, other: FeatureStats) -> float:
        return frechet_distance(real, other, self.ddof)

    def interval(self, real: FeatureStats, generated: FeatureStats) -> Interval | None:
        if real.features is None or generated.features is None or min(real.n, generated.n) < 4:
            return None
        return frechet_interval(
            real, generated, self.ddof, clips_per_video=self.clips_per_video, paired=self.draws is not None,
            draws=self.draws or 1,
        )  # fmt: skip

    def floor(self, real: FeatureStats, other_real: FeatureStats) -> Entry:
        return {**super().floor(real, other_real), "floor_count": other_real.n}


class StandardisedFrechetDistance(FrechetVideoDistance):
    """Frechet distance of features in units of the real clips' spread; rand-FD over those of a random network.

    The scales of random features are arbitrary: each is measured in that of the real side.
    """

    known_name = "rand_fd"
    general_name = "standardised_frechet"

    def distance(self, real: FeatureStats, other: FeatureStats) -> float:
        return super().distance(standardised(real, real), standardised(other, real))

    def interval(self, real: FeatureStats, generated: FeatureStats) -> Interval | None:
        return super().interval(standardised(real, real), standardised(generated, real))


class FrechetInfinity(FrechetVideoDistance):
    """FVD extrapolated to infinitely many clips (Chong & Forsyth 2020), reported beside the distance at N.

    A quarter of the clips must exceed the effective dimension of the features, about a hundred for I3D's logits: below
    :data:`LEAST_FOR_INFINITY` clips a side the value is not defined.
    """

    known_name = "fvd_inf"
    general_name = "frechet_inf"

    def is_defined(self, real: FeatureStats, generated: FeatureStats) -> bool:
        kept = real.features is not None and generated.features is not None
        return kept and min(real.n, generated.n) >= LEAST_FOR_INFINITY

    def distance(self, real: FeatureStats, other: FeatureStats) -> float:
        return frechet_infinity(real, other, self.ddof).value

    def interval(self, real: FeatureStats, generated: FeatureStats) -> Interval | None:
        return None  # ``frechet_infinity_interval`` has one; at 20 fits it is not taken for every result

    def floor(self, real: FeatureStats, other_real: FeatureStats) -> Entry:
        return {}


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
        self, real: Tensor, generated: Tensor, index: Tensor | None = None
    ) -> None:
        """Add clips and their reconstructions.

        Args:
            real: uint8 ``[B, T, H, W, 3]``.
            generated: uint8, their reconstructions in the same order.
            index: number of each clip, ``[B]``.

        Raises:
            TypeError: if the clips are not uint8.
            ValueError: if the shapes differ, or a feature is not finite.
        """
        if real.shape != generated.shape:
            raise ValueError(
                f"clips {list(real.shape)} and reconstructions {list(generated.shape)} must have one shape"
            )
        real, generated = self._check_clips(real, "real"), self._check_clips(generated, "generated")
        if not len(real):
            return
        both = self._features(real), self._features(generated)
        check_features(
            both[1], first=self._seen("generated"), what="generated clip"
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
        self._network = features.name
        if frames not in ("all", "first"):
            raise ValueError(f"frames must be all or first, got {frames!r}")
        self.frames = frames

    @property
    def name(self) -> str:
        """``frame_fid`` with the network's name and which frames."""
        return f"frame_fid_{self._network}_{self.frames}"

    def update(self, clips: Tensor, real: bool, index: Tensor | None = None) -> None:
        side = "real" if real else "generated"
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
        name: of the value, in place of that of the network.
        has_interval: whether clips are independent of each other, as the interval takes them to be.
        kwargs: of ``torchmetrics.Metric``.
    """

    known_name = "kvd"
    general_name = "kernel"

    def __init__(
        self,
        features: FeatureExtractor | None = None,
        num_clips: int | None = None,
        name: str | None = None,
        has_interval: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(features, 2**62, num_clips, name, **kwargs)
        self.has_interval = has_interval

    def is_defined(self, real: FeatureStats, generated: FeatureStats) -> bool:
        return real.features is not None and generated.features is not None

    def distance(self, real: FeatureStats, other: FeatureStats) -> float:
        if real.features is None:
            raise ValueError(
                f"{self.name} needs the features of the real clips, the stored reference holds sums alone"
            )
        return kernel_distance(real.features, other.kept_features)

    def interval(self, real: FeatureStats, generated: FeatureStats) -> Interval | None:
        if not self.has_interval or min(real.n, generated.n) < 3:
            return None
        return kernel_interval(real.kept_features, generated.kept_features)
