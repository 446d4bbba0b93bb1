"""Layers of the 3-D autoencoder: convolutions that keep sizes, over clips, single frames, or frames so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import FrameNorm

Size3 = tuple[int, int, int]
NormOver = Literal["clip", "frame"]
Temporal = Literal["centred", "none", "causal"]
LAYOUT = torch.channels_last_3d  # of activations and weights, from the first layer to the last


def same_padding(kernel: Sequence[int], stride: Size3) -> list[int]:
    """Padding for ``F.pad`` (last axis first) that makes a convolution return size / stride; the odd one goes left."""
    totals = [k - s for k, s in zip(kernel, stride, strict=True)]
    return [side for total in reversed(totals) for side in (total - total // 2, total // 2)]


class SamePadConv3d(nn.Conv3d):
    """A convolution whose borders repeat the outermost values; output size = input size / stride."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int | Size3, stride: Size3 = (1, 1, 1)
    ) -> None:
        super().__init__(channels, out_channels, kernel, stride)
        self.pad = same_padding(self.kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.pad, mode="replicate") if any(self.pad) else x)


class SamePadConvTranspose3d(nn.ConvTranspose3d):
    """A transposed convolution over an input with repeated borders; output size = input size * stride."""

    def __init__(self, channels: int, out_channels: int, kernel: int | Size3, stride: Size3) -> None:
        super().__init__(channels, out_channels, kernel, stride)
        self.padding = tuple(side - 1 for side in self.kernel_size)
        self.pad = same_padding(self.kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # the stride alone says how large it becomes
        return super().forward(F.pad(x, self.pad, mode="replicate"))


class Streamed(nn.Module):
    """A layer that sees frames so far: those before its input are the first one repeated, or what it is told they were.

    So a clip can go through a network in pieces, one after another, as if it were whole: :func:`in_pieces`.

    Attributes:
        reach: frames before a frame that it sees.
        past: those before its input, ``[B, C, reach, H, W]``; None at the start of a clip.
        is_streamed: keep in ``past`` what the next piece will see.
    """

    reach: int
    past: Tensor | None = None
    is_streamed: bool = False

    def with_past(self, x: Tensor) -> Tensor:
        """``[B, C, T, H, W]`` behind the frames before it."""
        if not self.reach:
            return x
        past = x[:, :, :1].expand(-1, -1, self.reach, -1, -1) if self.past is None else self.past
        x = torch.cat([past, x], dim=2)
        if self.is_streamed:
            self.past = x[:, :, x.shape[2] - self.reach :]
        return x


class CausalConv3d(SamePadConv3d, Streamed):
    """A convolution over a frame and those before it; of 1 + n stride frames it makes 1 + n."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int | Size3, stride: Size3 = (1, 1, 1)
    ) -> None:
        super().__init__(channels, out_channels, kernel, stride)
        self.reach = self.kernel_size[0] - 1
        self.pad[4:] = [0, 0]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.with_past(x))


class CausalConvTranspose3d(SamePadConvTranspose3d, Streamed):
    """A transposed convolution over a unit and those before it: the first unit is one frame, others as many as strides.

    A frame sees its own unit and earlier ones alone.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int | Size3, stride: Size3) -> None:
        super().__init__(channels, out_channels, kernel, stride)
        self.reach = (self.kernel_size[0] - 1) // stride[0]
        self.pad[4:] = [0, 0]

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # the stride alone says how large it becomes
        begins, kernel, stride = self.past is None, self.kernel_size[0], self.stride[0]
        x = F.pad(self.with_past(x), self.pad, mode="replicate")
        cut = kernel - (1 if begins else stride)  # of the frames at either end
        more = stride - 1 if begins else 0
        padding, added = (cut, *self.padding[1:]), (more, 0, 0)
        return F.conv_transpose3d(x, self.weight, self.bias, self.stride, padding, added)


class ClipNorm(FrameNorm):
    """Group norm of ``[B, C, T, H, W]``, in fp32 and in the layout of the input.

    Args:
        channels: C.
        over: "clip" takes statistics over a group's T, H and W, "frame" over its H and W.
    """

    def __init__(self, channels: int, over: NormOver) -> None:
        super().__init__(channels)
        self.eps, self.over = 1e-6, over

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # nothing is folded in
        if self.over == "clip":
            return super().forward(x.flatten(3)).view_as(x)  # [B, C, T, H W]
        frames = x.transpose(1, 2).flatten(0, 1)  # [B T, C, H, W]
        return super().forward(frames).unflatten(0, (len(x), -1)).transpose(1, 2)


@dataclass(frozen=True)
class Layers:
    """How layers see time.

    Args:
        over: of the norms.
        temporal: convolutions over a clip, none over time, or over the frames so far.
    """

    over: NormOver
    temporal: Temporal = "centred"

    def kernel(self, size: int) -> int | Size3:
        """Of a cube of the size, or of its one frame."""
        return (1, size, size) if self.temporal == "none" else size

    def conv(self, channels: int, out_channels: int, size: int, stride: Size3 = (1, 1, 1)) -> SamePadConv3d:
        """A convolution."""
        kind = CausalConv3d if self.temporal == "causal" else SamePadConv3d
        return kind(channels, out_channels, self.kernel(size), stride)

    def up(self, channels: int, out_channels: int, size: int, stride: Size3) -> SamePadConvTranspose3d:
        """A transposed convolution."""
        kind = CausalConvTranspose3d if self.temporal == "causal" else SamePadConvTranspose3d
        return kind(channels, out_channels, self.kernel(size), stride)

    def norm(self, channels: int) -> ClipNorm:
        """A norm."""
        return ClipNorm(channels, self.over)


class Residual(nn.Module):
    """Norm, SiLU, 3x3x3 convolution, twice; plus the input."""

    def __init__(self, channels: int, layers: Layers) -> None:
        super().__init__()
        self.norm_in, self.conv_in = layers.norm(channels), layers.conv(channels, channels, 3)
        self.norm_out, self.conv_out = layers.norm(channels), layers.conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_in(F.silu(self.norm_in(x)))
        return x + self.conv_out(F.silu(self.norm_out(y)))
