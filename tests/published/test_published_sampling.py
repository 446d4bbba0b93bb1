"""Imported models sample as their authors' scripts do, given the same noise: those loops, written once more."""

from unittest import mock

import numpy as np
import pytest
import torch

from videodiff.checkpoints.published.recipes import RECIPES
from videodiff.config.trust import resolve
from videodiff.diffusion import Condition, NetworkDenoiser, Threshold

NET = {"class_path": "x", "init_args": {"concat_channels": 4}}


def scaled_linear(start, end):
    return np.cumprod(1 - np.linspace(start**0.5, end**0.5, 1000) ** 2)


def network(z, time, cond):
    """Stands for a network: depends on z and on the integer time."""
    return 0.8 * z + 0.3 * torch.sin(3 * z + time.view(-1, 1, 1) / 100)


def published_ddim(alpha_bar, steps, before_last, z, noises, clip):
    """DDIM with eta 1 of latent diffusion's family: x clipped or not, the noise estimate left as the network said."""
    for k, t in enumerate(steps):
        following = steps[k + 1] if k + 1 < len(steps) else None
        a, before = alpha_bar[t], alpha_bar[following] if following is not None else before_last
        eps = network(z, torch.full((len(z),), float(t)), None)
        x = (z - (1 - a) ** 0.5 * eps) / a**0.5
        x = x.clamp(-1, 1) if clip else x
        sigma = ((1 - before) / (1 - a) * (1 - a / before)) ** 0.5
        z = before**0.5 * x + max(1 - before - sigma**2, 0) ** 0.5 * eps
        if sigma > 0:
            z = z + sigma * noises[k]
    return z


def ours(kind, num_steps, z, noises):
    section = RECIPES[kind](NET, None)["init_args"]
    schedule, sampler = (
        resolve(section[p]["class_path"])(**section[p]["init_args"]) for p in ("schedule", "sampler")
    )
    sampler.num_steps = num_steps
    denoiser = NetworkDenoiser(network, schedule, section["prediction"])
    if section["threshold"] != "none":
        denoiser = Threshold(denoiser, section["threshold"])
    with mock.patch("videodiff.diffusion.sampler.normal_like", side_effect=list(noises)):
        return sampler.sample(denoiser, schedule, z, Condition())


@pytest.mark.parametrize("num_steps", [100, 400, 7])
def test_pvdm(num_steps):
    """``int(linspace(-1, 999, S + 1))`` backwards; x clipped to [-1, 1]; the pair that ends at -1 returns x."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 4, 6, dtype=torch.float64, generator=generator)
    noises = torch.randn(num_steps, *z.shape, dtype=torch.float64, generator=generator)
    steps = [int(t) for t in np.linspace(-1, 999, num_steps + 1)][::-1]
    assert steps[-1] == -1
    expected = published_ddim(scaled_linear(0.0015, 0.0195), steps[:-1], 1.0, z, noises, clip=True)
    torch.testing.assert_close(ours("pvdm-unet", num_steps, z, noises), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("num_steps", "first"), [(50, 981), (200, 996), (400, 999)])
def test_lvdm(num_steps, first):
    """``range(0, T, T // S) + 1`` backwards, no clipping; the last step leads to alpha_bar_0, not to clean data."""
    steps = [t + 1 for t in range(0, 1000, 1000 // num_steps)][::-1]
    assert steps[0] == first
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 4, 6, dtype=torch.float64, generator=generator)
    noises = torch.randn(len(steps), *z.shape, dtype=torch.float64, generator=generator)
    alpha_bar = scaled_linear(0.0015, 0.0155)
    expected = published_ddim(alpha_bar, steps, alpha_bar[0], z, noises, clip=False)
    torch.testing.assert_close(ours("lvdm-unet", num_steps, z, noises), expected, atol=1e-6, rtol=1e-6)


def test_lucidrains():
    """Every index, posterior mean of the clipped x and its variance, cosine table cut at 0.9999."""
    u = np.linspace(0, 1000, 1001)
    bar = np.cos((u / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    betas = np.clip(1 - bar[1:] / bar[:-1], 0, 0.9999)
    alpha_bar = np.cumprod(1 - betas)
    before = np.concatenate([[1.0], alpha_bar[:-1]])
    generator = torch.Generator().manual_seed(0)
    start = z = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator)
    noises = torch.randn(1000, *z.shape, dtype=torch.float64, generator=generator)
    for k, t in enumerate(range(999, -1, -1)):
        a, b, beta = alpha_bar[t], before[t], betas[t]
        eps = network(z, torch.full((len(z),), float(t)), None)
        x = ((1 / a) ** 0.5 * z - (1 / a - 1) ** 0.5 * eps).clamp(-1, 1)
        mean = beta * b**0.5 / (1 - a) * x + (1 - b) * (1 - beta) ** 0.5 / (1 - a) * z
        z = mean + (beta * (1 - b) / (1 - a)) ** 0.5 * noises[k] if t else mean
    torch.testing.assert_close(ours("lucidrains-unet3d", 1000, start, noises), z, atol=1e-6, rtol=1e-6)
