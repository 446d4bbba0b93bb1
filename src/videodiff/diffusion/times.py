"""Which times a model is trained at: distributions over [0, 1], for every schedule; without one times are uniform.

A distribution is its quantiles, so that a training time is a function of one uniform number of its sample. A schedule
that counts steps takes the step that such a time falls into.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from videodiff.diffusion.schedule import NoiseSchedule

SMALLEST_SHARE = (
    2.0**-25
)  # half of what uniform numbers are multiples of: a normal quantile of 0 is not finite


class TrainingTimes(ABC):
    """Training times out of uniform numbers."""

    @abstractmethod
    def quantile(self, u: Tensor, schedule: NoiseSchedule) -> Tensor:
        """The time that a share ``u`` of all times lies below: fp64 in (0, 1) -> fp64 in [0, 1], shaped alike."""

    def draw(self, u: Tensor, schedule: NoiseSchedule) -> Tensor:
        """Times ``[B]``, or of each unit ``[B, U]``, shaped as the uniform numbers in [0, 1) they are made of."""
        inside = u.double().clamp(SMALLEST_SHARE, 1 - SMALLEST_SHARE)
        return schedule.draw_times(self.quantile(inside, schedule).to(u.dtype))


class LogitNormalTimes(TrainingTimes):
    """``logit(t)`` is normal: most times lie in the middle (Esser et al. 2024, eq. 19, who take 0 and 1).

    On the straight path ``log(sigma / alpha)`` is then normal, and a shift a of the schedule adds ``log(a)`` to its
    mean.

    Args:
        mean: of ``logit(t)``.
        std: of ``logit(t)``.

    Raises:
        ValueError: if ``mean`` is not finite, or ``std`` not above 0 and finite.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        self.mean, self.std = _checked(mean, std)

    def quantile(self, u: Tensor, schedule: NoiseSchedule) -> Tensor:
        return (self.mean + self.std * torch.special.ndtri(u)).sigmoid()


class LogNormalTimes(TrainingTimes):
    """``log(sigma / alpha)`` is normal, whatever the schedule makes of its times (Karras et al. 2022, table 1).

    Args:
        mean: of ``log(sigma / alpha)``; they take -1.2 of pictures with a standard deviation of 0.5.
        std: of ``log(sigma / alpha)``; they take 1.2.

    Raises:
        ValueError: if ``mean`` is not finite, or ``std`` not above 0 and finite.
    """

    def __init__(self, mean: float = -1.2, std: float = 1.2) -> None:
        self.mean, self.std = _checked(mean, std)

    def quantile(self, u: Tensor, schedule: NoiseSchedule) -> Tensor:
        return schedule.time_of(-2.0 * (self.mean + self.std * torch.special.ndtri(u)))


class ModeTimes(TrainingTimes):
    """``t = u - c (sin^2(pi u / 2) - u)``: more times at both ends, or with c below 0 in the middle.

    Esser et al. 2024, eq. 20, with their u as 1 - u.

    Args:
        scale: c, from -1 to ``2 / (pi - 2)``, beyond which t would not rise with u; they take 1.29.

    Raises:
        ValueError: if ``scale`` lies outside.
    """

    def __init__(self, scale: float = 1.29) -> None:
        most = 2.0 / (math.pi - 2.0)
        if not -1 <= scale <= most:
            raise ValueError(f"scale must lie in [-1, {most:.4f}], got {scale}")
        self.scale = scale

    def quantile(self, u: Tensor, schedule: NoiseSchedule) -> Tensor:
        return u - self.scale * ((0.5 * math.pi * u).sin().square() - u)


class ShiftedTimes(TrainingTimes):
    """``t = a u / (1 + (a - 1) u)``: with a above 1 more noise in training, and the sampler's times as they were.

    A shift of :class:`~videodiff.diffusion.StraightSchedule` changes both.

    Args:
        shift: a, above 0; 1 is uniform.

    Raises:
        ValueError: if ``shift`` is not above 0 and finite.
    """

    def __init__(self, shift: float = 3.0) -> None:
        if not 0 < shift < math.inf:
            raise ValueError(f"shift must be above 0 and finite (1 is none), got {shift}")
        self.shift = shift

    def quantile(self, u: Tensor, schedule: NoiseSchedule) -> Tensor:
        return self.shift * u / (1.0 + (self.shift - 1.0) * u)


def _checked(mean: float, std: float) -> tuple[float, float]:
    if not math.isfinite(mean):
        raise ValueError(f"mean must be finite, got {mean}")
    if not 0 < std < math.inf:
        raise ValueError(f"std must be above 0 and finite, got {std}")
    return mean, std
