"""Samplers of one network call a step, and Langevin steps between those of another sampler."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from videodiff.diffusion.sampler import Sampler
from videodiff.diffusion.schedule import NoiseSchedule
from videodiff.diffusion.step_table import Coefficients, Plan


class AncestralSampler(Sampler):
    """Ancestral sampling with a log-linear mean of the two variances (Ho et al. 2022, eq. 4).

    Args:
        num_steps: steps from t = 1 to the last time; also network calls.
        gamma: 0 is the variance of ``q(z_s | z_t, x)``, 1 that of ``q(z_t | z_s)``.
        grid: which times are visited.

    Raises:
        ValueError: if ``gamma`` lies outside [0, 1], or as the base.
    """

    def __init__(self, num_steps: int = 100, gamma: float = 0.0, grid: str = "trailing") -> None:
        super().__init__(num_steps, grid)
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma must lie in [0, 1], got {gamma}")
        self.gamma = gamma

    def coefficients(self, schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Coefficients:
        q = schedule.posterior(t, s)
        variance = q.variance ** (1 - self.gamma) * q.variance_upper**self.gamma
        return Coefficients(z=q.z, x=q.x, noise=variance.sqrt())


class LearnedRangeSampler(AncestralSampler):
    """Ancestral sampling with the variance that the network has learnt (Nichol & Dhariwal 2021, eq. 15).

    ``log var = f log var(q(z_t | z_s)) + (1 - f) log var(q(z_s | z_t, x))`` for each number of the latent, where f is
    the ``fraction`` of the denoiser; with guidance, the conditional one. The variances are those of the steps that are
    taken. There is no noise in the step to t = 0.

    Args:
        num_steps: steps from t = 1 to the last time; also network calls.
        grid: which times are visited; the published code takes linspace, 250 of 1000 (Vchitect/Latte).

    Raises:
        ValueError: from ``sample``, of a network that has learnt no variance; or as the base.
    """

    one_estimate = False

    def __init__(self, num_steps: int = 250, grid: str = "linspace") -> None:
        super().__init__(num_steps, 0.0, grid)

    def plan(self, schedule: NoiseSchedule, start: float = 1.0) -> Plan:
        plan = super().plan(schedule, start)
        q = schedule.posterior(plan.times, self.times_from(schedule, start)[1:])
        return replace(plan, log_bounds=0.5 * torch.stack([q.variance, q.variance_upper], dim=1).log())


class DDIMSampler(Sampler):
    """``z_s = alpha_s x + sqrt(sigma_s^2 - fresh^2) eps + fresh n`` (Song et al. 2021, eq. 12).

    Args:
        num_steps: steps from t = 1 to the last time; also network calls.
        eta: 0 is deterministic, 1 is ancestral sampling with gamma 0.
        grid: which times are visited.
        recompute_eps: see ``Sampler``.

    Raises:
        ValueError: if ``eta`` lies outside [0, 1], or as the base.
    """

    def __init__(
        self, num_steps: int = 100, eta: float = 0.0, grid: str = "trailing", recompute_eps: bool = True
    ) -> None:
        super().__init__(num_steps, grid, recompute_eps)
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        self.eta = eta

    def coefficients(self, schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Coefficients:
        alpha_s, sigma_s = schedule.alpha_sigma(s)
        fresh = self.eta * schedule.posterior(t, s).variance.sqrt()
        return Coefficients(x=alpha_s, eps=(sigma_s**2 - fresh**2).clamp(min=0).sqrt(), noise=fresh)


class DPMSolverPP2MSampler(Sampler):
    """DPM-Solver++ (2M): second order, data prediction, the previous step's x (Lu et al. 2023, algorithm 2).

    Equal steps of time from 1 to the schedule's smallest noisy time, where x_hat is the result: log SNR is
    almost or entirely infinite at 0. The first step is of first order, and so is the last one, whose step in log
    SNR is many times the one before: extrapolating over it costs more than it gains with any number of steps.

    Args:
        num_steps: network calls.
        grid: "solver" as above, or a grid of the schedule that ends at clean data, such as "trailing", as diffusers
            has it: then all steps but the first and the one to clean data are of second order.
    """

    one_estimate = False

    def __init__(self, num_steps: int = 25, grid: str = "solver") -> None:
        super().__init__(num_steps, grid)

    def coefficients(self, schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Coefficients:
        (_, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        half_log_snr = 0.5 * schedule.log_snr(torch.cat([t, s[-1:]]))  # their lambda is log(alpha / sigma)
        h = half_log_snr.diff()
        back = torch.zeros_like(h)
        back[1:] = 0.5 * h[1:] / h[:-1]  # 1 / (2 r0); 0 makes a step of first order
        # The last row returns x_hat; on our own grid the one before is the last step, a large one.
        back[-2 if self.grid == "solver" else -1 :] = 0.0
        factor = -alpha_s * torch.expm1(-h)
        return Coefficients(z=sigma_s / sigma_t, x=factor * (1 + back), previous=-factor * back)


class LangevinSampler(Sampler):
    """A Langevin step at the new time after each step of another sampler (Ho et al. 2022, eq. 5).

    There is none at t = 0. It calls the network once more for each step, with the same guided denoiser.

    Args:
        predictor: sampler that makes the steps; its steps and grid are used.
        delta: size of the Langevin step in units of ``sigma_s^2``.

    Raises:
        ValueError: if ``delta`` is not in (0, 2), or the predictor extrapolates from earlier steps.
    """

    one_estimate = False

    def __init__(self, predictor: Sampler, delta: float = 0.1) -> None:
        if not 0 < delta < 2:
            raise ValueError(f"delta must lie in (0, 2), got {delta}")
        if not predictor.one_estimate:
            raise ValueError(
                f"predictor must make its steps from one x_hat, as AncestralSampler and DDIMSampler do, "
                f"got {type(predictor).__name__}"
            )
        self.predictor, self.delta = predictor, delta
        super().__init__(predictor.num_steps, predictor.grid, predictor.recompute_eps)

    @property
    def num_steps(self) -> int:
        """Steps of the predictor."""
        return self.predictor.num_steps

    @num_steps.setter
    def num_steps(self, value: int) -> None:
        self.predictor.num_steps = value

    def coefficients(self, schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Coefficients:
        """The corrector ``z - (delta / 2) sigma_s eps + sqrt(delta) sigma_s n`` at each ``s``."""
        sigma = schedule.alpha_sigma(s)[1]
        return Coefficients(
            x=torch.zeros_like(s),
            z=torch.ones_like(s),
            eps=-0.5 * self.delta * sigma,
            noise=self.delta**0.5 * sigma,
        )

    def options(self) -> dict[str, Any]:
        """The predictor's."""
        return self.predictor.options()

    def plan(self, schedule: NoiseSchedule, start: float = 1.0) -> Plan:
        plan = self.predictor.plan(schedule, start)
        s = self.predictor.times_from(schedule, start)[1:]
        s = s[s > 0]
        corrector, pairs = self._table(schedule, s, s), len(s)
        times = torch.stack([plan.times[:pairs], s], dim=1).flatten()
        table = torch.stack([plan.table[:pairs], corrector], dim=1).flatten(0, 1)
        return Plan(
            torch.cat([times, plan.times[pairs:]]), torch.cat([table, plan.table[pairs:]]), plan.ends_clean
        )
