"""Samplers: from noise to x along a list of times.

Every sampler is linear in what it knows at a step,

    z_s = z * z_t + x * x_hat + eps * eps_hat + previous * x_hat_previous + noise * n,

with estimates of more rows before where it is of higher order, so a sampler *is* its coefficients as functions of the
times, and overrides the one method that gives them.
They are computed in fp64 for all steps at once, before the loop; the loop itself reads nothing back from the
device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from videodiff.diffusion.condition import Condition
from videodiff.diffusion.denoiser import Denoiser
from videodiff.diffusion.noise import Generator, normal_like
from videodiff.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class Coefficients:
    """What stands before each term of a step, all ``[N]`` fp64; ``None`` is a term that the sampler does not have."""

    x: Tensor
    z: Tensor | None = None
    eps: Tensor | None = None
    previous: Tensor | None = None
    noise: Tensor | None = None


@dataclass(frozen=True)
class Plan:
    """All steps of a run, one row per network call.

    Args:
        times: time of each network call, ``[N]`` fp64.
        table: factors of z, x_hat, the unclipped x_hat, the x_hat of the row before, and noise, ``[N, 5]`` fp64;
            further columns are those of the x_hat two rows before, three, and so on.
        ends_clean: whether the last row leads to t = 0 and hence returns x_hat.
        log_bounds: log of the smallest and the largest standard deviation of a step's noise, ``[N, 2]`` fp64, where the
            network says which between them; None is the noise of the table.
    """

    times: Tensor
    table: Tensor
    ends_clean: bool
    log_bounds: Tensor | None = None


X, RAW, PREVIOUS, NOISE, EARLIER = 1, 2, 3, 4, 5  # columns of a plan's table
OPTIONS = (
    "gamma", "eta", "delta", "order", "variant", "lower_order_final", "churn", "churn_from", "churn_to", "noise_scale",
    "amount", "last_time",
)  # fmt: skip


class Sampler(ABC):
    """From noise to x with a denoiser.

    Attributes:
        one_estimate: whether each step is made from the one x_hat at its beginning, and nothing else that the network
            says, as a corrector between steps needs.

    Args:
        num_steps: steps from t = 1 to the last time.
        grid: which times are visited; see ``times`` of the schedule.
        recompute_eps: take eps from z and the x_hat as the denoiser returns it; if false, from x_hat before
            the denoiser clipped it, as the published PVDM sampler does.

    Raises:
        ValueError: if ``num_steps`` is below 1; from ``sample`` if the grid does not fit the schedule.
    """

    one_estimate: bool = True

    def __init__(self, num_steps: int = 100, grid: str = "trailing", recompute_eps: bool = True) -> None:
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        self.num_steps, self.grid, self.recompute_eps = num_steps, grid, recompute_eps

    @abstractmethod
    def coefficients(self, schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Coefficients:
        """The steps from each ``t`` to each ``s``, consecutive times ``[N]`` fp64; the only method to write."""

    def times(self, schedule: NoiseSchedule) -> Tensor:
        """Times visited, ``[N + 1]``; ``N`` is ``num_steps`` but for the ``ldm`` grid."""
        return schedule.times(self.num_steps, self.grid)

    def options(self) -> dict[str, Any]:
        """The sampler's own options beside steps and grid, for records."""
        return {name: value for name, value in vars(self).items() if name in OPTIONS}

    def calls(self, schedule: NoiseSchedule) -> int:
        """How often it calls the denoiser for one sample."""
        return len(self.plan(schedule).times)

    def times_from(self, schedule: NoiseSchedule, start: float) -> Tensor:
        """Times visited from ``start`` in (0, 1] on, fp64 on the CPU: ``start``, then the grid's with less noise.

        Of these the first is left out if it is less than half a step (of log SNR) away. 1 is the whole grid, wherever
        that begins; below the schedule's ``smallest_time`` it begins there.
        """
        times = self.times(schedule).double().to("cpu")
        if start == 1:
            return times
        first = torch.tensor([max(start, schedule.smallest_time)], dtype=torch.float64, device="cpu")
        times = times[schedule.log_snr(times) > schedule.log_snr(first)]
        if len(times) == 0:
            times = torch.zeros(1, dtype=torch.float64, device="cpu")
        log_snr = schedule.log_snr(torch.cat([first, times[:2]]))
        if len(times) > 1 and log_snr[1] - log_snr[0] < 0.5 * (log_snr[2] - log_snr[1]):
            times = times[1:]
        return torch.cat([first, times])

    def plan(self, schedule: NoiseSchedule, start: float = 1.0) -> Plan:
        """All steps of a run with this schedule, from the time ``start`` on."""
        times = self.times_from(schedule, start)
        t, s = times[:-1], times[1:]
        return Plan(t, self._table(schedule, t, s), ends_clean=bool(s[-1] == 0))

    def _table(self, schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Tensor:
        """The coefficients with eps_hat = (z - alpha x_hat) / sigma put into those of z and x_hat, [N, 5]."""
        given, zero, (alpha, sigma) = (
            self.coefficients(schedule, t, s),
            torch.zeros_like(t),
            schedule.alpha_sigma(t),
        )
        z, eps, previous, noise = (
            zero if value is None else value for value in (given.z, given.eps, given.previous, given.noise)
        )
        x_of_eps = -eps * alpha / sigma
        x, raw = (given.x + x_of_eps, zero) if self.recompute_eps else (given.x, x_of_eps)
        return torch.stack([z + eps / sigma, x, raw, previous, noise], dim=1)

    @torch.no_grad()
    def sample(
        self,
        denoiser: Denoiser,
        schedule: NoiseSchedule,
        noise: Tensor,
        cond: Condition,
        generator: Generator = None,
        progress: Callable[[int, int], None] | None = None,
        start: float = 1.0,
        repeats: int = 1,
    ) -> Tensor:
        """From ``noise [B, C, *S]`` to ``x [B, C, *S]``, fp32 (fp64 if the noise is).

        Args:
            denoiser: estimate of x, already guided.
            schedule: noise level of each time.
            noise: z at t = ``start``; at 1 unit normal.
            cond: what the samples are conditioned on.
            generator: source of fresh noise; a list holds one per sample, so that a sample does not depend on
                its batch.
            progress: called with (network calls done, network calls in all).
            start: time to begin at, in (0, 1].
            repeats: how often each step is taken, see :func:`repeated`.

        Raises:
            ValueError: for repeats of a sampler that extrapolates from earlier steps.
        """
        whole = (
            self.plan(schedule) if start == 1 else self.plan(schedule, start)
        )  # a sampler's own may know no start
        plan = repeated(whole, schedule, repeats)
        total, has = len(plan.times), (plan.table != 0).tolist()
        columns = (PREVIOUS, *range(EARLIER, plan.table.shape[1]))  # of the x_hat one row before, two, ...
        z = noise if noise.dtype == torch.float64 else noise.float()
        times = plan.times.to(z)[:, None].repeat(1, len(z))  # [N, B]
        rows = plan.table.to(z)
        bounds = None if plan.log_bounds is None else plan.log_bounds.to(z)
        before: list[Tensor] = []  # the x_hat of earlier rows, the latest first
        for k in range(total):
            x, raw = self.estimate(denoiser, z, times[k], cond)
            if progress is not None:
                progress(k + 1, total)
            if plan.ends_clean and k == total - 1:
                return x
            z = torch.addcmul(z * rows[k, 0], x, rows[k, 1])
            if has[k][RAW]:
                z.addcmul_(raw, rows[k, RAW])
            for column, earlier in zip(columns, before, strict=False):
                if has[k][column]:
                    z.addcmul_(earlier, rows[k, column])
            if has[k][NOISE]:
                scale = rows[k, NOISE] if bounds is None else learnt_scale(denoiser.fraction, bounds[k])
                z.addcmul_(normal_like(z, generator), scale)
            before = [x, *before][: len(columns)]
        return z

    def estimate(self, denoiser: Denoiser, z: Tensor, t: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        """The denoiser's x, and what eps is taken from: the same, or the x before it was clipped."""
        if not self.recompute_eps:
            return denoiser.estimate(z, t, cond)
        x = denoiser(z, t, cond)
        return x, x


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


def learnt_scale(fraction: Tensor | None, log_bounds: Tensor) -> Tensor:
    """Standard deviation of a step's noise, ``[B, C, *S]``, between two bounds whose logs are given, ``[2]``.

    Raises:
        ValueError: if the network has learnt no variance.
    """
    if fraction is None:
        raise ValueError(
            "LearnedRangeSampler needs a network that has learnt the variance of a step: one whose output has twice "
            "the channels of z (--model.net.out_channels); take another sampler, such as AncestralSampler"
        )
    return torch.lerp(log_bounds[0], log_bounds[1], fraction.to(log_bounds)).exp()


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


def repeated(plan: Plan, schedule: NoiseSchedule, count: int) -> Plan:
    """Each step but the last taken ``count`` times, and noised back to its beginning in between.

    So that what is generated and what is kept of a video come to agree at each noise level (Lugmayr et al. 2022,
    algorithm 1, with jumps of one step). Step and way back are one row, as both are linear.

    Raises:
        ValueError: for a plan that extrapolates from earlier steps.
    """
    if count == 1:
        return plan
    if plan.log_bounds is not None or bool(plan.table[:, PREVIOUS].any()):
        raise ValueError(
            "steps can be repeated of a sampler that makes them from one x_hat with a known variance, as ancestral and "
            "DDIM do; this one extrapolates from earlier steps, or asks the network for the variance"
        )
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (
        schedule.alpha_sigma(t) for t in (plan.times[:-1], plan.times[1:])
    )
    ratio = alpha_t / alpha_s
    again = plan.table[:-1] * ratio[:, None]
    again[:, NOISE] = (again[:, NOISE] ** 2 + (sigma_t**2 - (ratio * sigma_s) ** 2).clamp(min=0)).sqrt()
    each = torch.cat([again[:, None].repeat(1, count - 1, 1), plan.table[:-1, None]], dim=1)
    times = plan.times[:-1].repeat_interleave(count)
    table = torch.cat([each.flatten(0, 1), plan.table[-1:]])
    return Plan(torch.cat([times, plan.times[-1:]]), table, plan.ends_clean)
