"""Noise schedules: log SNR at time t, and all that follows from it.

``t`` in [0, 1]: 0 is data, 1 is noise; ``s < t`` is the less noisy of two times. ``l = log(alpha^2 /
sigma^2)``. Where the variance is preserved (``alpha^2 + sigma^2 = 1``) nothing else is needed: ``alpha =
sqrt(sigmoid(l))`` and ``sigma = sqrt(sigmoid(-l))`` (Kingma et al. 2021). A schedule of another kind, such as the
straight one of flow matching, states its two scales beside l. Discrete (beta) schedules are the same thing on a grid.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

HALVINGS = 52  # of the unit interval: to the rounding of fp64


class Posterior(NamedTuple):
    """``q(z_s | z_t, x) = N(z * z_t + x * x, variance)``; ``variance_upper`` is that of ``q(z_t | z_s)``."""

    z: Tensor
    x: Tensor
    variance: Tensor
    variance_upper: Tensor


class NoiseSchedule(nn.Module, ABC):
    """Log SNR as a function of time; this base also serves every continuous schedule.

    A subclass states ``_log_snr``; one whose variance is not preserved ``_scales`` too, which must agree with it; one
    whose networks are told another time ``network_time``. What uses a schedule holds for any alpha and sigma.

    A result has the dtype fp64 if ``t`` has it, else fp32; it is computed in fp64 either way.
    """

    grids: tuple[str, ...] = ("trailing", "linspace", "solver")
    data_std: float = 1.0  # a network sees and predicts x / data_std, whose scale of signal is data_std alpha
    smallest_time: float = 1e-3  # the last noisy time of solvers that cannot step to log SNR = max at once

    @abstractmethod
    def _log_snr(self, t: Tensor) -> Tensor:
        """Log SNR at ``t``, both fp64; strictly decreasing."""

    def _scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Scales of signal and noise at ``t``, all of one shape and fp64; here those that preserve the variance."""
        log_snr = self._log_snr(t)
        return log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """How alpha and sigma change with t, each shaped as ``t``; of schedules that are continuous in time."""
        with torch.inference_mode(False), torch.enable_grad():
            t = t.detach().clone().double().requires_grad_()
            alpha, sigma = (
                torch.autograd.grad(scale.sum(), t, retain_graph=True)[0] for scale in self._scales(t)
            )
        return alpha, sigma

    def log_snr(self, t: Tensor) -> Tensor:
        """``l(t) = log(alpha^2 / sigma^2)``, same shape as ``t``."""
        return self._log_snr(t.double()).to(result_dtype(t))

    def alpha_sigma(self, t: Tensor, ndim: int = 1) -> tuple[Tensor, Tensor]:
        """Scales of signal and noise, as they multiply a latent ``[B, C, U, *S]`` of ``ndim`` axes.

        ``[B]`` -> two of ``[B, 1, ...]``; a time for each unit, ``[B, U]`` -> two of ``[B, 1, U, 1, ...]``.
        """
        alpha, sigma = self._scales(over_latent(t.double(), ndim))
        return alpha.to(result_dtype(t)), sigma.to(result_dtype(t))

    def add_noise(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """``z_t = alpha x + sigma eps``, as ``x`` and ``eps [B, C, *S]``, fp32; ``t`` is ``[B]`` or ``[B, U]``."""
        alpha, sigma = self.alpha_sigma(t, x.ndim)
        return alpha * x + sigma * eps

    def posterior(self, t: Tensor, s: Tensor) -> Posterior:
        """Coefficients of ``q(z_s | z_t, x)`` for ``s < t`` (Kingma et al. 2021), each shaped as ``t``.

        With ``e = exp(l_t - l_s)`` the mean is ``e (alpha_s / alpha_t) z_t + (1 - e) alpha_s x`` and the
        variance ``(1 - e) sigma_s^2``. The first factor is written so that ``alpha_t = 0`` is allowed.
        """
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.alpha_sigma(t), self.alpha_sigma(s)
        one_minus_e = -torch.expm1(self.log_snr(t) - self.log_snr(s))
        return Posterior(
            z=alpha_t * sigma_s**2 / (sigma_t**2 * alpha_s),
            x=one_minus_e * alpha_s,
            variance=one_minus_e * sigma_s**2,
            variance_upper=one_minus_e * sigma_t**2,
        )

    def times(self, num_steps: int, grid: str = "trailing") -> Tensor:
        """Times a sampler visits: ``[num_steps + 1]`` fp32, descending from 1 to 0.

        ``trailing`` and ``linspace`` are equal steps of time, ``solver`` is :meth:`solver_times`.

        Raises:
            ValueError: if ``num_steps`` is below 1 or the schedule has no such grid.
        """
        self._check_grid(num_steps, grid)
        if grid == "solver":
            return self.solver_times(num_steps)
        return torch.linspace(1.0, 0.0, num_steps + 1, dtype=torch.float64, device="cpu").float()

    def solver_times(self, num_steps: int) -> Tensor:
        """``num_steps`` equal steps of time from 1 to ``smallest_time``, then 0: ``[num_steps + 1]`` fp32."""
        self._check_grid(num_steps, "linspace")
        times = torch.linspace(1.0, self.smallest_time, num_steps, dtype=torch.float64, device="cpu")
        return torch.cat([times, torch.zeros(1, dtype=torch.float64, device="cpu")]).float()

    def network_time(self, t: Tensor) -> Tensor:
        """The input of time embeddings, as ``t``, fp32: ``1000 u`` with ``u = 2/pi atan(exp(-l/2))`` in (0, 1)."""
        angle = torch.atan(torch.exp(-0.5 * self._log_snr(t.double()).clamp(-20.0, 20.0)))
        return (1000.0 / (0.5 * math.pi) * angle).float()

    def time_of(self, log_snr: Tensor) -> Tensor:
        """The time at which log SNR is that, fp64, shaped as it; 0 or 1 where it never is."""
        low = torch.zeros_like(log_snr, dtype=torch.float64)
        high = torch.ones_like(low)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            is_before = self._log_snr(middle) > log_snr
            low, high = torch.where(is_before, middle, low), torch.where(is_before, high, middle)
        return (low + high) / 2

    def draw_times(self, u: Tensor) -> Tensor:
        """Training times from uniform numbers in [0, 1), shaped as they are, in [0, 1]."""
        return u

    def has_zero_terminal_snr(self) -> bool:
        """Whether ``alpha`` is exactly 0 at ``t = 1``, where eps says nothing about x."""
        return bool(self._log_snr(torch.ones(1, dtype=torch.float64, device="cpu")).isneginf())

    def _check_grid(self, num_steps: int, grid: str) -> None:
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        if grid not in self.grids:
            raise ValueError(
                f"grid of {type(self).__name__} must be one of {', '.join(self.grids)}, got {grid!r}"
            )


class CosineSchedule(NoiseSchedule):
    """``alpha = cos(pi t / 2)``, affinely cut in its angle to a range of log SNR (Salimans & Ho 2022).

    Args:
        log_snr_min: log SNR at t = 1; -20 in Ho et al. 2022.
        log_snr_max: log SNR at t = 0; 20 in Ho et al. 2022.
        shift: added to the log SNR at t = 1: ``2 log(d_0 / d)`` gives pictures of ``d`` pixels a side the noise that
            those of ``d_0`` have without it (Hoogeboom et al. 2023, section 3.1). The frames of a video repeat each
            other as the pixels of a larger picture do, so that below 0 suits them too.
        shift_at_0: the same at t = 0, and linear in t between; 0 keeps the small steps of the end, where detail comes
            out. None is ``shift``.

    Raises:
        ValueError: if ``log_snr_min`` does not lie below ``log_snr_max``, a shift is not finite, or ``shift`` lies so
            far above ``shift_at_0`` that log SNR would rise.
    """

    def __init__(
        self,
        log_snr_min: float = -20.0,
        log_snr_max: float = 20.0,
        shift: float = 0.0,
        shift_at_0: float | None = None,
    ) -> None:
        super().__init__()
        if not log_snr_min < log_snr_max:
            raise ValueError(f"log_snr_min must lie below log_snr_max ({log_snr_max}), got {log_snr_min}")
        self.shift, self.shift_at_0 = shift, shift if shift_at_0 is None else shift_at_0
        for name in ("shift", "shift_at_0"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")
        self.angle_0 = math.atan(math.exp(-0.5 * log_snr_max))
        self.angle_1 = math.atan(math.exp(-0.5 * log_snr_min))
        # -2 log tan falls by 4 per radian where it is least steep, at a quarter of pi
        most = 4.0 * (self.angle_1 - self.angle_0)
        if not self.shift - self.shift_at_0 < most:
            raise ValueError(
                f"shift must lie below shift_at_0 + {most:.2f}, or log SNR rises; got {self.shift} and "
                f"{self.shift_at_0}"
            )

    def _log_snr(self, t: Tensor) -> Tensor:
        angle = self.angle_0 + t * (self.angle_1 - self.angle_0)
        return -2.0 * angle.tan().log() + self.shift_at_0 + t * (self.shift - self.shift_at_0)


def over_latent(values: Tensor, ndim: int) -> Tensor:
    """Numbers of samples ``[B]`` or of units ``[B, U]`` as they multiply a latent ``[B, C, U, *S]`` of ``ndim`` axes.

    ``[B, 1, ...]`` or ``[B, 1, U, 1, ...]``; with no more axes than they have, the numbers as they are.
    """
    if values.ndim == 2 < ndim:
        values = values.unsqueeze(1)
    return values.view(*values.shape, *[1] * (ndim - values.ndim))


def result_dtype(t: Tensor) -> torch.dtype:
    """Of what a schedule computes from times of this dtype."""
    return torch.float64 if t.dtype == torch.float64 else torch.float32
