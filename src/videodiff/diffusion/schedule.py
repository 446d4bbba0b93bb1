"""Noise schedules: log SNR at time t, and all that follows from it.

``t`` in [0, 1]: 0 is data, 1 is noise; ``s < t`` is the less noisy of two times. ``l = log(alpha^2 /
sigma^2)``. Where the variance is preserved (``alpha^2 + sigma^2 = 1``) nothing else is needed: ``alpha =
sqrt(sigmoid(l))`` and ``sigma = sqrt(sigmoid(-l))`` (Kingma et al. 2021). A schedule of another kind, such as the
straight one of flow matching, states its two scales beside l. Discrete (beta) schedules are the same thing on a grid:
index ``i`` of ``num_train_steps`` is ``t = (i + 1) / num_train_steps``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

HALVINGS = 52  # of the unit interval: to the rounding of fp64


class Posterior(NamedTuple):
    """``q(z_s | z_t, x) = N(z * z_t + x * x, variance)``; ``variance_upper`` is that of ``q(z_t | z_s)``."""

    z: Tensor
    x: Tensor
    variance: Tensor
    variance_upper: Tensor


class NoiseSchedule(nn.Module, ABC):
    """Log SNR as a function of time; this base also serves every continuous schedule.

    A subclass states ``_log_snr``; one whose variance is not preserved ``_scales`` too, which must agree with it; one
    whose networks are told another time ``network_time``. What uses a schedule holds for any alpha and sigma.

    A result has the dtype fp64 if ``t`` has it, else fp32; it is computed in fp64 either way.
    """

    grids: tuple[str, ...] = ("trailing", "linspace", "solver")
    data_std: float = 1.0  # a network sees and predicts x / data_std, whose scale of signal is data_std alpha
    smallest_time: float = 1e-3  # the last noisy time of solvers that cannot step to log SNR = max at once

    @abstractmethod
    def _log_snr(self, t: Tensor) -> Tensor:
        """Log SNR at ``t``, both fp64; strictly decreasing."""

    def _scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Scales of signal and noise at ``t``, all of one shape and fp64; here those that preserve the variance."""
        log_snr = self._log_snr(t)
        return log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """How alpha and sigma change with t, each shaped as ``t``; of schedules that are continuous in time."""
        with torch.inference_mode(False), torch.enable_grad():
            t = t.detach().clone().double().requires_grad_()
            alpha, sigma = (
                torch.autograd.grad(scale.sum(), t, retain_graph=True)[0] for scale in self._scales(t)
            )
        return alpha, sigma

    def log_snr(self, t: Tensor) -> Tensor:
        """``l(t) = log(alpha^2 / sigma^2)``, same shape as ``t``."""
        return self._log_snr(t.double()).to(_dtype(t))

    def alpha_sigma(self, t: Tensor, ndim: int = 1) -> tuple[Tensor, Tensor]:
        """Scales of signal and noise, as they multiply a latent ``[B, C, U, *S]`` of ``ndim`` axes.

        ``[B]`` -> two of ``[B, 1, ...]``; a time for each unit, ``[B, U]`` -> two of ``[B, 1, U, 1, ...]``.
        """
        alpha, sigma = self._scales(over_latent(t.double(), ndim))
        return alpha.to(_dtype(t)), sigma.to(_dtype(t))

    def add_noise(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """``z_t = alpha x + sigma eps``, as ``x`` and ``eps [B, C, *S]``, fp32; ``t`` is ``[B]`` or ``[B, U]``."""
        alpha, sigma = self.alpha_sigma(t, x.ndim)
        return alpha * x + sigma * eps

    def posterior(self, t: Tensor, s: Tensor) -> Posterior:
        """Coefficients of ``q(z_s | z_t, x)`` for ``s < t`` (Kingma et al. 2021), each shaped as ``t``.

        With ``e = exp(l_t - l_s)`` the mean is ``e (alpha_s / alpha_t) z_t + (1 - e) alpha_s x`` and the
        variance ``(1 - e) sigma_s^2``. The first factor is written so that ``alpha_t = 0`` is allowed.
        """
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.alpha_sigma(t), self.alpha_sigma(s)
        one_minus_e = -torch.expm1(self.log_snr(t) - self.log_snr(s))
        return Posterior(
            z=alpha_t * sigma_s**2 / (sigma_t**2 * alpha_s),
            x=one_minus_e * alpha_s,
            variance=one_minus_e * sigma_s**2,
            variance_upper=one_minus_e * sigma_t**2,
        )

    def times(self, num_steps: int, grid: str = "trailing") -> Tensor:
        """Times a sampler visits: ``[num_steps + 1]`` fp32, descending from 1 to 0.

        ``trailing`` and ``linspace`` are equal steps of time, ``solver`` is :meth:`solver_times`.

        Raises:
            ValueError: if ``num_steps`` is below 1 or the schedule has no such grid.
        """
        self._check_grid(num_steps, grid)
        if grid == "solver":
            return self.solver_times(num_steps)
        return torch.linspace(1.0, 0.0, num_steps + 1, dtype=torch.float64, device="cpu").float()

    def solver_times(self, num_steps: int) -> Tensor:
        """``num_steps`` equal steps of time from 1 to ``smallest_time``, then 0: ``[num_steps + 1]`` fp32."""
        self._check_grid(num_steps, "linspace")
        times = torch.linspace(1.0, self.smallest_time, num_steps, dtype=torch.float64, device="cpu")
        return torch.cat([times, torch.zeros(1, dtype=torch.float64, device="cpu")]).float()

    def network_time(self, t: Tensor) -> Tensor:
        """The input of time embeddings, as ``t``, fp32: ``1000 u`` with ``u = 2/pi atan(exp(-l/2))`` in (0, 1)."""
        angle = torch.atan(torch.exp(-0.5 * self._log_snr(t.double()).clamp(-20.0, 20.0)))
        return (1000.0 / (0.5 * math.pi) * angle).float()

    def time_of(self, log_snr: Tensor) -> Tensor:
        """The time at which log SNR is that, fp64, shaped as it; 0 or 1 where it never is."""
        low = torch.zeros_like(log_snr, dtype=torch.float64)
        high = torch.ones_like(low)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            is_before = self._log_snr(middle) > log_snr
            low, high = torch.where(is_before, middle, low), torch.where(is_before, high, middle)
        return (low + high) / 2

    def draw_times(self, u: Tensor) -> Tensor:
        """Training times from uniform numbers in [0, 1), shaped as they are, in [0, 1]."""
        return u

    def has_zero_terminal_snr(self) -> bool:
        """Whether ``alpha`` is exactly 0 at ``t = 1``, where eps says nothing about x."""
        return bool(self._log_snr(torch.ones(1, dtype=torch.float64, device="cpu")).isneginf())

    def _check_grid(self, num_steps: int, grid: str) -> None:
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        if grid not in self.grids:
            raise ValueError(
                f"grid of {type(self).__name__} must be one of {', '.join(self.grids)}, got {grid!r}"
            )


class CosineSchedule(NoiseSchedule):
    """``alpha = cos(pi t / 2)``, affinely cut in its angle to a range of log SNR (Salimans & Ho 2022).

    Args:
        log_snr_min: log SNR at t = 1; -20 in Ho et al. 2022.
        log_snr_max: log SNR at t = 0; 20 in Ho et al. 2022.
        shift: added to the log SNR at t = 1: ``2 log(d_0 / d)`` gives pictures of ``d`` pixels a side the noise that
            those of ``d_0`` have without it (Hoogeboom et al. 2023, section 3.1). The frames of a video repeat each
            other as the pixels of a larger picture do, so that below 0 suits them too.
        shift_at_0: the same at t = 0, and linear in t between; 0 keeps the small steps of the end, where detail comes
            out. None is ``shift``.

    Raises:
        ValueError: if ``log_snr_min`` does not lie below ``log_snr_max``, a shift is not finite, or ``shift`` lies so
            far above ``shift_at_0`` that log SNR would rise.
    """

    def __init__(
        self,
        log_snr_min: float = -20.0,
        log_snr_max: float = 20.0,
        shift: float = 0.0,
        shift_at_0: float | None = None,
    ) -> None:
        super().__init__()
        if not log_snr_min < log_snr_max:
            raise ValueError(f"log_snr_min must lie below log_snr_max ({log_snr_max}), got {log_snr_min}")
        self.shift, self.shift_at_0 = shift, shift if shift_at_0 is None else shift_at_0
        for name in ("shift", "shift_at_0"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")
        self.angle_0 = math.atan(math.exp(-0.5 * log_snr_max))
        self.angle_1 = math.atan(math.exp(-0.5 * log_snr_min))
        # -2 log tan falls by 4 per radian where it is least steep, at a quarter of pi
        most = 4.0 * (self.angle_1 - self.angle_0)
        if not self.shift - self.shift_at_0 < most:
            raise ValueError(
                f"shift must lie below shift_at_0 + {most:.2f}, or log SNR rises; got {self.shift} and "
                f"{self.shift_at_0}"
            )

    def _log_snr(self, t: Tensor) -> Tensor:
        angle = self.angle_0 + t * (self.angle_1 - self.angle_0)
        return -2.0 * angle.tan().log() + self.shift_at_0 + t * (self.shift - self.shift_at_0)


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
        return (1000.0 * self._scales(t.double())[1]).to(_dtype(t))


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
        return (0.25 * self._log_ratio(t.double())).to(_dtype(t))


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


def over_latent(values: Tensor, ndim: int) -> Tensor:
    """Numbers of samples ``[B]`` or of units ``[B, U]`` as they multiply a latent ``[B, C, U, *S]`` of ``ndim`` axes.

    ``[B, 1, ...]`` or ``[B, 1, U, 1, ...]``; with no more axes than they have, the numbers as they are.
    """
    if values.ndim == 2 < ndim:
        values = values.unsqueeze(1)
    return values.view(*values.shape, *[1] * (ndim - values.ndim))


def _dtype(t: Tensor) -> torch.dtype:
    return torch.float64 if t.dtype == torch.float64 else torch.float32


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
