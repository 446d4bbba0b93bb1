"""What the distances between real and generated clips have in common: two sides of features, and their sums."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from videodiff.metrics.clip_metric import ClipMetric
from videodiff.metrics.moments import KEEP_FEATURES, FeatureStats, check_features

if TYPE_CHECKING:
    from videodiff.metrics.features import FeatureExtractor


class DistributionMetric(ClipMetric):
    """Compares the features of real clips with those of generated ones.

    A subclass gives the name of its value over I3D features (`known_name`) and over others (`general_name`), and
    ``compute``. Sums are kept in float64 and added over processes; features are kept up to `keep_features` clips.
    The network is no submodule: it is in nobody's ``state_dict``, optimizer or average.

    Args:
        features: frozen network, uint8 clips ``[B, T, H, W, 3]`` -> ``[B, dim]``.
        keep_features: features are kept up to this many clips a side and process, the sums always.
        num_clips: how many clips the protocol asks for; fewer make ``compute`` warn.
        kwargs: of ``torchmetrics.Metric``.
    """

    higher_is_better = False
    known_name: str
    general_name: str

    def __init__(
        self,
        features: FeatureExtractor,
        keep_features: int = KEEP_FEATURES,
        num_clips: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_clips=num_clips, **kwargs)
        self.__dict__["features"] = features  # not through nn.Module, which would register it
        self.keep_features = keep_features
        self._reference: FeatureStats | None = None
        for side in ("real", "fake"):
            self._add_rows(side, features.dim)
            self.add_state(
                f"{side}_sum", torch.zeros(features.dim, dtype=torch.float64), dist_reduce_fx="sum"
            )
            outer = torch.zeros(features.dim, features.dim, dtype=torch.float64)
            self.add_state(f"{side}_outer", outer, dist_reduce_fx="sum")

    @property
    def name(self) -> str:
        """Name of the value: the known one over the I3D features that define it, else with the network's name."""
        network = self.features.name
        return self.known_name if network.startswith("i3d") else f"{self.general_name}_{network}"

    def update(self, clips: Tensor, real: bool, index: Tensor | None = None) -> None:
        """Add clips of one side.

        Args:
            clips: uint8 ``[B, T, H, W, 3]``.
            real: which side they belong to.
            index: number of each clip in its set, ``[B]``; repeats are dropped. By default clips are numbered as
                they come, the processes in turn.

        Raises:
            TypeError: if the clips are not uint8.
            ValueError: if they have another shape or length than earlier ones, too few frames for the network, or
                a feature is not finite.
        """
        side = "real" if real else "fake"
        clips = self._check_clips(clips, side)
        if len(clips):
            self.update_features(self._features(clips), real, index)
            self._remember(clips)

    def update_features(self, features: Tensor, real: bool, index: Tensor | None = None) -> None:
        """Add features ``[B, dim]`` of one side, where they are known already.

        Raises:
            ValueError: if a feature is not finite (names the clip) or the length is another.
        """
        side = "real" if real else "fake"
        if real and self._reference is not None:
            raise ValueError("the real side is a stored reference: no real clips can be added")
        seen = sum(map(len, getattr(self, f"{side}_index")))
        rows = torch.from_numpy(check_features(features, first=seen, what=f"{side} clip"))
        if rows.shape[1] != self._widths[side]:
            raise ValueError(f"features must have {self._widths[side]} numbers per clip, got {rows.shape[1]}")
        keep = seen + len(rows) <= self.keep_features
        self._append(side, rows, index, keep)
        if not keep:
            setattr(self, f"{side}_rows", [])
        setattr(self, f"{side}_sum", getattr(self, f"{side}_sum") + rows.sum(0))
        setattr(self, f"{side}_outer", getattr(self, f"{side}_outer") + rows.T @ rows)
        self._computed = None
        self._update_count += 1

    def use_reference(self, stats: FeatureStats) -> None:
        """Take stored statistics for the real side, the same on every process; ``reset`` keeps them.

        Raises:
            ValueError: if real clips were added already, or the features have another length.
        """
        if self.real_index:
            raise ValueError("real clips were added already: reset before taking a stored reference")
        if stats.dim != self.features.dim:
            raise ValueError(
                f"reference of {stats.dim} numbers per clip, the network gives {self.features.dim}"
            )
        self._reference = stats
        self._computed = None

    def stats(self, real: bool) -> FeatureStats:
        """Statistics of one side over all processes, features in the order of the clips; call it on every process."""
        with self._over_processes():
            return self._stats("real" if real else "fake")

    def _stats(self, side: str) -> FeatureStats:
        if side == "real" and self._reference is not None:
            return self._reference
        rows, index = self._gathered(side)
        if len(rows) == len(index) and len(rows):
            return FeatureStats.from_features(rows, keep_features=max(self.keep_features, len(rows)))
        sums, outer = getattr(self, f"{side}_sum").numpy(), getattr(self, f"{side}_outer").numpy()
        return FeatureStats(len(index), sums, outer)

    def _both(self) -> tuple[FeatureStats, FeatureStats]:
        """Both sides, counted; warns of what makes a value meaningless though defined."""
        real, fake = self._stats("real"), self._stats("fake")
        for side, stats in (("real", real), ("fake", fake)):
            if stats.n < 2:
                raise ValueError(f"{self.name} needs at least 2 {side} clips, got {stats.n}")
            self._check_count(side, stats.n)
            spread, size = stats.covariance().trace(), (stats.outer.trace() / stats.n)
            if spread <= 1e-12 * size:
                warnings.warn(
                    f"all {stats.n} {side} clips have the same features: constant or repeated clips",
                    stacklevel=3,
                )
        if _same(real.features, fake.features):
            warnings.warn("real and fake clips have the same features: the same on both sides?", stacklevel=3)
        return real, fake


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and np.array_equal(a, b)
