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
# # 2. One schedule, three models
#
# What you learn here: VDM, LVDM and PVDM differ only in their latents and networks. Schedule, loss and
# sampler are the same objects. Each is trained for a few dozen steps, so expect colours and a horizon, not clouds.

# %%
import logging

import pytorch_lightning as pl
import torch

from videodiff.data import VideoDataModule
from videodiff.diffusion import CosineSchedule, DDIMSampler
from videodiff.models import LVDM, PVDM, VDM, AutoencoderModule
from videodiff.networks import Autoencoder3D, TriplaneAutoencoder, TriplaneUNet, UNet3D
from videodiff.report.notebook import show_clips, show_curves, show_frames

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
torch.manual_seed(0)
schedule, sampler = CosineSchedule(), DDIMSampler(num_steps=10)
clips = VideoDataModule(dataset="drifting_clouds", num_frames=8, resolution=16, batch_size=4, num_workers=0)
real = next(iter(clips.val_dataloader()))["video"]  # uint8 [4, 3, 8, 16, 16]
real = real.float() / 127.5 - 1

# %% [markdown]
# The schedule says how much signal is left at time t: `z = alpha x + sigma eps`, with alpha² + sigma² = 1. Time runs
# from data (0) to noise (1).

# %%
times = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
one = real[:1].expand(5, -1, -1, -1, -1)
noised = schedule.add_noise(one, torch.randn_like(one), times)
print("log SNR", [f"t={t:.2f}: {v:+.1f}" for t, v in zip(times, schedule.log_snr(times), strict=True)])
show_frames({"one clip at t = 0, 0.25, 0.5, 0.75, 1 (rows)": noised}, scale=3)

# %% [markdown]
# Training is one function for everything: a Lightning trainer and a list that keeps the loss.


# %%
def train(model, steps):
    """Train in place; returns the loss of every step."""
    losses = []
    keep = pl.callbacks.LambdaCallback(
        on_train_batch_end=lambda *given: losses.append((len(losses) + 1, given[2]["loss"].item()))
    )
    trainer = pl.Trainer(
        max_steps=steps, accelerator="cpu", callbacks=[keep], limit_val_batches=0, use_distributed_sampler=False,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, clips)
    model.eval()
    return losses


# %% [markdown]
# LVDM and PVDM each need a first stage: one turns a clip into a smaller video, the other into three planes. They are
# compared by the size of the latent and by the reconstructions.

# %%
volume = AutoencoderModule(
    Autoencoder3D(num_frames=8, resolution=16, width=4, downsample=(2, 4, 4), latent_channels=4),
    pixel_loss="l2", perceptual_weight=0, optimizer=lambda p: torch.optim.AdamW(p, lr=1e-2),
)  # fmt: skip
planes = AutoencoderModule(
    TriplaneAutoencoder(
        num_frames=8, resolution=16, patch_size=4, latent_channels=4, width=32, depth=1, heads=4, head_dim=8,
        projection_depth=1,
    ),
    pixel_loss="l2", perceptual_weight=0, optimizer=lambda p: torch.optim.AdamW(p, lr=3e-3),
)  # fmt: skip
rebuilt = {"real": real}
for name, stage in {"3-D latent": volume, "three planes": planes}.items():
    train(stage, 32)
    shape = torch.Size(stage.autoencoder.latent_shape((3, 8, 16, 16)))
    rebuilt[f"{name} {list(shape)}, {real[0].numel() / shape.numel():.0f} times fewer numbers"] = (
        stage.rebuild(real)
    )
show_clips(rebuilt)

# %% [markdown]
# Now the three models. They share the very same `schedule` and `sampler`; only the latent and the network change.

# %%
small = {"num_blocks": 1, "width": 16, "channel_multipliers": (1, 2)}
shared = {"schedule": schedule, "sampler": sampler, "optimizer": lambda p: torch.optim.AdamW(p, lr=4e-3)}
models = {
    "VDM": VDM(UNet3D(resolution=16, num_frames=8, attention_resolutions=(8,), head_dim=16, **small), **shared),
    "LVDM": LVDM(
        UNet3D(channels=4, resolution=4, num_frames=4, attention_resolutions=(4,), heads=4, **small),
        autoencoder=volume.autoencoder, threshold="none", prediction_share=0, interpolation_share=0, **shared,
    ),
    "PVDM": PVDM(
        TriplaneUNet(
            channels=4, num_frames=8, plane_size=4, attention_levels=(0,), heads=4, concat_channels=0, **small
        ),
        autoencoder=planes.autoencoder, conditional_share=0, **shared,
    ),
}  # fmt: skip
curves = {}
for name, model in models.items():
    curves[name] = train(model, 25)
    start, end = (sum(loss for _, loss in part) / 10 for part in (curves[name][:10], curves[name][-10:]))
    count = sum(p.numel() for p in model.net.parameters())
    latent = list(model.latents.shape(model.latents.units(8)))
    print(f"{name}: {count:,} parameters, latent {latent}, loss {start:.2f} -> {end:.2f}")
show_curves(curves, "step", "mean squared error of v")

# %% [markdown]
# The losses are not comparable: they are errors in different spaces. PVDM's planes and LVDM's latents vary by about
# one and VDM's pixels by less, so even a network that outputs zero gets a different value in each. That is why models
# are compared by clips under one protocol, never by loss.
#
# The same seed, three times:

# %%
show_clips({name: model.generate(8, seed=0) for name, model in models.items()})

# %% [markdown]
# After 25 steps of four clips nothing here is a cloud. `videodiff fit --config vdm_clouds` and its siblings train for
# minutes instead of seconds; see [docs/results.md](../docs/results.md) for the results.
