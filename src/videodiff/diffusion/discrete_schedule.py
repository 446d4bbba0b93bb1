"""Noise schedules on a grid of betas: index ``i`` of ``num_train_steps`` is ``t = (i + 1) / num_train_steps``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from videodiff.diffusion.schedule import NoiseSchedule


class DiscreteSchedule(NoiseSchedule):
    """A table of ``num_train_steps`` noise levels; times between them count as the nearest one.

    ``t = 0`` is clean data (log SNR infinite). The table is fp64 and kept as the bits of an integer buffer,
    so that it moves with the module and no cast of a model to bf16 touches it.

    Args:
        betas: variances of the forward steps, ``[num_train_steps]`` fp64 in (0, 1).
        zero_terminal_snr: rescale so that nothing of the signal is left at t = 1 (Lin et al. 2024, algorithm
            1).

    Raises:
        ValueError: if a beta lies outside (0, 1).
    """

    grids = ("trailing", "linspace", "solver", "leading", "pvdm", "ldm")
    log_snr_bits: Tensor

    def __init__(self, betas: Tensor, zero_terminal_snr: bool = False) -> None:
        super().__init__()
        if not bool(((betas > 0) & (betas < 1)).all()):
            raise ValueError(
                f"betas must lie in (0, 1), got {betas.min().item():g} to {betas.max().item():g}"
            )
        alpha_bar = (1.0 - betas.double()).cumprod(0)
        if zero_terminal_snr:
            root = alpha_bar.sqrt()
            alpha_bar = ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()
        log_snr = alpha_bar.log() - (-alpha_bar).log1p()
        table = torch.cat([torch.full((1,), math.inf, dtype=torch.float64, device="cpu"), log_snr])
        self.num_train_steps = len(betas)
        self.smallest_time = 1.0 / len(betas)
        self.register_buffer("log_snr_bits", table.view(torch.int64), persistent=False)

    @property
    def alpha_bar(self) -> Tensor:
        """``alpha^2`` of every index, ``[num_train_steps]`` fp64."""
        return self.log_snr_bits.view(torch.float64)[1:].sigmoid()

    def index(self, t: Tensor) -> Tensor:
        """Index of the noise level, int64 in -1 (clean) to ``num_train_steps - 1``."""
        return (t.double() * self.num_train_steps).round().long().clamp(0, self.num_train_steps) - 1

    def _log_snr(self, t: Tensor) -> Tensor:
        table = self.log_snr_bits.to(t.device).view(torch.float64)
        return table[self.index(t) + 1]

    def times(self, num_steps: int, grid: str = "trailing") -> Tensor:
        """Times a sampler visits, fp32 and descending; ``[num_steps + 1]`` but for the ``ldm`` grid.

        ``trailing``, ``linspace`` (which ``solver`` is too), ``leading``: as Lin et al. 2024, table 2, name them.
        ``pvdm``: equal parts of -1 ... T-1, cut to integers. ``ldm``: every (T // num_steps)-th index plus 1; it starts
        below T-1, may take more steps than asked for, and ends at index 0, not at clean data.

        Raises:
            ValueError: as the base, if there are more steps than indices, or the grid leaves the table.
        """
        self._check_grid(num_steps, grid)
        total = self.num_train_steps
        if num_steps > total:
            raise ValueError(f"num_steps must be at most num_train_steps ({total}), got {num_steps}")
        indices = _GRIDS[grid](total, num_steps)
        if indices[0] > total - 1:
            raise ValueError(
                f"grid 'ldm' with num_steps {num_steps} asks for index {indices[0]} of {total}; "
                f"take another number of steps, such as {_nearest_ldm(total, num_steps)}, or another grid"
            )
        return (torch.tensor(indices, dtype=torch.float64, device="cpu").add(1) / total).float()

    def solver_times(self, num_steps: int) -> Tensor:
        return self.times(num_steps, "linspace")

    def network_time(self, t: Tensor) -> Tensor:
        """The integer index of the noise level, shaped as ``t``, as fp32 numbers; clean data counts as index 0."""
        return self.index(t).clamp(min=0).float()

    def draw_times(self, u: Tensor) -> Tensor:
        """Every index with equal probability: [0, 1) -> {1/T, ..., 1}."""
        index = (u.double() * self.num_train_steps).floor().clamp(max=self.num_train_steps - 1)
        return ((index + 1) / self.num_train_steps).to(u.dtype)


class LinearSchedule(DiscreteSchedule):
    """Betas equally spaced (Ho et al. 2020, section 4).

    Args:
        num_train_steps: number of noise levels.
        beta_start: first beta.
        beta_end: last beta.
        zero_terminal_snr: leave no signal at t = 1; for x- and v-prediction only.
    """

    def __init__(
        self,
        num_train_steps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        zero_terminal_snr: bool = False,
    ) -> None:
        super().__init__(_spaced(beta_start, beta_end, num_train_steps), zero_terminal_snr)


class ScaledLinearSchedule(DiscreteSchedule):
    """Square roots of betas equally spaced; the code of latent diffusion calls this one "linear".

    Args:
        num_train_steps: number of noise levels.
        beta_start: first beta; 0.0015 in LVDM (He et al. 2022) and PVDM (Yu et al. 2023).
        beta_end: last beta; 0.0155 in LVDM, 0.0195 in PVDM.
        zero_terminal_snr: leave no signal at t = 1; for x- and v-prediction only.
    """

    def __init__(
        self,
        num_train_steps: int = 1000,
        beta_start: float = 0.0015,
        beta_end: float = 0.0155,
        zero_terminal_snr: bool = False,
    ) -> None:
        for name, beta in (("beta_start", beta_start), ("beta_end", beta_end)):
            if not 0 < beta < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {beta}")
        roots = _spaced(math.sqrt(beta_start), math.sqrt(beta_end), num_train_steps)
        super().__init__(roots.square(), zero_terminal_snr)


class DiscreteCosineSchedule(DiscreteSchedule):
    """``alpha_bar ~ cos^2`` on a grid (Nichol & Dhariwal 2021, eq. 17).

    Args:
        num_train_steps: number of noise levels.
        max_beta: betas are cut here.
        zero_terminal_snr: leave no signal at t = 1; for x- and v-prediction only.
    """

    def __init__(
        self, num_train_steps: int = 1000, max_beta: float = 0.999, zero_terminal_snr: bool = False
    ) -> None:
        u = _spaced(0.0, 1.0, num_train_steps, intervals=True)
        f = ((u + 0.008) / 1.008 * (math.pi / 2)).cos().square()
        super().__init__((1.0 - f[1:] / f[:-1]).clamp(max=max_beta), zero_terminal_snr)


def _spaced(start: float, end: float, num: int, intervals: bool = False) -> Tensor:
    """``num`` equally spaced points, or the ends of as many intervals."""
    if num < 2:
        raise ValueError(f"num_train_steps must be at least 2, got {num}")
    return torch.linspace(start, end, num + intervals, dtype=torch.float64, device="cpu")


def _trailing(total: int, num_steps: int) -> list[int]:
    return [round(total - k * total / num_steps) - 1 for k in range(num_steps)] + [-1]


def _linspace(total: int, num_steps: int) -> list[int]:
    gap = (total - 1) / max(num_steps - 1, 1)
    return [round(total - 1 - k * gap) for k in range(num_steps)] + [-1]


def _leading(total: int, num_steps: int) -> list[int]:
    return [k * (total // num_steps) for k in reversed(range(num_steps))] + [-1]


def _pvdm(total: int, num_steps: int) -> list[int]:
    return [k * total // num_steps - 1 for k in reversed(range(num_steps + 1))]


def _ldm(total: int, num_steps: int) -> list[int]:
    return [index + 1 for index in reversed(range(0, total, total // num_steps))] + [0]


def _nearest_ldm(total: int, num_steps: int) -> int:
    fits = (n for n in range(1, total + 1) if _ldm(total, n)[0] < total)
    return min(fits, key=lambda n: abs(n - num_steps))


_GRIDS = {
    "trailing": _trailing,
    "linspace": _linspace,
    "solver": _linspace,
    "leading": _leading,
    "pvdm": _pvdm,
    "ldm": _ldm,
}
