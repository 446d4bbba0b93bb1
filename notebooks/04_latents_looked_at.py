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
# # 4. Looking at latents
#
# What you learn here: which information about a clip the latents of LVDM and PVDM hold, and where. Two small first
# stages are trained for seconds on the built-in digits. They blur, but the role of each part of a latent can be seen.

# %%
import logging

import pytorch_lightning as pl
import torch

from videodiff.data import VideoDataModule, to_float
from videodiff.models import AutoencoderModule
from videodiff.networks import Autoencoder3D, TriplaneAutoencoder
from videodiff.networks.plane_tools import hold_still, plane_sheet, swap_motion
from videodiff.networks.planes import split_planes
from videodiff.report.notebook import show_clips, show_frames, show_picture

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
torch.manual_seed(0)
data = VideoDataModule(dataset="bouncing_digits", num_frames=8, resolution=16, batch_size=8, num_workers=0)
real = to_float(next(iter(data.test_dataloader()))["video"])  # [8, 3, 8, 16, 16], unseen handwriting


def train(autoencoder, steps, rate, clamp_loss=False):
    """A trained first stage. With clamp_loss, videos are compared after clamping, so black is easily reached."""
    module = AutoencoderModule(
        autoencoder, pixel_loss="l2", clamp_loss=clamp_loss, perceptual_weight=0,
        optimizer=lambda p: torch.optim.AdamW(p, lr=rate),
    )  # fmt: skip
    trainer = pl.Trainer(
        max_steps=steps, accelerator="cpu", limit_val_batches=0, use_distributed_sampler=False, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0,
    )  # fmt: skip
    trainer.fit(module, data)
    return module.eval().autoencoder.requires_grad_(False)


volume = train(
    Autoencoder3D(num_frames=8, resolution=16, width=4, downsample=(2, 4, 4), latent_channels=4), 80, 1e-2
)
planes = train(
    TriplaneAutoencoder(
        num_frames=8, resolution=16, patch_size=4, latent_channels=4, width=32, depth=1, heads=4, head_dim=8,
        projection_depth=1, output="linear",
    ), 140, 5e-3, clamp_loss=True,
)  # fmt: skip
by_volume, by_planes = volume.encode(real), planes.encode(real)
guesses = {
    "3-D latent": volume.decode(by_volume).clamp(-1, 1), "planes": planes.decode(by_planes).clamp(-1, 1),
    "the mean picture, always": real.mean((0, 2), keepdim=True),
}  # fmt: skip
psnr = {name: 10 * torch.log10(4 / (guess - real).square().mean()).item() for name, guess in guesses.items()}
print({name: f"PSNR {value:.1f} dB" for name, value in psnr.items()})
show_clips(
    {
        "test clips": real,
        "from 3-D latents": volume.decode(by_volume),
        "from planes": planes.decode(by_planes),
    }
)

# %% [markdown]
# ## The 3-D latent is a small video
#
# It has four channels, four frames and 4 x 4 places for eight frames of 16 x 16. Rows are channels, columns latent
# frames: what lights up travels as the digit does.

# %%
latent = by_volume[0]  # [C, U, h, w]
low, high = latent.amin((1, 2, 3), keepdim=True), latent.amax((1, 2, 3), keepdim=True)
grey = (2 * (latent - low) / (high - low) - 1)[:, None].expand(-1, 3, -1, -1, -1)
show_frames({"the clip": real[:1]}, scale=4).join_with(show_frames({"its latent": grey}, scale=12))

# %% [markdown]
# Each latent frame belongs to two frames of the clip. Change one, here by setting it to zero, and the error is
# largest there; convolutions over time let a little of it through to the neighbours.

# %%
changed = by_volume.clone()
changed[:, :, 1] = 0
gap = (volume.decode(changed) - volume.decode(by_volume)).square().mean((0, 1, 3, 4)).sqrt()
print("RMS change of frame 0 ... 7 when latent frame 1 is zero:", [f"{value:.2f}" for value in gap.tolist()])

# %% [markdown]
# ## The planes
#
# A plane keeps two axes of the clip and pools over the third. From the left, a picture for each of four channels:
# height by width (the static part, 4 x 4), then time by width and time by height (the motion, 8 x 4 each, time
# downwards). Each row is a clip. Channels that are black or white throughout are at an end of the `tanh` that bounds
# the planes.

# %%
sizes = planes.plane_sizes
print("planes:", [list(plane.shape[1:]) for plane in split_planes(by_planes, sizes)])
show_picture(plane_sheet(by_planes[:4], sizes, scale=8), scale=1)

# %% [markdown]
# Planes can be exchanged. `hold_still` replaces the time planes of every frame by their mean; `swap_motion` gives
# each clip the time planes of the next one. How far a clip moves is the mean change from frame to frame.

# %%
variants = {
    "as encoded": by_planes,
    "held still": hold_still(by_planes, sizes),
    "with the motion of the next clip": swap_motion(by_planes, by_planes.roll(-1, 0), sizes),
}
clips = {name: planes.decode(z).clamp(-1, 1) for name, z in variants.items()}
for name, video in clips.items():
    print(f"{name:34} change per frame {video.diff(dim=2).abs().mean():.3f}")
show_clips({"test clips": real} | clips)

# %% [markdown]
# Held still, nothing moves at all: all change over time is in the two time planes. Swapped, a digit stays about
# where it was and gets fainter: its position is also stored in the plane of height and width, and where the planes
# disagree little lights up. So a first stage this small and this briefly trained has not separated form from motion.
# [docs/pvdm.md](../docs/pvdm.md) looks at a well trained one in the same way.
