"""UniPC: steps of any order from the estimates of x before, each corrected by the estimate at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from videodiff.diffusion.sampler import Sampler
from videodiff.diffusion.schedule import NoiseSchedule
from videodiff.diffusion.step_table import EARLIER, PREVIOUS, Coefficients

ORDERS = (1, 2, 3)


class UniPCSampler(Sampler):
    """UniPC-p of data prediction (Zhao et al. 2023, algorithms 5 and 6): order p + 1 for one network call a step.

    With ``lambda = log(alpha / sigma)``, ``H = lambda_t - lambda_s`` and ``D_i = (x_hat_-i - x_hat_t) / q_i`` for
    estimates before, ``q_i = (lambda_t - lambda_-i) / H``, a step is predicted as

        z_s = (sigma_s / sigma_t) z_t - alpha_s expm1(H) x_hat_t - alpha_s B sum_i c_i D_i.

    The x_hat at this z_s gives one more D, with q = 1, and with it the z_s that the next step starts from; so the call
    that corrects a step is the one that the next is predicted from. The first steps have lower orders, as have, if
    asked, the last. Where alpha is 0 at t = 1 the first step is DDIM's, and the orders begin behind it.

    Args:
        num_steps: network calls.
        order: p, 1 to 3.
        variant: B(h), ``bh1`` is H and ``bh2`` expm1(H); they take bh1 for few unguided steps.
        lower_order_final: end with steps of orders p, ..., 2, 1. A grid in t ends with a step in lambda that is many
            times the one before; on a grid without such steps this lowers the order of the whole to 2.
        grid: which times are visited.

    Raises:
        ValueError: if ``order`` or ``variant`` is none of these, or as the base.
    """

    one_estimate = False

    def __init__(
        self,
        num_steps: int = 20,
        order: int = 3,
        variant: Literal["bh1", "bh2"] = "bh2",
        lower_order_final: bool = True,
        grid: str = "solver",
    ) -> None:
        super().__init__(num_steps, grid)
        if order not in ORDERS:
            raise ValueError(f"order must be 1, 2 or 3, got {order}")
        if variant not in ("bh1", "bh2"):
            raise ValueError(f"variant must be bh1 or bh2, got {variant!r}")
        self.order, self.variant, self.lower_order_final = order, variant, lower_order_final

    def coefficients(self, schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Coefficients:
        """What the steps have in common, the steps of order 1: those of DDIM."""
        (_, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        h = 0.5 * (schedule.log_snr(t) - schedule.log_snr(s))
        return Coefficients(z=sigma_s / sigma_t, x=-alpha_s * torch.expm1(h))

    def _table(self, schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Tensor:
        plain = super()._table(schedule, t, s)
        steps = len(t) - int(s[-1] == 0)  # a last row to clean data returns x_hat
        log_ratio = (0.5 * schedule.log_snr(torch.cat([t, s[-1:]]))).tolist()
        alpha = schedule.alpha_sigma(s)[0].tolist()
        start = int(math.isinf(log_ratio[0]))
        table = torch.cat([plain, plain.new_zeros(len(t), self.order - 1)], dim=1)
        correction: list[float] = []  # what the estimates add to the z that the step before predicted
        for k in range(steps):
            most = min(self.order, steps - k) if self.lower_order_final else self.order
            order = min(k - start + 1, most) if k >= start else 1
            known = log_ratio[k - order + 1 : k + 1][::-1]  # lambda at t, and at the estimates before
            predicted, corrected = self._weights(known, log_ratio[k + 1])
            row = [0.0] * (self.order + 1)  # of x_hat now and before
            row[: len(predicted)] = [-alpha[k] * weight for weight in predicted]
            for i, value in enumerate(correction):
                row[i] += float(plain[k, 0]) * value
            table[k, 1] += row[0]
            table[k, PREVIOUS] = row[1]
            table[k, EARLIER:] = torch.tensor(row[2:], dtype=table.dtype)
            correction = [-alpha[k] * weight for weight in corrected]
        return table

    def _weights(self, known: Sequence[float], end: float) -> tuple[list[float], list[float]]:
        """Factors of ``-alpha_s`` times the estimates of x, beside what all orders have in common.

        Those of the known estimates in the prediction of a step, the latest first; and those of the new estimate and
        the known ones in what its correction adds.
        """
        h, order = known[0] - end, len(known)
        if math.isinf(h):
            return [0.0], []
        scale = h if self.variant == "bh1" else math.expm1(h)
        q = [(known[0] - before) / h for before in known[1:]]
        g, right = math.expm1(h) / h - 1.0, []
        for k in range(1, order + 1):
            right.append(math.factorial(k) * g / scale)
            g = g / h - 1.0 / math.factorial(k + 1)
        predictor = [0.5] if order == 2 else _solved(q, right[:-1])
        corrector = [0.5] if order == 1 else _solved([*q, 1.0], right)
        of_known = [scale * c / position for c, position in zip(predictor, q, strict=True)]
        of_all = [scale * c / position for c, position in zip(corrector, [*q, 1.0], strict=True)]
        change = [new - old for new, old in zip(of_all, of_known, strict=False)]  # of the estimates before t
        predicted = [-sum(of_known), *of_known]
        return predicted, [of_all[-1], -sum(change) - of_all[-1], *change]


def _solved(q: Sequence[float], right: Sequence[float]) -> list[float]:
    """C with ``sum_i q_i^(k - 1) c_i = right_k`` for every k."""
    if not q:
        return []
    points = torch.tensor(q, dtype=torch.float64)
    powers = torch.stack([points**k for k in range(len(q))])
    found: list[float] = torch.linalg.solve(powers, torch.tensor(right, dtype=torch.float64)).tolist()
    return found
