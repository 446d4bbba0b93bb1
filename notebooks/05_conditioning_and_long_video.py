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
# What you learn here: continuing a clip, filling in between frames and drawing a video longer than any training clip
# are one thing, a plan of windows in which some frames are known. The model is a VDM trained for seconds on clouds:
# it has learnt where sky and ground are, and no fine cloud.

# %%
import logging

import pytorch_lightning as pl
import torch

from videodiff.data import VideoDataModule, to_float
from videodiff.diffusion import CosineSchedule, DDIMSampler, autoregressive, cover, interpolation
from videodiff.models import VDM, Given
from videodiff.networks import UNet3D
from videodiff.report.inline import show_clips, show_frames, show_picture

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
torch.manual_seed(0)
data = VideoDataModule(dataset="drifting_clouds", num_frames=8, resolution=16, batch_size=4, num_workers=0)
net = UNet3D(
    resolution=16, num_frames=8, width=16, channel_multipliers=(1, 2), num_blocks=1, attention_resolutions=(8,),
    head_dim=16, embedding_layers=2,
)  # fmt: skip
model = VDM(
    net, CosineSchedule(), DDIMSampler(num_steps=12), reconstruction_weight=50.0,
    optimizer=lambda p: torch.optim.AdamW(p, lr=3e-3),
)  # fmt: skip
trainer = pl.Trainer(
    max_steps=100, accelerator="cpu", limit_val_batches=0, use_distributed_sampler=False, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0,
)  # fmt: skip
trainer.fit(model, data)
model.eval()
real = to_float(next(iter(data.test_dataloader()))["video"])  # [4, 3, 8, 16, 16]
show_clips({"test clips": real, "samples from noise alone": model.generate(4, seed=0)})

# %% [markdown]
# ## Known frames
#
# `Given` says which frames are known and where they lie. The same unconditional network respects them by
# reconstruction guidance (Ho et al. 2022, eq. 7): each step also descends the error of what it says about the known
# frames.

# %%
tasks = {"continue frames 0 and 1": (0, 1), "fill in between 0 and 7": (0, 7), "every third": (0, 3, 6)}
drawn, rows = {}, []
for name, positions in tasks.items():
    drawn[name] = model.generate(4, seed=1, given=Given(real[:, :, list(positions)], positions))
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
# The given frames come back exactly, and the others are much nearer to the truth than without them: the weather is
# taken over. But copying the nearest given frame is nearer still. Clouds move little in eight frames, and a model has
# to be good before it beats standing still. Any report of a prediction error should have that line in it.
#
# ## Plans
#
# A long video is a list of windows. Each row is one call of the model over the frames of the video: white is written
# by this call, grey is seen by it, black is neither. Plans are integers and can be read before anything is drawn.


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
# given start. What changes over time is measured by how far each frame is from the one before.

# %%
start = Given(real[:, :, :4], (0, 1, 2, 3))
long = {
    "from noise": model.generate(4, 24, seed=2),
    "from four frames": model.generate(4, 24, seed=2, given=start),
}
for name, video in long.items():
    jumps = video.diff(dim=2).abs().mean((0, 1, 3, 4))
    seams, inside = jumps[[7, 11, 15, 19]].mean(), jumps[[4, 5, 6]].mean()
    print(f"{name:17} change per frame within the first window {inside:.3f}, at the seams {seams:.3f}")
show_clips(long).join_with(
    show_frames({"every second frame, from four frames": long["from four frames"]}, 3, every=2)
)

# %% [markdown]
# `videodiff generate --frames 128`, `--condition FILE --condition_frames 0:4` and `--condition_frames 0,15` do this
# with any run. LVDM and PVDM take the same `Given` in units of their latents: whole groups of frames, or whole clips.
