"""Heun's method: an Euler step, then its slope replaced by the mean of the slopes at both of its ends."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from videodiff.diffusion.sampler import Sampler
from videodiff.diffusion.schedule import NoiseSchedule
from videodiff.diffusion.step_table import NOISE, PREVIOUS, Coefficients, Plan


class HeunSampler(Sampler):
    """Heun's steps of the flow: of second order, with two network calls for each step but the one to clean data.

    In ``y = z / (alpha + sigma)`` and ``theta = sigma / (alpha + sigma)`` the probability flow of every schedule is
    ``dy / dtheta = eps - x``, and y and theta are z and t themselves on the straight path.

    Args:
        num_steps: steps from t = 1 to the last time; ``2 num_steps - 1`` network calls where that is clean data.
        grid: which times are visited.

    Raises:
        ValueError: as the base.
    """

    one_estimate = False

    def __init__(self, num_steps: int = 25, grid: str = "trailing") -> None:
        super().__init__(num_steps, grid)

    def coefficients(self, schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Coefficients:
        """Euler's step, which is that of DDIM."""
        alpha, sigma = schedule.alpha_sigma(s)
        return Coefficients(x=alpha, eps=sigma)

    def variables(self, schedule: NoiseSchedule, t: Tensor) -> tuple[Tensor, Tensor]:
        """What z is divided by for y, and the level of noise: ``dy / dlevel = (y - x) / level``."""
        alpha, sigma = schedule.alpha_sigma(t)
        return alpha + sigma, sigma / (alpha + sigma)

    def plan(self, schedule: NoiseSchedule, start: float = 1.0) -> Plan:
        times = self.times_from(schedule, start)
        return self._paired(schedule, times[:-1], times[1:])

    def _paired(self, schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Plan:
        """Two rows for each step from a t to its s, one for a last step to clean data.

        The Euler step leaves y on the line from x_hat through y_t, so that its slope is ``(y - x_hat) / level_s`` too,
        and the mean of both slopes moves y by ``(level_s - level_t) / (2 level_s) (x_hat - x_hat_new)``.
        """
        ends_clean = bool(s[-1] == 0)
        euler, pairs = self._table(schedule, t, s), len(t) - ends_clean
        scale, level = self.variables(schedule, s[:pairs])
        back = 0.5 * scale * (1.0 - self.variables(schedule, t[:pairs])[1] / level)
        zero = torch.zeros_like(back)
        heun = torch.stack([zero + 1.0, -back, zero, back, zero], dim=1)
        times = torch.stack([t[:pairs], s[:pairs]], dim=1).flatten()
        table = torch.stack([euler[:pairs], heun], dim=1).flatten(0, 1)
        return Plan(torch.cat([times, t[pairs:]]), torch.cat([table, euler[pairs:]]), ends_clean)


class EDMSampler(HeunSampler):
    """The sampler of Karras et al. 2022, algorithm 2: Heun's steps in ``z / alpha`` and ``r = sigma / alpha``.

    Before a step noise is added, so that r grows by the share ``min(churn / num_steps, sqrt(2) - 1)``, never beyond the
    r at t = 1. Without churn it is Heun's method, of the same order as ``HeunSampler`` and other numbers.

    Args:
        num_steps: steps; ``2 num_steps - 1`` network calls. They take 18 of CIFAR-10, 256 of ImageNet.
        churn: noise added over all steps; 0 is none, they take 40 of ImageNet.
        churn_from: the least r at which noise is added; 0.05 of ImageNet.
        churn_to: the largest; 50 of ImageNet, none is no bound.
        noise_scale: standard deviation of what is added, in units of what keeps the distribution; 1.003 of ImageNet.
        grid: which times are visited.

    Raises:
        ValueError: if a number is negative, or as the base; from ``plan``, where alpha is 0 at t = 1.
    """

    def __init__(
        self,
        num_steps: int = 18,
        churn: float = 0.0,
        churn_from: float = 0.0,
        churn_to: float | None = None,
        noise_scale: float = 1.0,
        grid: str = "solver",
    ) -> None:
        super().__init__(num_steps, grid)
        for name, value in (
            ("churn", churn), ("churn_from", churn_from), ("churn_to", churn_to), ("noise_scale", noise_scale),
        ):  # fmt: skip
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        self.churn, self.churn_from, self.churn_to, self.noise_scale = (
            churn,
            churn_from,
            churn_to,
            noise_scale,
        )

    def variables(self, schedule: NoiseSchedule, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = schedule.alpha_sigma(t)
        return alpha, sigma / alpha

    def plan(self, schedule: NoiseSchedule, start: float = 1.0) -> Plan:
        if schedule.has_zero_terminal_snr():
            raise ValueError(
                f"EDMSampler steps in z / alpha, and alpha is 0 at t = 1 of {type(schedule).__name__}; HeunSampler "
                "can begin there"
            )
        times = self.times_from(schedule, start)
        t, s = times[:-1], times[1:]
        noisier = self._noisier(schedule, t)
        plan = self._paired(schedule, noisier, s)
        (alpha, sigma), (alpha_up, sigma_up) = schedule.alpha_sigma(t[1:]), schedule.alpha_sigma(noisier[1:])
        grow = alpha_up / alpha
        fresh = self.noise_scale * (sigma_up**2 - (grow * sigma) ** 2).clamp(min=0).sqrt()
        ends = (
            2 * torch.arange(len(t) - 1) + 1
        )  # the second row of every step but the last, which ends at a t
        plan.table[ends, : PREVIOUS + 1] *= grow[:, None]
        plan.table[ends, NOISE] = fresh
        return plan

    def _noisier(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """The times to which noise is added before the steps; the first of all has been drawn as it is."""
        log_snr = schedule.log_snr(t)
        r = (-0.5 * log_snr).exp()
        share = min(self.churn / self.num_steps, math.sqrt(2) - 1)
        most = math.inf if self.churn_to is None else self.churn_to
        within = (r >= self.churn_from) & (r <= most) & (torch.arange(len(t)) > 0)
        up = schedule.time_of(log_snr - 2 * math.log1p(share)).clamp(max=t[0].item())
        return torch.where(within, torch.maximum(up, t), t) if share > 0 else t
