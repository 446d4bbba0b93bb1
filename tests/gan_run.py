"""Adversarial autoencoder training, tiny, on a stateless stream: what fault tests of that stage run."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

import tiny_run
from videodiff.models import AutoencoderModule
from videodiff.networks import Autoencoder3D, PatchDiscriminator
from videodiff.seeding import generator

START = 3  # optimizer step at which the discriminator begins


class Clips(Dataset):
    """Smooth random clips ``[3, 4, 8, 8]`` by stream position."""

    def __len__(self):
        return tiny_run.SAMPLES

    def __getitem__(self, key):
        position, index = key
        low = torch.randn(1, 3, 2, 3, 3, generator=generator("clip", index))
        video = torch.nn.functional.interpolate(low, (4, 8, 8), mode="trilinear").tanh()[0]
        return {"video": video, "sample": position}


class ClipData(tiny_run.TinyData):
    """The stream of ``TinyData`` over clips; ``sample`` stays on the host as in the real data."""

    def loader(self, stop=None):
        t = self.trainer
        accumulate = 1 if stop else t.accumulate_grad_batches
        stream = tiny_run.Stream(
            self.batch_size, accumulate, t.global_rank, t.world_size, 0 if stop else t.global_step, stop
        )
        return DataLoader(Clips(), batch_sampler=stream, num_workers=self.workers)


class Poison(pl.Callback):
    """One clip of a step is NaN."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            batch["video"][0, 0, 0, 0, 0] = float("nan")


def module(norm="group", fused=True, lr=2e-3, width=4, sgd=False, memory=256):
    torch.manual_seed(0)
    autoencoder = Autoencoder3D(
        num_frames=4, resolution=8, width=width, downsample=(2, 2, 2), latent_channels=2
    )
    autoencoder.latent_scale.memory = memory

    def optimizer(groups):
        if sgd:
            return torch.optim.SGD(groups, lr=lr)
        return torch.optim.AdamW(groups, lr=lr, betas=(0.5, 0.9), fused=fused)

    return AutoencoderModule(
        autoencoder, PatchDiscriminator(width=4, num_halvings=1, norm=norm, padding=2),
        PatchDiscriminator(dims=3, width=4, num_halvings=1, norm=norm, padding=2),
        perceptual_weight=0.0, start_step=START, feature_matching_weight=1.0, discriminator_lr=1e-3, frames="random",
        discriminator_clip=0.1, optimizer=optimizer,
    )  # fmt: skip


def fit(folder, steps, resume=None, batch=4, poison=None, options=None, **more):
    """Train to ``steps`` in ``folder``; returns the module."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    model = module(**(options or {}))
    extra = [] if poison is None else [Poison(poison)]
    trainer = tiny_run.trainer_for(folder, steps, extra=extra, **more)
    trainer.fit(model, datamodule=ClipData(batch=batch, val_batches=2), ckpt_path=resume and str(resume))
    return model
