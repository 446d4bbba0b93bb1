"""Residual blocks, norm and resampling on frames folded into the batch.

Every tensor here is ``[N, C, H, W]`` in channels-last memory, N frames of any number of videos, so that a 1x1 layer is
a Linear on a view and nothing is ever copied into another layout.
"""

from __future__ import annotations

import math
from typing import Literal, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from .embeddings import frame_by_frame
from .norms import modulated_group_norm

Resample = Literal["residual", "conv"]
Layer = TypeVar("Layer", bound=nn.Module)


def tokens(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` -> ``[N, H W, C]``, a view of channels-last memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def from_tokens(y: Tensor, height: int) -> Tensor:
    """``[N, H W, C]`` -> ``[N, C, H, W]``, a channels-last view."""
    return y.unflatten(1, (height, -1)).permute(0, 3, 1, 2)


def norm_groups(channels: int, most: int | None = None) -> int:
    """Groups of a group norm.

    A group of one channel is blind to the mean of what it normalises: the network cannot tell how bright a frame is,
    and its samples flicker in brightness and hue. Hence at least four channels to a group, as in EDM (Karras et al.
    2022). From 128 channels on this is the usual 32 groups.

    Args:
        channels: of the layer.
        most: ``gcd(most, channels)`` groups instead, however few channels that leaves: 32 in most published code.
    """
    if most is not None:
        return math.gcd(most, channels)
    return max(n for n in (1, 2, 4, 8, 16, 32) if n == 1 or (channels % n == 0 and channels >= 4 * n))


def set_norm_groups(network: nn.Module, most: int | None) -> None:
    """Give every group norm of a network ``norm_groups(channels, most)`` groups.

    Raises:
        ValueError: if ``most`` is below 1.
    """
    if most is not None and most < 1:
        raise ValueError(f"norm_groups must be at least 1, got {most}")
    for module in network.modules():
        if isinstance(module, FrameNorm):
            module.num_groups = norm_groups(module.num_channels, most)


class FrameNorm(nn.GroupNorm):
    """Group norm of each frame by itself, with a scale and shift of the caller folded in.

    Statistics of a whole clip would mix its frames, and leak still images into the videos they are trained with.
    Statistics and arithmetic are fp32 whatever autocast says; the result has the input's dtype and layout. There are
    ``norm_groups(channels)`` groups until ``set_norm_groups`` says otherwise.

    Args:
        channels: C.
        over_clip: take statistics over all frames of a clip after all, as the published LVDM does.
    """

    def __init__(self, channels: int, over_clip: bool = False) -> None:
        super().__init__(norm_groups(channels), channels)
        self.over_clip = over_clip

    def forward(
        self,
        x: Tensor,
        scale: Tensor | None = None,
        shift: Tensor | None = None,
        num_frames: int = 1,
        has_silu: bool = False,
    ) -> Tensor:
        """``norm(x) * (1 + scale) + shift``, and its SiLU if asked for.

        Args:
            x: ``[N, C, H, W]``.
            scale: ``[N, C]``, or ``[B, C]`` for all frames of B clips; or None.
            shift: as ``scale``.
            num_frames: T, the outer axis of N; matters for statistics over clips only, whose ``scale`` is ``[B, C]``.
            has_silu: end with a SiLU.
        """
        return self.normed(x, scale, shift, num_frames, has_silu, by_moments=x.device.type != "cpu")

    def by_moments(
        self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None, num_frames: int = 1
    ) -> Tensor:
        """The same with the variance from moments, as accelerators have it."""
        return self.normed(x, scale, shift, num_frames, by_moments=True)

    def normed(
        self,
        x: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        num_frames: int,
        has_silu: bool = False,
        by_moments: bool = False,
    ) -> Tensor:
        """Positions unfolded as the statistics need them, normed, folded again; views of channels-last memory."""
        y = tokens(x).unflatten(
            0, (num_frames if self.over_clip else 1, -1)
        )  # [T, B, H W, C] or [1, N, H W, C]
        if scale is not None and shift is not None and len(scale) != y.shape[1]:
            scale, shift = (m.repeat(y.shape[1] // len(scale), 1) for m in (scale, shift))
        y = modulated_group_norm(y, self, scale, shift, has_silu, by_moments)
        return from_tokens(y.flatten(0, 1), x.shape[2])


class PointwiseConv(nn.Linear):
    """A 1x1 convolution as a Linear on the channels-last view."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def zero_init(layer: Layer) -> Layer:
    """The layer with weight and bias at zero: what it feeds starts as if it were not there."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class ResBlock(nn.Module):
    """Norm, SiLU, 3x3 convolution, norm scaled and shifted by the embedding, SiLU, 3x3 convolution; plus the skip.

    The order of Dhariwal & Nichol 2021; the second convolution starts at zero. Resampling happens before the first
    convolution and on the skip: nearest neighbour up, 2x2 mean down.

    Args:
        channels: input channels.
        out_channels: output channels.
        embedding_dim: width of the embedding.
        dropout: probability, before the second convolution.
        resample: "up", "down" or None.
        over_clip: norms over clips instead of frames.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        embedding_dim: int,
        dropout: float = 0.0,
        resample: Literal["up", "down"] | None = None,
        over_clip: bool = False,
    ) -> None:
        super().__init__()
        self.resample = resample
        self.dropout = dropout
        self.norm_in = FrameNorm(channels, over_clip)
        self.conv_in = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.embedding = nn.Linear(embedding_dim, 2 * out_channels)
        self.norm_out = FrameNorm(out_channels, over_clip)
        self.conv_out = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = PointwiseConv(channels, out_channels) if channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """The block at a time, told through ``embedding`` (after its SiLU).

        Args:
            x: ``[T B, C, H, W]``.
            embedding: ``[B, E]``, or of each frame ``[T B, E]``; ``[T, B, E]`` where frames have times of their own.

        Returns:
            ``[T B, C_out, H', W']``.
        """
        if embedding.ndim == 3:
            num_frames, modulation = 1, frame_by_frame(self.embedding, embedding)
        else:
            num_frames, modulation = len(x) // len(embedding), self.embedding(embedding)
        y = self.norm_in(x, num_frames=num_frames, has_silu=True)
        x, y = self.resized(x), self.resized(y)
        scale, shift = modulation.chunk(2, dim=1)
        y = self.norm_out(self.conv_in(y), scale, shift, num_frames, has_silu=True)
        y = F.dropout(y, self.dropout, self.training)
        return self.skip(x) + self.conv_out(y)

    def resized(self, x: Tensor) -> Tensor:
        """``x`` at twice or half its size, or as it is."""
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.avg_pool2d(x, 2) if self.resample == "down" else x


class ConvResample(nn.Module):
    """The lighter way to another size: one 3x3 convolution, with stride 2 or after nearest-neighbour enlargement."""

    def __init__(self, channels: int, resample: Literal["up", "down"]) -> None:
        super().__init__()
        self.is_up = resample == "up"
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if self.is_up else 2, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> the same at twice or half the size; the embedding has no say."""
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest") if self.is_up else x)


def resampler(
    kind: Resample, channels: int, embedding_dim: int, dropout: float, direction: Literal["up", "down"]
) -> nn.Module:
    """The layer between two levels, called with ``(x, embedding)``."""
    if kind == "conv":
        return ConvResample(channels, direction)
    return ResBlock(channels, channels, embedding_dim, dropout, direction)
