"""The sampler: from noise to x along a list of times.

A sampler *is* its coefficients (``step_table.py``) as functions of the times, and overrides the one method that gives
them. They are computed in fp64 for all steps at once, before the loop; the loop itself reads nothing back from the
device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from videodiff.diffusion.condition import Condition
from videodiff.diffusion.denoiser import Denoiser
from videodiff.diffusion.noise import Generator, normal_like
from videodiff.diffusion.schedule import NoiseSchedule
from videodiff.diffusion.step_table import EARLIER, NOISE, PREVIOUS, RAW, Coefficients, Plan, repeated


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
        """What its constructor takes beside what every sampler does, for records."""
        taken = {name for kind in type(self).__mro__ for name in signature(kind).parameters}
        own = taken - signature(Sampler).parameters.keys()
        return {name: value for name, value in vars(self).items() if name in own}

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
