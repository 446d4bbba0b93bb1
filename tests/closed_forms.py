"""Denoisers known in closed form, the networks nobody has to train, and exact moments of what samplers make of them."""

from __future__ import annotations

import torch
from torch import Tensor

from videodiff.diffusion import Condition, Denoiser, NoiseSchedule, Sampler, prediction_target
from videodiff.diffusion.step_table import repeated


class GaussianDenoiser(Denoiser):
    """E[x | z_t] for x ~ N(mean, std^2), each element on its own."""

    def __init__(self, schedule: NoiseSchedule, mean: float, std: float) -> None:
        self.schedule, self.mean, self.std = schedule, mean, std

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        alpha, sigma = self.schedule.alpha_sigma(t, z.ndim)
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        return self.mean + gain * (z - alpha * self.mean)


class MixtureDenoiser(Denoiser):
    """E[x | z_t] for x ~ sum_k weights_k N(means_k, stds_k^2), each element on its own."""

    def __init__(self, schedule: NoiseSchedule, weights: tuple, means: tuple, stds: tuple) -> None:
        self.schedule = schedule
        self.weights, self.means, self.stds = torch.tensor([weights, means, stds], dtype=torch.float64)

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        alpha, sigma = (value.unsqueeze(-1) for value in self.schedule.alpha_sigma(t, z.ndim))
        weights, means, stds = self.weights.to(z), self.means.to(z), self.stds.to(z)
        variance = alpha**2 * stds**2 + sigma**2  # of z_t in each mode, [B, ..., K]
        error = z.unsqueeze(-1) - alpha * means
        share = (weights.log() - 0.5 * variance.log() - 0.5 * error**2 / variance).softmax(-1)
        return (share * (means + alpha * stds**2 / variance * error)).sum(-1)


class CorrelatedDenoiser(Denoiser):
    """E[x | z_t] for frames x ~ N(0, covariance [T, T]); z is [B, C, T, ...] and pixels are independent."""

    def __init__(self, schedule: NoiseSchedule, covariance: Tensor) -> None:
        self.schedule, self.covariance = schedule, covariance

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        alpha, sigma = self.schedule.alpha_sigma(t[:1])
        covariance = self.covariance.to(z)
        noisy = alpha**2 * covariance + sigma**2 * torch.eye(len(covariance)).to(z)
        return torch.einsum("st,bct...->bcs...", alpha * covariance @ torch.linalg.inv(noisy), z)


class UnitDenoiser(Denoiser):
    """E[x | z] for units x ~ N(0, covariance [U, U]) with noise levels of their own, ``t [B, U]``.

    Counts its calls, and the samples in them.
    """

    def __init__(self, schedule: NoiseSchedule, covariance: Tensor) -> None:
        self.schedule, self.covariance = schedule, covariance
        self.calls = self.samples = 0

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        self.calls, self.samples = self.calls + 1, self.samples + len(z)
        alpha, sigma = self.schedule.alpha_sigma(t)
        covariance = self.covariance.to(z)[: z.shape[2], : z.shape[2]]  # of a stationary series any window's
        noisy = alpha[:, :, None] * covariance * alpha[:, None, :] + torch.diag_embed(sigma**2)
        gain = (covariance * alpha[:, None, :]) @ torch.linalg.inv(noisy)  # [B, U, U]
        return torch.einsum("bsu,bcu...->bcs...", gain, z)


class ClosedFormNetwork:
    """What a perfect network of the given prediction says, out of a closed-form denoiser."""

    def __init__(self, denoiser: Denoiser, prediction: str) -> None:
        self.denoiser, self.schedule, self.prediction = denoiser, denoiser.schedule, prediction

    def __call__(self, z: Tensor, time: Tensor, cond: Condition) -> Tensor:
        num_train_steps = getattr(self.schedule, "num_train_steps", None)
        if num_train_steps:
            t = (time + 1) / num_train_steps
        else:  # the time of a cosine schedule falls with log SNR, so halving finds where
            t, end = torch.zeros_like(time), torch.ones_like(time)
            for _ in range(40):
                middle = (t + end) / 2
                is_before = self.schedule.network_time(middle) < time
                t, end = torch.where(is_before, middle, t), torch.where(is_before, end, middle)
            t = end
        alpha, sigma = self.schedule.alpha_sigma(t, z.ndim)
        x = self.denoiser(z, t, cond)
        return prediction_target(self.prediction, x, (z - alpha * x) / sigma, alpha, sigma)


def sampled_variance(
    sampler: Sampler, schedule: NoiseSchedule, variance: float, start: float = 1.0, repeats: int = 1
) -> float:
    """The exact variance of what a sampler returns for x ~ N(0, variance): every step is linear in z and noise.

    From unit noise at t = 1, or from noised data at another time.
    """
    plan = repeated(sampler.plan(schedule, start), schedule, repeats)
    alpha, sigma = schedule.alpha_sigma(plan.times)
    gains = (alpha * variance / (alpha**2 * variance + sigma**2)).tolist()
    begun = 1.0 if start == 1 else float(alpha[0] ** 2 * variance + sigma[0] ** 2)
    z = torch.zeros(len(gains) + 1, dtype=torch.float64)  # shares of the first noise and of those of the rows
    z[0], before = begun**0.5, []
    for k, (of_z, of_x, of_raw, of_previous, noise, *of_earlier) in enumerate(plan.table.tolist()):
        x = gains[k] * z
        if plan.ends_clean and k == len(gains) - 1:
            return x.square().sum().item()
        z = of_z * z + (of_x + of_raw) * x
        for factor, estimate in zip((of_previous, *of_earlier), before, strict=False):
            z += factor * estimate
        z[k + 1] += noise
        before = [x, *before][: 1 + len(of_earlier)]
    return z.square().sum().item()


def exact_flow(denoiser: MixtureDenoiser, z: Tensor, begin: float, end: float) -> Tensor:
    """Where the probability flow takes z from one time to another: in one dimension it keeps quantiles of mixtures."""
    weights, means, stds = denoiser.weights.to(z), denoiser.means.to(z), denoiser.stds.to(z)

    def share_below(z: Tensor, t: float) -> Tensor:
        alpha, sigma = denoiser.schedule.alpha_sigma(torch.tensor([t], dtype=z.dtype))
        below = torch.special.ndtr((z - alpha * means) / (alpha**2 * stds**2 + sigma**2).sqrt())
        return (weights * below).sum(-1, keepdim=True)

    rank, low, high = share_below(z, begin), torch.full_like(z, -5), torch.full_like(z, 5)
    for _ in range(60):
        middle = (low + high) / 2
        is_below = share_below(middle, end) < rank
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return low
