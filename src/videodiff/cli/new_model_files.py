"""The three files that ``videodiff new-model`` writes; ``$name`` and ``$Class`` are filled in."""

from __future__ import annotations

NETWORK = '''"""$Class: a small factorised video transformer, to be changed into your own model."""

import torch
from torch import Tensor, nn

from videodiff.diffusion import Condition
from videodiff.frame_size import FrameSize, Resolution


class Block(nn.Module):
    """Attention over one axis of the tokens and a two-layer perceptron, both scaled and shifted by the embedding."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Linear(width, 4 * width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``x [N, L, width]``, ``embedding [N, width]`` -> ``[N, L, width]``."""
        scale, shift, scale_mlp, shift_mlp = self.modulation(nn.functional.silu(embedding))[:, None].chunk(4, dim=-1)
        qkv = self.qkv(nn.functional.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(nn.functional.layer_norm(x, x.shape[-1:]) * (1 + scale_mlp) + shift_mlp)


class $Class(nn.Module):
    """``(z [B, C, T, H, W], time [B], Condition) -> [B, C, T, H, W]``: patches, then pixels and frames in turn."""

    def __init__(
        self, resolution: Resolution = 32, num_frames: int = 16, channels: int = 3, patch_size: int = 4,
        width: int = 64, depth: int = 2, heads: int = 4, num_classes: int | None = None) -> None:  # fmt: skip
        super().__init__()
        self.resolution, self.num_frames, self.channels = resolution, num_frames, channels
        self.num_classes, self.width, self.size_factor = num_classes, width, patch_size
        self.patches = nn.Conv2d(channels, width, patch_size, stride=patch_size)
        self.places = nn.Parameter(0.02 * torch.randn(FrameSize.of(resolution).pixels // patch_size**2, width))
        self.moments = nn.Parameter(0.02 * torch.randn(num_frames, 1, width))
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.classes = None if num_classes is None else nn.Embedding(num_classes + 1, width)  # the last: none
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(2 * depth))
        self.pixels = nn.ConvTranspose2d(width, channels, patch_size, stride=patch_size)

    def forward(self, z: Tensor, time: Tensor, cond: Condition) -> Tensor:
        batch, _, frames, height, _ = z.shape
        angles = time[:, None] * torch.logspace(0, -4, self.width // 2, device=z.device)
        embedding = self.time(torch.cat([angles.sin(), angles.cos()], dim=1).to(z.dtype))
        if self.classes is not None and cond.label is not None:
            embedding = embedding + self.classes(cond.label % (self.num_classes + 1))  # -1, no class, is the last
        x = self.patches(z.transpose(1, 2).flatten(0, 1)).flatten(2).mT.unflatten(0, (batch, frames))
        x = x + self.places + self.moments[:frames]  # [B, T, places, width]
        for number, block in enumerate(self.blocks):
            x = x.transpose(1, 2) if number % 2 else x  # frames of a place, or places of a frame
            x = block(x.flatten(0, 1), embedding.repeat_interleave(x.shape[1], 0)).unflatten(0, x.shape[:2])
            x = x.transpose(1, 2) if number % 2 else x
        x = x.flatten(0, 1).mT.unflatten(2, (height // self.patches.stride[0], -1))
        return self.pixels(x).unflatten(0, (batch, frames)).transpose(1, 2)
'''

CONFIG = """# $Class on the built-in bouncing digits, 16x32x32, trained and sampled as VDM.
# videodiff fit --config $name.yaml --trust $name
model:
  class_path: videodiff.models.VDM
  init_args:
    net:
      class_path: $name.$Class
      init_args: {resolution: 32, num_frames: 16, patch_size: 4, width: 64, depth: 2, heads: 4, num_classes: 10}
    schedule: {class_path: videodiff.diffusion.CosineSchedule}
    prediction: v
    sampler: {class_path: videodiff.diffusion.DDIMSampler, init_args: {num_steps: 50}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1.0e-3, weight_decay: 0.0, fused: true}}
    lr_scheduler: {class_path: torch.optim.lr_scheduler.LinearLR, init_args: {start_factor: 0.01, total_iters: 50}}
data:
  class_path: videodiff.data.VideoDataModule
  init_args: {dataset: bouncing_digits, num_frames: 16, resolution: 32, batch_size: 4, num_workers: 0}
trainer:
  max_steps: 4000
  val_check_interval: 200
  limit_val_batches: 4
samples: {every_n_steps: 500, num_videos: 8}
ema: {decay: 0.999}
"""

TEST = '''"""$Class keeps the shape of its input, listens to time and class, and takes training steps."""

from pathlib import Path

import torch
from $name import $Class

from videodiff.cli import main
from videodiff.diffusion import Condition

CONFIG = Path(__file__).with_name("$name.yaml")


def small() -> $Class:
    torch.manual_seed(0)
    return $Class(resolution=8, num_frames=4, patch_size=4, width=16, depth=1, heads=2, num_classes=3)


def test_the_output_has_the_shape_of_the_input_and_every_weight_a_gradient():
    net, z = small(), torch.randn(2, 3, 4, 8, 8)
    out = net(z, torch.rand(2) * 1000, Condition(label=torch.tensor([0, -1])))
    assert out.shape == z.shape
    out.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_frames_time_and_class_matter():
    net, z, label = small(), torch.randn(1, 3, 4, 8, 8), torch.tensor([1])
    with torch.no_grad():
        out = net(z, torch.tensor([10.0]), Condition(label=label))
        other_time = net(z, torch.tensor([900.0]), Condition(label=label))
        other_class = net(z, torch.tensor([10.0]), Condition(label=label + 1))
        z[:, :, -1] += 1
        other_frame = net(z, torch.tensor([10.0]), Condition(label=label))
    assert not torch.allclose(out, other_time)
    assert not torch.allclose(out, other_class)
    assert not torch.allclose(out[:, :, 0], other_frame[:, :, 0])


def test_the_config_trains(tmp_path):
    words = ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "0", "--samples.every_n_steps", "0"]
    run = str(tmp_path / "run")
    assert main(["fit", "--config", str(CONFIG), "--trust", "$name", "--out", run, *words]) == 0
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
'''
