"""Guidance by history, for denoisers that are told a noise level of each unit (Song et al. 2025, arXiv 2502.06764).

What is absent is pure noise at t = 1, and told so: a network that was trained with independent levels can so be asked
for any part of the history, or none, without a network or a dropped condition for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from videodiff.diffusion.condition import Condition, UnitState
from videodiff.diffusion.denoiser import Denoiser
from videodiff.diffusion.noise import Generator, normal_like
from videodiff.diffusion.schedule import NoiseSchedule, over_latent


@dataclass(frozen=True)
class History:
    """A part of the history, seen through noise, and how much the estimate from it counts.

    Args:
        weight: omega of its estimate; what all of them lack of 1 is given to the estimate without history.
        time: noise level k that it is seen at, in [0, 1]; 0 is clean.
        units: which units of the history, counted from its first (0, 1, ...) or last (-1, -2, ...); None is all. Those
            that are not there are left out.

    Raises:
        ValueError: if the weight is not finite or the time lies outside [0, 1].
    """

    weight: float
    time: float = 0.0
    units: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight) or not 0 <= self.time <= 1:
            raise ValueError(
                f"weight of a history must be finite and its time lie in [0, 1], got {self.weight} and {self.time}"
            )

    def among(self, states: Sequence[UnitState]) -> list[int]:
        """Its units, as places among all."""
        history = [place for place, state in enumerate(states) if state != "noisy"]
        if self.units is None:
            return history
        return [history[unit] for unit in self.units if -len(history) <= unit < len(history)]


class HistoryGuidance(Denoiser):
    """``(1 - sum omega_i) x(no history) + sum_i omega_i x(history i at its noise level)`` (Song et al. 2025, eq. 6).

    One history of weight 1 is conditional sampling, of another weight "vanilla" guidance; ``[History(1), History(w - 1,
    k)]`` is "fractional", histories of different units are "temporal" guidance. The estimate without history is without
    the condition too. All estimates come from one batch, of which each has the same fresh noise in place of what it
    does not see. Where no unit is clean yet, the denoiser is asked once, as it is.

    Args:
        denoiser: estimate of x, told a time for each unit.
        schedule: noise level of each time.
        histories: at least one.
        generator: source of the noise.

    Raises:
        ValueError: if there is no history.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        schedule: NoiseSchedule,
        histories: Sequence[History],
        generator: Generator = None,
    ) -> None:
        if not histories:
            raise ValueError("guidance by history needs at least one, got none")
        self.denoiser, self.schedule, self.generator = denoiser, schedule, generator
        self.histories = list(histories)
        rest = 1 - math.fsum(history.weight for history in histories)
        self.rest = 0.0 if abs(rest) < 1e-12 else rest
        self.is_plain = len(histories) == 1 and not self.rest and histories[0].time == 0

    @property
    def estimates(self) -> int:
        """How often one sample is in a batch."""
        return len(self.histories) + bool(self.rest)

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        is_clean = [state != "noisy" for state in cond.units]
        if not any(is_clean) or (self.is_plain and self.histories[0].units is None):
            return self.denoiser(z, t, cond)
        noise = normal_like(z, self.generator)
        levels = [self._level(history, cond.units) for history in self.histories]
        conds, weights = [cond] * len(levels), [history.weight for history in self.histories]
        if self.rest:
            levels.append([1.0 if clean else None for clean in is_clean])
            conds.append(cond.null())
            weights.append(self.rest)
        seen = [self._at(z, t, noise, level) for level in levels]
        joined = conds[0]
        for other in conds[1:]:
            joined = joined.cat(other)
        estimates = self.denoiser(
            torch.cat([part for part, _ in seen]), torch.cat([times for _, times in seen]), joined
        ).chunk(len(seen))
        return torch.stack([weight * x for weight, x in zip(weights, estimates, strict=True)]).sum(0)

    @staticmethod
    def _level(history: History, states: Sequence[UnitState]) -> list[float | None]:
        """The time that each unit is brought to; None leaves it as it is."""
        seen = history.among(states)
        return [
            None if state == "noisy" else (history.time or None if place in seen else 1.0)
            for place, state in enumerate(states)
        ]

    def _at(
        self, z: Tensor, t: Tensor, noise: Tensor, level: Sequence[float | None]
    ) -> tuple[Tensor, Tensor]:
        """``z`` and ``t`` with units noised to those times."""
        places = [place for place, time in enumerate(level) if time is not None]
        if not places:
            return z, t
        z, t = z.clone(), t.clone()
        t[:, places] = torch.tensor([level[place] for place in places], dtype=t.dtype).to(t.device)
        z[:, :, places] = self.schedule.add_noise(z[:, :, places], noise[:, :, places], t[:, places])
        return z, t


class Stabilised(Denoiser):
    """Units that are clean already are shown a little noisy, and told so: what a sampler left in them weighs less.

    Args:
        denoiser: estimate of x, told a time for each unit.
        schedule: noise level of each time.
        time: that they are shown at.
        way: "fresh" noise at every call, on what was generated, not on what is given (Song et al. 2025); or "scaled",
            all of them as if they were noisy, multiplied by alpha without any noise (Chen et al. 2024).
        generator: source of the noise.

    Raises:
        ValueError: if the time lies outside (0, 1) or the way is unknown.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        schedule: NoiseSchedule,
        time: float,
        way: Literal["fresh", "scaled"] = "fresh",
        generator: Generator = None,
    ) -> None:
        check_stabilisation(time, way)
        self.denoiser, self.schedule, self.generator = denoiser, schedule, generator
        self.time, self.way = time, way

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        shown = ("generated",) if self.way == "fresh" else ("generated", "given")
        chosen = [state in shown for state in cond.units]
        if not any(chosen):
            return self.denoiser(z, t, cond)
        # guidance may have taken a unit away, or shown it noisier than this
        later = t.clamp(min=self.time)
        is_shown = torch.tensor(chosen, device="cpu").to(t.device) & (t < self.time)
        alpha, sigma = self.schedule.alpha_sigma(later, z.ndim)
        shown_z = alpha * z
        if self.way == "fresh":
            shown_z = shown_z + sigma * self._noise(z)
        z = torch.where(over_latent(is_shown, z.ndim), shown_z, z)
        return self.denoiser(z, torch.where(is_shown, later, t), cond)

    def _noise(self, z: Tensor) -> Tensor:
        """Fresh noise, the same in all estimates that guidance asks for of a sample."""
        if not isinstance(self.generator, list):
            return normal_like(z, self.generator)
        rows = len(self.generator)
        return normal_like(z[:rows], self.generator).repeat(len(z) // rows, *[1] * (z.ndim - 1))


def check_stabilisation(time: float, way: str) -> None:
    """Refuse a noise level of finished units that is none.

    Raises:
        ValueError: naming it.
    """
    if not 0 < time < 1:
        raise ValueError(f"the time that finished units are shown at must lie in (0, 1), got {time}")
    if way not in ("fresh", "scaled"):
        raise ValueError(f"finished units are shown with fresh noise or scaled, got {way!r}")
