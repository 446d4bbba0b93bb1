"""What the distances between real and generated clips have in common: two sides of features, and their sums."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from videodiff.metrics.clip_metric import ClipMetric, Table
from videodiff.metrics.entry import Entry, interval_entry
from videodiff.metrics.intervals import Interval
from videodiff.metrics.moments import KEEP_FEATURES, FeatureStats

if TYPE_CHECKING:
    from videodiff.metrics.features import FeatureExtractor


class DistributionMetric(ClipMetric):
    """Compares the features of real clips with those of generated ones.

    A subclass gives the name of its value over I3D features (`known_name`) and over others (`general_name`),
    ``distance`` and ``interval``. Sums are kept in float64 and added over processes; features are kept up to
    `keep_features` clips. The network is no submodule: it is in nobody's ``state_dict``, optimizer or average.

    Args:
        features: frozen network, uint8 clips ``[B, T, H, W, 3]`` -> ``[B, dim]``; None where they are known already.
        keep_features: features are kept up to this many clips a side and process, the sums always.
        num_clips: how many clips the protocol asks for; fewer make ``compute`` warn.
        name: of the value, in place of that of the network.
        kwargs: of ``torchmetrics.Metric``.
    """

    higher_is_better = False
    known_name: str
    general_name: str

    def __init__(
        self,
        features: FeatureExtractor | None = None,
        keep_features: int = KEEP_FEATURES,
        num_clips: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_clips=num_clips, **kwargs)
        self.__dict__["features"] = features  # not through nn.Module, which would register it
        self.keep_features, self._given_name = keep_features, name
        self._held: dict[str, FeatureStats] = {}
        if features is not None:
            for side in ("real", "generated"):
                self._add_table(side, Table(features.dim, has_sums=True))

    @property
    def name(self) -> str:
        """Name of the value: the known one over the I3D features that define it, else with the network's name."""
        if self._given_name is not None or self.features is None:
            return self._given_name or self.known_name
        network = self.features.name
        return self.known_name if network.startswith("i3d") else f"{self.general_name}_{network}"

    @abstractmethod
    def distance(self, real: FeatureStats, other: FeatureStats) -> float:
        """The value between real clips and others."""

    def interval(self, real: FeatureStats, generated: FeatureStats) -> Interval | None:
        """Of the distance, over fresh draws of the clips; None where there are too few, or nobody knows one."""
        return None

    def is_defined(self, real: FeatureStats, generated: FeatureStats) -> bool:
        """Whether these statistics hold what the value needs."""
        return True

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
        clips = self._check_clips(clips, _side(real))
        if len(clips):
            self.update_features(self._features(clips), real, index)
            self._remember(clips)

    def update_features(self, features: Tensor, real: bool, index: Tensor | None = None) -> None:
        """Add features ``[B, dim]`` of one side, where they are known already.

        Raises:
            ValueError: if a feature is not finite (names the clip) or the length is another.
        """
        side = _side(real)
        if side in self._held:
            raise ValueError(f"the {side} side is a stored reference: no {side} clips can be added")
        self._append_features(side, features, index, self.keep_features, f"{side} clip")
        self._computed = None
        self._update_count += 1

    def use(
        self,
        real: FeatureStats | None = None,
        generated: FeatureStats | None = None,
        other_real: FeatureStats | None = None,
    ) -> DistributionMetric:
        """Take statistics of clips that were seen before, the same on every process; ``reset`` keeps them.

        Args:
            real: of the real side.
            generated: of the generated side.
            other_real: of further real clips, as many as generated ones: they give the floor of :meth:`entry`.

        Raises:
            ValueError: if clips of that side were added already, or the features have another length.
        """
        given = {"real": real, "generated": generated, "other_real": other_real}
        for side, stats in given.items():
            if stats is None:
                continue
            if self._seen(side):
                raise ValueError(f"{side} clips were added already: reset before taking stored statistics")
            if self.features is not None and stats.dim != self.features.dim:
                raise ValueError(
                    f"statistics of {stats.dim} numbers per clip, the network gives {self.features.dim}"
                )
            self._held[side] = stats
        self._computed = None
        if generated is not None:
            self._update_count += 1
        return self

    def stats(self, real: bool) -> FeatureStats:
        """Statistics of one side over all processes, features in the order of the clips; call it on every process."""
        with self._over_processes():
            return self._stats(_side(real))

    def entry(self) -> Entry:
        """The value with counts, interval and floor, as results hold it; call it on every process.

        Raises:
            ValueError: if a side has fewer than 2 clips.
        """
        with self._over_processes():
            real, generated = self._stats("real"), self._stats("generated")
        entry: Entry = {"value": self.distance(real, generated), **counts(real.n, generated.n)}
        if (found := self.interval(real, generated)) is not None:
            entry |= interval_entry(found, with_sd=True)
        if (other := self._held.get("other_real")) is not None:
            entry |= self.floor(real, other)
        return entry

    def floor(self, real: FeatureStats, other_real: FeatureStats) -> Entry:
        """What a perfect model would get: the distance of further real clips, as many as generated ones."""
        return {"floor": self.distance(real, other_real)}

    def compute(self) -> Tensor:
        """The distance, float64.

        Raises:
            ValueError: if a side has fewer than 2 clips, or statistics lack what the value needs.
        """
        return torch.tensor(self.distance(*self._both()), dtype=torch.float64)

    def _stats(self, side: str) -> FeatureStats:
        if side in self._held:
            return self._held[side]
        if side not in self._tables:
            return FeatureStats.empty(1)
        return self._feature_stats(side, keep=2**62)  # what was kept is handed on

    def _both(self) -> tuple[FeatureStats, FeatureStats]:
        """Both sides, counted; warns of what makes a value meaningless though defined."""
        real, generated = self._stats("real"), self._stats("generated")
        for side, stats in (("real", real), ("generated", generated)):
            if stats.n < 2:
                raise ValueError(f"{self.name} needs at least 2 {side} clips, got {stats.n}")
            self._check_count(side, stats.n)
            spread, size = stats.covariance().trace(), (stats.outer.trace() / stats.n)
            if spread <= 1e-12 * size:
                warnings.warn(
                    f"all {stats.n} {side} clips have the same features: constant or repeated clips",
                    stacklevel=3,
                )
        if _same(real.features, generated.features):
            warnings.warn(
                "real and generated clips have the same features: the same on both sides?", stacklevel=3
            )
        return real, generated


def counts(num_real: int, num_generated: int) -> Entry:
    """The clips behind a value, by the names that results hold them."""
    return {"count": num_generated, "num_real": num_real, "num_fake": num_generated}


def _side(real: bool) -> str:
    return "real" if real else "generated"


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and np.array_equal(a, b)
