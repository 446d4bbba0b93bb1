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
# # 7. Add your own model
#
# What you learn here: a network is a class with `forward(z, time, cond)`; schedule, loss, samplers, conditioning,
# long video and metrics come with the package. The network below has 40 lines; it is simple, but complete.

# %%
import logging

import pytorch_lightning as pl
import torch
from einops import rearrange
from torch import nn

from videodiff.conditioning import Request
from videodiff.data import VideoDataModule, to_float
from videodiff.diffusion import CosineSchedule, DDIMSampler
from videodiff.models import VDM
from videodiff.networks import TimeEmbedding
from videodiff.report.notebook import show_clips, show_curves

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
torch.manual_seed(0)


# %%
class MixerBlock(nn.Module):
    """Mixes places within a frame, then frames at a place, then channels; each is added to what was there."""

    def __init__(self, width, num_frames, embedding_dim):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.condition = nn.Linear(embedding_dim, width)
        self.space = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.time = nn.Linear(num_frames, num_frames)
        self.channels = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x, embedding):  # [B, T, H, W, D], [B, E]
        h = self.norm(x) + self.condition(embedding)[:, None, None, None]
        x = x + rearrange(
            self.space(rearrange(h, "b t h w d -> (b t) d h w")), "(b t) d h w -> b t h w d", b=len(x)
        )
        x = x + rearrange(self.time(rearrange(x, "b t h w d -> b h w d t")), "b h w d t -> b t h w d")
        return x + self.channels(x)


class VideoMixer(nn.Module):
    """Patches of 2 x 2 pixels through blocks of mixing, and back; the output starts at zero."""

    def __init__(self, resolution=16, num_frames=8, width=48, num_blocks=3, num_classes=10):
        super().__init__()
        self.resolution, self.num_frames, self.num_classes = resolution, num_frames, num_classes
        self.embed = TimeEmbedding(width, 64, num_layers=2, num_classes=num_classes)
        self.enter = nn.Linear(3 * 4, width)
        self.place = nn.Parameter(torch.zeros(resolution // 2, resolution // 2, width))
        self.blocks = nn.ModuleList(MixerBlock(width, num_frames, 64) for _ in range(num_blocks))
        self.leave = nn.Linear(width, 3 * 4)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, z, time, cond):  # [B, 3, T, H, W], [B], Condition -> [B, 3, T, H, W]
        embedding = nn.functional.silu(self.embed(time, cond.label, None, None))
        x = self.enter(rearrange(z, "b c t (h p) (w q) -> b t h w (c p q)", p=2, q=2)) + self.place
        for block in self.blocks:
            x = block(x, embedding)
        return rearrange(self.leave(x), "b t h w (c p q) -> b c t (h p) (w q)", p=2, q=2)


# %% [markdown]
# `VDM` is the model for networks on pixels: it needs `resolution`, `num_frames` and `num_classes` of the network, and
# nothing else. Two checks find most mistakes before any training: an output of zero at the start, and a gradient that
# reaches every parameter once the last layer is not zero.

# %%
net = VideoMixer()
model = VDM(
    net, CosineSchedule(), DDIMSampler(num_steps=20), optimizer=lambda p: torch.optim.AdamW(p, lr=4e-3),
    lr_scheduler=lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=0.05, total_iters=20),
)  # fmt: skip
data = VideoDataModule(dataset="bouncing_digits", num_frames=8, resolution=16, batch_size=4, num_workers=0)
batch = next(iter(data.val_dataloader()))
batch["video"] = to_float(batch["video"])
example = model.example(batch, "val")
z, cond = example.x, example.cond
print("parameters:", sum(p.numel() for p in net.parameters()))
print("largest output at the start:", net(z, torch.full((len(z),), 500.0), cond).abs().max().item())
nn.init.normal_(net.leave.weight, std=1e-3)
model.losses(batch, "val").mean().backward()
print(
    "parameters without a gradient:",
    [name for name, p in net.named_parameters() if not p.grad.abs().sum() > 0],
)
model.zero_grad()

# %% [markdown]
# Training: `losses` is what Lightning minimises. The validation clips have fixed noise, so the same loss is measured
# before and after.

# %%
losses = []
keep = pl.callbacks.LambdaCallback(
    on_train_batch_end=lambda *given: losses.append((len(losses) + 1, given[2]["loss"].item()))
)
trainer = pl.Trainer(
    max_steps=100, accelerator="cpu", callbacks=[keep], limit_val_batches=0, use_distributed_sampler=False,
    gradient_clip_val=1.0, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False,
)  # fmt: skip
with torch.no_grad():
    before = model.losses(batch, "val").mean()
trainer.fit(model, data)
with torch.no_grad():
    after = model.eval().losses(batch, "val").mean()
print(f"loss of the same four validation clips: {before:.3f} before, {after:.3f} after")
show_curves({"VideoMixer": losses}, "step", "mean squared error of v")

# %% [markdown]
# All of this comes without further code: samplers, classes, a given start, a video three times as long as the
# network's clips. After 100 steps there are bright strokes on black that move, and no digits. The class has little
# effect so early.

# %%
four = batch["video"][:4]
show_clips(
    {
        "real": four,
        "samples": model.generate(4, seed=0),
        "samples of class 3": model.generate(4, seed=0, request=Request(label=torch.full((4,), 3))),
        "continued from the first three frames above": model.generate(
            4, seed=0, request=Request(frames=four[:, :, :3], positions=(0, 1, 2))
        ),
        "24 frames": model.generate(4, 24, seed=0),
    }
)

# %% [markdown]
# To have runs, checkpoints, resuming, several GPUs and `compare`, put the class into a file that Python finds and
# name it in a config: `net: {class_path: my_net.VideoMixer, init_args: {width: 96}}`, then `videodiff fit --config
# mine.yaml --trust my_net`. A config may name only trusted modules, as naming a class imports its module. `videodiff
# new-model my_model` writes such a file, its config and a test to begin with. Continue with
# [docs/add_a_model.md](../docs/add_a_model.md).
