"""The flow as a stochastic equation: what the score takes out of the noise, fresh noise puts back."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from videodiff.diffusion.sampler import Sampler
from videodiff.diffusion.schedule import NoiseSchedule
from videodiff.diffusion.step_table import NOISE, Coefficients, Plan


class FlowSDESampler(Sampler):
    """``y_s = y - h (eps - x + b eps / theta) + sqrt(2 b h) n`` with ``b = amount theta`` (Ma et al. 2024, SiT).

    ``y = z / (alpha + sigma)``, ``theta = sigma / (alpha + sigma)`` and h the step in theta: z and t themselves on the
    straight path. The last step, from ``last_time`` to clean data, adds no noise.

    Args:
        num_steps: network calls; equal steps of time from 1 to ``last_time``, and the last one.
        amount: 1 is SiT's, 0 Euler's method without noise.
        last_time: where the last step begins; 0.04 in SiT.

    Raises:
        ValueError: if ``amount`` is negative, ``last_time`` not in (0, 1), or as the base.
    """

    one_estimate = False

    def __init__(self, num_steps: int = 250, amount: float = 1.0, last_time: float = 0.04) -> None:
        super().__init__(num_steps)
        if not amount >= 0:
            raise ValueError(f"amount must be at least 0, got {amount}")
        if not 0 < last_time < 1:
            raise ValueError(f"last_time must lie in (0, 1), got {last_time}")
        self.amount, self.last_time = amount, last_time

    def times(self, schedule: NoiseSchedule) -> Tensor:
        times = torch.linspace(1.0, self.last_time, self.num_steps, dtype=torch.float64, device="cpu")
        return torch.cat([times, times.new_zeros(1)]).float()

    def coefficients(self, schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Coefficients:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        scale_t, scale_s = alpha_t + sigma_t, alpha_s + sigma_s
        theta = sigma_t / scale_t
        h = theta - sigma_s / scale_s
        return Coefficients(
            z=scale_s / scale_t,
            x=scale_s * h,
            eps=-scale_s * h * (1.0 + self.amount),
            noise=scale_s * (2.0 * self.amount * theta * h).sqrt(),
        )

    def plan(self, schedule: NoiseSchedule, start: float = 1.0) -> Plan:
        plan = super().plan(schedule, start)
        plan.table[-1, NOISE] = 0.0
        return replace(plan, ends_clean=False)  # the published last step is one of the equation, not x_hat
