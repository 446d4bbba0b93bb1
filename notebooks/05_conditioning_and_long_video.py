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
# # 5. Conditioning and long video
#
# What you learn here: continuing a clip, filling in between frames and generating a video longer than any training clip
# are one thing, a plan of windows in which some frames are given. So that nothing has to be trained, the network is
# the optimal one for a Gaussian with the mean and covariance of cloud clips ([notebook
# 3](03_samplers_side_by_side.ipynb)).

# %%
import math

import torch
from torch import nn

from videodiff.conditioning import Request
from videodiff.data import DriftingClouds, to_float
from videodiff.diffusion import CosineSchedule, DDIMSampler, autoregressive, cover, interpolation
from videodiff.models import VDM
from videodiff.report.notebook import show_clips, show_curves, show_frames, show_picture


class GaussianNetwork(nn.Module):
    """E[x | z] for clips of one Gaussian, as a network: z, time, condition -> x."""

    num_frames, resolution, num_classes = 8, 16, None

    def __init__(self, clips, rest=1e-3):  # [N, 3, T, H, W]
        super().__init__()
        flat = clips.flatten(1)
        _, spread, directions = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
        self.mean, self.rest = nn.Parameter(flat.mean(0)), rest
        self.variance, self.directions = nn.Parameter(spread.square() / len(clips)), nn.Parameter(directions)

    def forward(self, z, time, cond):
        angle = time[:, None] / 1000 * math.pi / 2  # what the time embedding of a network sees
        alpha, sigma = angle.cos(), angle.sin()
        away = z.flatten(1) - alpha * self.mean
        gain, other = (alpha * v / (alpha**2 * v + sigma**2) for v in (self.variance, self.rest))
        inside = (away @ self.directions.T) * (gain - other)
        return (self.mean + other * away + inside @ self.directions).view_as(z)


def read(split, count, frames=8):
    source = DriftingClouds(split, size=count, num_frames=frames, resolution=16)
    return torch.stack([to_float(source.read(i, 0, frames, 1)).movedim(-1, 0) for i in range(count)])


model = VDM(
    GaussianNetwork(read("train", 512)), CosineSchedule(), DDIMSampler(num_steps=20), prediction="x",
    reconstruction_weight=5.0,
).eval()  # fmt: skip
longer = read("test", 4, frames=24)  # [4, 3, 24, 16, 16]
real = longer[:, :, :8]
show_clips({"test clips": real, "samples from noise alone": model.generate(4, seed=0)})

# %% [markdown]
# ## Given frames
#
# `Request` holds the given frames and their positions. The same unconditional network respects them by
# reconstruction guidance (Ho et al. 2022, eq. 7): each step also descends the error of its estimate of the given
# frames.

# %%
tasks = {"continue frames 0 and 1": (0, 1), "fill in between 0 and 7": (0, 7), "every third": (0, 3, 6)}
drawn, rows = {}, []
for name, positions in tasks.items():
    drawn[name] = model.generate(
        4, seed=1, request=Request(frames=real[:, :, list(positions)], positions=positions)
    )
    new = [f for f in range(8) if f not in positions]
    nearest = [min(positions, key=lambda p, f=f: abs(p - f)) for f in new]
    error, copied = (
        (video - real[:, :, new]).square().mean().sqrt()
        for video in (drawn[name][:, :, new], real[:, :, nearest])
    )
    kept = torch.equal(drawn[name][:, :, list(positions)], real[:, :, list(positions)])
    print(
        f"{name:24} given frames kept: {kept}; RMS error of the others {error:.2f}, of copying the nearest {copied:.2f}"
    )
free = (model.generate(4, seed=1) - real).square().mean().sqrt()
print(f"{'nothing given':24} RMS distance to the test clips {free:.2f}")
show_clips({"test clips": real} | drawn)

# %% [markdown]
# The given frames come back exactly, and the others are far closer to the truth than without them. Copying the
# nearest given frame is closer still: clouds move little in eight frames, and a model has to be good before it beats
# standing still. Any report of a prediction error should include this baseline.
#
# The weight of this guidance matters. Replacement, the older way, only puts the noised given frames into
# z, and the others follow loosely. A weight that is too high overshoots, until the result is worse than with no frames
# given. The paper uses 50 for one given frame of 16 and 9 for five; here, with another network and size, it is 5 to
# 10. `--reconstruction_weight` of `videodiff generate` sets it.

# %%
first_two = Request(frames=real[:, :, :2], positions=(0, 1))
errors = []
for weight in (0.2, 1, 5, 10, 20, 50):
    model.reconstruction_weight = weight
    guess = model.generate(4, seed=1, request=first_two)
    errors.append((weight, (guess - real)[:, :, 2:].square().mean().sqrt().item()))
model.reconstruction_weight, model.conditioning = 5.0, "replacement"
replaced = (model.generate(4, seed=1, request=first_two) - real)[:, :, 2:].square().mean().sqrt().item()
model.conditioning = "reconstruction"
print(
    f"replacement {replaced:.2f};", "  ".join(f"weight {weight:g}: {error:.2f}" for weight, error in errors)
)
show_curves(
    {"continue frames 0 and 1": errors}, "reconstruction weight", "RMS error of the other frames", log_x=True
)

# %% [markdown]
# ## Plans
#
# A long video is a list of windows. Each row is one call of the model over the frames of the video: white frames are
# written by this call, grey ones are seen by it, black ones are neither. Plans are integers and can be inspected before
# anything is generated.


# %%
def draw_plan(windows, num_frames):
    """One row per window: 255 written, 128 seen."""
    picture = torch.zeros(len(windows), num_frames, dtype=torch.uint8)
    for row, window in zip(picture, windows, strict=True):
        row[list(window.context)], row[list(window.new)] = 128, 255
    return show_picture(picture.repeat_interleave(2, 0), scale=12)


plans = {
    "window after window, each seeing four frames": autoregressive(24, clip=8, overlap=4),
    "key frames four apart, then the gaps": autoregressive(25, clip=5, overlap=2, stride=4)
    + interpolation(25, stride=4),
    "frames 0 and 23 known, the rest covered": cover(24, clip=8, overlap=4, known=(0, 23)),
}
shown = [draw_plan(plan, 25) for plan in plans.values()]
for name, plan in plans.items():
    print(f"{name}: {len(plan)} calls, {sum(len(w.new) for w in plan)} frames written")
shown[0].join_with(*shown[1:])

# %% [markdown]
# ## Long video
#
# `num_frames` above the length of a clip is all it takes. Here are 24 frames from a network of 8, with and without a
# given start: each window sees the last four frames of the one before. The change from frame to frame
# shows whether the windows fit together.

# %%
start = Request(frames=real[:, :, :4], positions=(0, 1, 2, 3))
long = {
    "from noise": model.generate(4, 24, seed=2),
    "from four frames": model.generate(4, 24, seed=2, request=start),
}
jumps = {name: video.diff(dim=2).abs().mean((0, 1, 3, 4)) for name, video in {"true": longer, **long}.items()}
for name, jump in jumps.items():
    seams = jump[[7, 11, 15, 19]]
    print(f"{name:17} change per frame: first window {jump[4:7].mean():.3f}, seams {seams.mean():.3f}")
show_frames(
    {"true, every third frame": longer} | {f"{name}, every third": video for name, video in long.items()},
    3,
    3,
)

# %% [markdown]
# `videodiff generate --frames 128`, `--condition FILE --condition_frames 0:4` and `--condition_frames 0,15` do this
# with any run. LVDM and PVDM take the same `Request` in units of their latents: whole groups of frames, or whole clips.
