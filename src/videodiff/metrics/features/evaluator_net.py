"""The two small networks behind the built-in evaluator: one reads clips, one reads a single digit."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 32  # shorter side of a frame inside the clip network
NUM_CLASSES = 14  # ten digits, then four weathers
NUM_MOTIONS = 4  # mean |dx|, mean |dy|, mean dx, mean dy
DAMAGES = ("none", "noise", "blur", "shuffled", "frozen", "jitter", "cut", "mixed")
FEATURES = 128


class SpaceTimeBlock(nn.Module):
    """A convolution in space, then one over 3 frames, each with batch norm and ReLU (Tran et al. 2018, R(2+1)D).

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel: side of the spatial kernel.
        stride: in space.
        time_stride: in time.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, time_stride: int = 1
    ) -> None:
        super().__init__()
        self.space = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.space_norm = nn.BatchNorm2d(out_channels)
        self.time = nn.Conv2d(out_channels, out_channels, (3, 1), (time_stride, 1), (1, 0), bias=False)
        self.time_norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, H, W, C]`` to the same with T, H and W divided by the strides (rounded up)."""
        num_clips = x.shape[0]
        x = x.flatten(0, 1).permute(
            0, 3, 1, 2
        )  # a channels-last view; both convolutions are 2-D and copy nothing
        x = F.relu(self.space_norm(self.space(x)))
        height, width = x.shape[2:]
        x = x.permute(0, 2, 3, 1).reshape(num_clips, -1, height * width, x.shape[1])
        x = F.relu(self.time_norm(self.time(x.permute(0, 3, 1, 2))))  # [B, C, T, H W]
        return x.permute(0, 2, 3, 1).unflatten(2, (height, width))


class ClipNet(nn.Module):
    """Features of a clip and what they are trained to tell: content, motion, and kind of damage."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            SpaceTimeBlock(3, 24, 5, 2),
            SpaceTimeBlock(24, 48, 3, 2),
            SpaceTimeBlock(48, 96, 3, 2, time_stride=2),
            SpaceTimeBlock(96, 96, 3, 1),
        )
        self.embed = nn.Linear(2 * 96, FEATURES)
        self.content = nn.Linear(FEATURES, NUM_CLASSES)
        self.motion = nn.Linear(FEATURES, NUM_MOTIONS)
        self.damage = nn.Linear(FEATURES, len(DAMAGES))
        self.to(memory_format=torch.channels_last)

    def features(self, clips: Tensor) -> Tensor:
        """uint8 clips ``[B, T, H, W, 3]`` of any size to ``[B, 128]``; mean and maximum over places and times."""
        x = clips.float() / 127.5 - 1
        height, width = clips.shape[2:4]
        if (
            min(height, width) != SIZE
        ):  # its shorter side: squeezed to a square, 4 of 10 digits are read wrong
            scale = SIZE / min(height, width)
            size = round(height * scale), round(width * scale)
            frames = x.flatten(0, 1).permute(0, 3, 1, 2)
            frames = F.interpolate(frames, size, mode="bilinear", align_corners=False, antialias=True)
            x = frames.permute(0, 2, 3, 1).unflatten(0, clips.shape[:2])
        x = self.blocks(x).flatten(1, 3)  # [B, T H W, C]
        return self.embed(torch.cat([x.mean(1), x.amax(1)], 1))

    def heads(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits ``[B, 14]``, motion ``[B, 4]`` in pixels of a 32-pixel frame, damage logits ``[B, 8]``."""
        x = F.gelu(features)
        return self.content(x), self.motion(x), self.damage(x)


class DigitNet(nn.Module):
    """Logits ``[N, 10]`` of centred crops ``[N, 16, 16]`` in [0, 1] (``videodiff.metrics.motion.locate``)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.out = nn.Linear(32 * 16, 10)

    def forward(self, crops: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.first(crops[:, None])), 2)
        x = F.max_pool2d(F.relu(self.second(x)), 2)
        return self.out(x.flatten(1))
