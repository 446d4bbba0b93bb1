"""The steps of a sampler as one table: coefficients, a row for each network call.

Every sampler is linear in what it knows at a step,

    z_s = z * z_t + x * x_hat + eps * eps_hat + previous * x_hat_previous + noise * n,

with estimates of more rows before where it is of higher order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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
