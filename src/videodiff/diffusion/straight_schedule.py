"""The straight path of flow matching as a noise schedule."""

from __future__ import annotations

import math

from torch import Tensor

from videodiff.diffusion.schedule import NoiseSchedule, result_dtype


class StraightSchedule(NoiseSchedule):
    """``z = (1 - t) x + t eps``, the straight path of flow matching (Lipman et al. 2023; Liu et al. 2023).

    The network sees z as it is, unscaled. With a shift a, every t above stands for ``a t / (1 + (a - 1) t)``, in
    training as in sampling, which lowers log SNR by ``2 log(a)`` everywhere (Esser et al. 2024, eq. 23): pictures of n
    times as many pixels, or frames as far as they repeat each other, need ``a = sqrt(n)`` to lose as much.

    Args:
        shift: a, above 0; 1 is none, 3 is that of Stable Diffusion 3 at 1024^2 pixels.
        smallest_time: the last noisy time of the grid ``solver``, before the shift.

    Raises:
        ValueError: if ``shift`` is not above 0 and finite, or ``smallest_time`` not in (0, 1).
    """

    def __init__(self, shift: float = 1.0, smallest_time: float = 1e-3) -> None:
        super().__init__()
        if not 0 < shift < math.inf:
            raise ValueError(f"shift must be above 0 and finite (1 is none), got {shift}")
        if not 0 < smallest_time < 1:
            raise ValueError(f"smallest_time must lie in (0, 1), got {smallest_time}")
        self.shift, self.smallest_time = shift, smallest_time

    def _log_snr(self, t: Tensor) -> Tensor:
        return 2.0 * ((-t).log1p() - t.log() - math.log(self.shift))

    def _scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        total = 1.0 + (self.shift - 1.0) * t
        return (1.0 - t) / total, self.shift * t / total

    def time_of(self, log_snr: Tensor) -> Tensor:
        return (-0.5 * log_snr.double() - math.log(self.shift)).sigmoid()

    def network_time(self, t: Tensor) -> Tensor:
        """1000 times the share of noise, shaped as ``t``."""
        return (1000.0 * self._scales(t.double())[1]).to(result_dtype(t))
