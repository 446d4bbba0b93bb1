# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: -all
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
# ---

# %% [markdown]
# # 3. Samplers side by side
#
# What you learn here: how far each sampler is from the exact answer after how many steps. No network is trained. If
# the data were Gaussian, the best denoiser and the exact end of every path would be known in closed form, so the
# error of a sampler can be measured instead of judged.

# %%
import torch

from videodiff.data import DriftingClouds, to_float
from videodiff.diffusion import (
    AncestralSampler,
    Condition,
    CosineSchedule,
    DDIMSampler,
    DPMSolverPP2MSampler,
    LangevinSampler,
)  # fmt: skip
from videodiff.report.notebook import show_clips, show_curves

source = DriftingClouds("train", size=256, num_frames=8, resolution=16)
clips = torch.stack(
    [to_float(source.read(i, 0, 8, 1)).movedim(-1, 0) for i in range(256)]
)  # [256, 3, 8, 16, 16]
mean = clips.flatten(1).mean(0)
_, spread, directions = torch.linalg.svd(clips.flatten(1) - mean, full_matrices=False)
variance = spread.square() / len(clips)  # of the clips along each direction, [256]
half = int((variance.cumsum(0) < variance.sum() / 2).sum()) + 1
print(f"{len(mean)} numbers a clip; half of the variance lies in {half} directions")

# %% [markdown]
# Clouds are close to a Gaussian with this mean and covariance. For it, the estimate of x at noise level t is a linear
# function of z: along a direction of variance v the gain is `alpha v / (alpha² v + sigma²)`. Everything outside the
# 256 directions has variance `rest`.

# %%
schedule, rest = CosineSchedule(), 1e-4


def denoiser(z, t, cond):
    """E[x | z] for the Gaussian: the network that nobody has to train, `[B, C, T, H, W]`."""
    alpha, sigma = schedule.alpha_sigma(t, 2)
    away = z.flatten(1) - alpha * mean

    def gain(v):
        return alpha * v / (alpha**2 * v + sigma**2)

    inside = (away @ directions.T) * (gain(variance) - gain(rest))
    return (mean + gain(rest) * away + inside @ directions).view_as(z)


# %% [markdown]
# On the exact path, noise ends at `mean + sqrt(variance) noise`. Below: these clips, and those of four samplers from
# the same eight noises in six steps.

# %%
noise = torch.randn(8, 3, 8, 16, 16, generator=torch.Generator().manual_seed(0))


def exact(noise):
    """Where the noise ends without any error of steps."""
    flat = noise.flatten(1)
    inside = (flat @ directions.T) * (variance.sqrt() - rest**0.5)
    return (mean + rest**0.5 * flat + inside @ directions).view_as(noise)


def draw(sampler, noise):
    return sampler.sample(denoiser, schedule, noise, Condition(), torch.Generator().manual_seed(1))


few = {
    "DDIM": DDIMSampler(6), "DPM-Solver++ (2M)": DPMSolverPP2MSampler(6), "DDIM, eta 1": DDIMSampler(6, eta=1.0),
    "ancestral, gamma 1": AncestralSampler(6, gamma=1.0),
}  # fmt: skip
drawn = {f"{name}, 6 steps": draw(sampler, noise) for name, sampler in few.items()}
show_clips({"training clips": clips[:8], "exact": exact(noise)} | drawn)

# %% [markdown]
# The first two follow the exact path; the others add fresh noise on the way and end elsewhere, at clips that are as
# likely if the steps are many. So the first two are judged by distance. With enough steps, halving the step halves
# the error of DDIM, which is of first order, and brings that of the second-order solver towards a quarter. With few,
# no order helps: two directions hold half of the variance of clouds, and their noise turns into signal in the first
# steps.

# %%
counts = [4, 8, 16, 32, 64, 128]
makes = {"DDIM": DDIMSampler, "DPM-Solver++ (2M)": DPMSolverPP2MSampler}
errors = {
    name: [(n, (draw(make(n), noise) - exact(noise)).square().mean().sqrt().item()) for n in counts]
    for name, make in makes.items()
}
for name, points in errors.items():
    print(f"{name:18}", "  ".join(f"{n}: {error:.4f}" for n, error in points))
show_curves(errors, "steps (network calls)", "RMS distance to the exact clip", log_x=True, log_y=True)

# %% [markdown]
# The others are judged by the spread of their clips: the variance of 64 clips along the ten largest directions,
# divided by that of the data. 1 is right; below 1 the clips are too similar, above 1 too different. With 64 clips the
# ratio is known to about 0.06.

# %%
many = torch.randn(64, 3, 8, 16, 16, generator=torch.Generator().manual_seed(2))
stochastic = {
    "DDIM, eta 1": lambda n: DDIMSampler(n, eta=1.0),
    "ancestral, gamma 0": AncestralSampler,
    "ancestral, gamma 1": lambda n: AncestralSampler(n, gamma=1.0),
    "ancestral + Langevin": lambda n: LangevinSampler(AncestralSampler(n)),
}


def kept(videos):
    """Variance along the ten largest directions over that of the data, averaged."""
    along = (videos.flatten(1) - mean) @ directions[:10].T
    return (along.square().mean(0) / variance[:10]).mean().item()


print(f"exact: {kept(exact(many)):.2f}")
spreads = {name: [(n, kept(draw(make(n), many))) for n in (4, 16, 48)] for name, make in stochastic.items()}
for name, points in spreads.items():
    print(f"{name:21}", "  ".join(f"{n} steps: {value:.2f}" for n, value in points))

# %% [markdown]
# What this does and does not show: the errors are those of the samplers alone. A trained network adds its own error,
# which is usually the larger one, and stochastic samplers then correct some of it. `videodiff generate
# --sampler` takes any of these for any model; [notebook 6](06_reading_a_comparison.ipynb) measures them on models.
