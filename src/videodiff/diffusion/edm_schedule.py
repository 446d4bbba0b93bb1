"""Noise levels as Karras et al. 2022 space them, as a noise schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from videodiff.diffusion.schedule import NoiseSchedule, result_dtype


class EDMSchedule(NoiseSchedule):
    """``r = sigma / alpha`` falls as the rho-th power of a line (Karras et al. 2022, eq. 5), z scaled to variance 1.

    ``r(t) = (sigma_max^(1 / rho) t + sigma_min^(1 / rho) (1 - t))^rho``, ``alpha = 1 / sqrt(r^2 + sigma_data^2)``,
    ``sigma = r alpha``. Their preconditioned network F is the v-prediction of ``x / sigma_data``, negated; their law of
    r in training is ``LogNormalTimes``. The grid ``solver`` is theirs: it ends at ``sigma_min`` and then at x_hat.

    Args:
        sigma_min: r at t = 0.
        sigma_max: r at t = 1.
        rho: 1 is equal steps of r; 7 is theirs.
        sigma_data: standard deviation of the data; 0.5 is theirs, 1 that of Stable Video Diffusion.

    Raises:
        ValueError: unless 0 < sigma_min < sigma_max, and ``rho`` and ``sigma_data`` are above 0.
    """

    def __init__(
        self, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0, sigma_data: float = 0.5
    ) -> None:
        super().__init__()
        if not 0 < sigma_min < sigma_max < math.inf:
            raise ValueError(f"sigma_min must lie in (0, sigma_max ({sigma_max})), got {sigma_min}")
        for name, value in (("rho", rho), ("sigma_data", sigma_data)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {value}")
        self.rho, self.data_std = rho, sigma_data
        self.root_0, self.root_1 = sigma_min ** (1 / rho), sigma_max ** (1 / rho)

    def _log_ratio(self, t: Tensor) -> Tensor:
        return self.rho * (self.root_0 + t * (self.root_1 - self.root_0)).log()

    def _log_snr(self, t: Tensor) -> Tensor:
        return -2.0 * self._log_ratio(t)

    def _scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        r = self._log_ratio(t).exp()
        alpha = (r.square() + self.data_std**2).rsqrt()
        return alpha, r * alpha

    def time_of(self, log_snr: Tensor) -> Tensor:
        root = (-0.5 * log_snr.double() / self.rho).exp()
        return ((root - self.root_0) / (self.root_1 - self.root_0)).clamp(0, 1)

    def solver_times(self, num_steps: int) -> Tensor:
        """``num_steps`` equal steps from 1 to 0, and a last one to x_hat: ``[num_steps + 1]`` fp32, ending 0, 0."""
        self._check_grid(num_steps, "solver")
        times = torch.linspace(1.0, 0.0, num_steps, dtype=torch.float64, device="cpu")
        return torch.cat([times, torch.zeros(1, dtype=torch.float64, device="cpu")]).float()

    def network_time(self, t: Tensor) -> Tensor:
        """``log(r) / 4``, about -1.6 to 1.1, shaped as ``t``."""
        return (0.25 * self._log_ratio(t.double())).to(result_dtype(t))
