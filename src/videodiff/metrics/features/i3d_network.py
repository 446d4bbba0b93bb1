"""The layers of I3D, batch norms folded into the convolutions (Carreira & Zisserman 2017, table 1 and figure 3).

One set of weights runs in two layouts. On an accelerator a clip is a volume ``[B, C, T, H, W]`` and every layer is what
its name says. On a CPU a clip is its frames with channels last, ``[T, H, W, C]``: torch's 3-D max pool takes a third of
the time there and its 3-D convolutions leave the fast library for small inputs, so a 3x3x3 convolution is the sum of
three 2-D ones of shifted frames and a max pool is the maximum of shifted views, which is the same function.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Channels of the four branches of an inception block: 1x1x1; 1x1x1 then 3x3x3, twice; pooling then 1x1x1.
MIXED = {
    "Mixed_3b": (64, (96, 128), (16, 32), 32),
    "Mixed_3c": (128, (128, 192), (32, 96), 64),
    "Mixed_4b": (192, (96, 208), (16, 48), 64),
    "Mixed_4c": (160, (112, 224), (24, 64), 64),
    "Mixed_4d": (128, (128, 256), (24, 64), 64),
    "Mixed_4e": (112, (144, 288), (32, 64), 64),
    "Mixed_4f": (256, (160, 320), (32, 128), 128),
    "Mixed_5b": (256, (160, 320), (32, 128), 128),
    "Mixed_5c": (384, (192, 384), (48, 128), 128),
}
# Max pools in front of a layer: (time, height and width), the same for kernel and stride.
POOLS = {
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of one axis: (front, back), the odd one behind."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def pad_same(volume: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around ``[B, C, T, H, W]``; right for max pools too, whose inputs are not negative here."""
    pads = [same_padding(n, k, s) for n, k, s in zip(volume.shape[2:], kernel, stride, strict=True)]
    flat = [side for pair in reversed(pads) for side in pair]
    return F.pad(volume, flat) if any(flat) else volume


def pool_volume(volume: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Max pool of ``[B, C, T, H, W]`` with SAME padding."""
    return F.max_pool3d(pad_same(volume, kernel, stride), kernel, stride)


def pool_frames(frames: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Max pool of ``[T, H, W, C]`` with SAME padding, one axis after the other."""
    for axis, (size, step) in enumerate(zip(kernel, stride, strict=True)):
        if size > 1:
            frames = pool_axis(frames, axis, size, step)
    return frames


def pool_axis(x: Tensor, axis: int, kernel: int, stride: int) -> Tensor:
    """Running maximum along one axis; output ``i`` looks at ``stride * i - front + k`` for ``k < kernel``.

    Positions outside are left out instead of padded, and nothing is written but the output.
    """
    length = x.shape[axis]
    front, _ = same_padding(length, kernel, stride)
    count = -(-length // stride)
    out = x.narrow(axis, 0, length)[(slice(None),) * axis + (slice(None, None, stride),)].clone()
    for offset in range(-front, kernel - front):
        if offset == 0:
            continue
        first = -(-max(-offset, 0) // stride)  # outputs whose input at this offset exists: first <= i < last
        last = min(count, (length - 1 - offset) // stride + 1)
        if last > first:
            source = slice(first * stride + offset, (last - 1) * stride + offset + 1, stride)
            part = out.narrow(axis, first, last - first)
            torch.maximum(part, x[(slice(None),) * axis + (source,)], out=part)
    return out


class Unit(nn.Module):
    """Convolution with SAME padding, bias (the folded batch norm) and ReLU, with or without the ReLU.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel: along all three axes.
        stride: along all three axes.
        relu: False for the logits.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.relu = kernel, stride, relu
        # Time first, channels last: weight[i] is the channels-last 2-D kernel of one time tap.
        self.weight = nn.Parameter(torch.empty(kernel, out_channels, kernel, kernel, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))

    def volume(self, x: Tensor) -> Tensor:
        """``[B, C, T, H, W]`` -> the same, as one 3-D convolution in the memory layout of the input."""
        is_last = x.is_contiguous(memory_format=torch.channels_last_3d)
        layout = torch.channels_last_3d if is_last else torch.contiguous_format
        weight = self.weight.permute(1, 4, 0, 2, 3).contiguous(memory_format=layout)
        x = pad_same(x, (self.kernel,) * 3, (self.stride,) * 3)
        x = F.conv3d(x, weight, self.bias, self.stride)
        return x.relu_() if self.relu else x

    def frames(self, x: Tensor) -> Tensor:
        """``[T, H, W, C]`` -> the same, as a sum over time taps of 2-D convolutions."""
        if self.stride > 1:
            volume = self.volume(x.permute(3, 0, 1, 2)[None])
            return volume[0].permute(1, 2, 3, 0).contiguous()
        x = self.points(x) if self.kernel == 1 else self.taps(x)
        return x.relu_() if self.relu else x

    def points(self, x: Tensor) -> Tensor:
        """1x1x1: the rows of all frames are the batch, as single-threaded torch wants 16 for its fast library."""
        time, height, width, channels = x.shape
        if time * height < 16:
            return F.linear(x, self.weight.flatten(0, 3), self.bias)
        rows = x.view(time * height, 1, width, channels).permute(0, 3, 1, 2)
        out = F.conv2d(rows, self.weight[0].permute(0, 3, 1, 2), self.bias)
        return out.permute(0, 2, 3, 1).reshape(time, height, width, -1)

    def taps(self, x: Tensor) -> Tensor:
        """3x3x3: the middle tap sees every frame, the others the frame before and the frame after."""
        before, here, after = (tap.permute(0, 3, 1, 2) for tap in self.weight)
        images = x.permute(0, 3, 1, 2)
        out = F.conv2d(images, here, self.bias, padding=1)
        if len(x) > 1:
            out[1:] += F.conv2d(images[:-1], before, padding=1)
            out[:-1] += F.conv2d(images[1:], after, padding=1)
        return out.permute(0, 2, 3, 1)


class Mixed(nn.Module):
    """Four branches, concatenated."""

    def __init__(self, channels: int, b0: int, b1: tuple[int, int], b2: tuple[int, int], b3: int) -> None:
        super().__init__()
        self.b0 = Unit(channels, b0, 1)
        self.b1a, self.b1b = Unit(channels, b1[0], 1), Unit(*b1, 3)
        self.b2a, self.b2b = Unit(channels, b2[0], 1), Unit(*b2, 3)
        self.b3b = Unit(channels, b3, 1)

    def volume(self, x: Tensor) -> Tensor:
        """``[B, C, T, H, W]`` -> the same with the channels of all branches."""
        pooled = pool_volume(x, (3, 3, 3), (1, 1, 1))
        b1, b2 = self.b1b.volume(self.b1a.volume(x)), self.b2b.volume(self.b2a.volume(x))
        return torch.cat([self.b0.volume(x), b1, b2, self.b3b.volume(pooled)], dim=1)

    def frames(self, x: Tensor) -> Tensor:
        """``[T, H, W, C]`` -> the same with the channels of all branches."""
        pooled = pool_frames(x, (3, 3, 3), (1, 1, 1))
        b1, b2 = self.b1b.frames(self.b1a.frames(x)), self.b2b.frames(self.b2a.frames(x))
        return torch.cat([self.b0.frames(x), b1, b2, self.b3b.frames(pooled)], dim=-1)


class I3DNetwork(nn.Module):
    """Videos ``[B, 3, T, 224, 224]`` in [-1, 1], T >= 9 -> logits ``[B, 400]``, averaged over time."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        channels = 192
        for name, (b0, b1, b2, b3) in MIXED.items():
            self.add_module(name, Mixed(channels, b0, b1, b2, b3))
            channels = b0 + b1[1] + b2[1] + b3
        self.logits = Unit(channels, 400, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":
            return torch.stack([self.frames(clip) for clip in x])
        return self.volume(x)

    def volume(self, x: Tensor) -> Tensor:
        """``[B, 3, T, H, W]`` -> ``[B, 400]``."""
        for name, layer in self.named_children():
            if name == "logits":
                x = F.avg_pool3d(x, (2, 7, 7), 1)
            x = layer.volume(pool_volume(x, *POOLS[name]) if name in POOLS else x)
        return x.mean(dim=(2, 3, 4))

    def frames(self, clip: Tensor) -> Tensor:
        """One clip ``[3, T, H, W]`` -> ``[400]``."""
        x = clip.permute(1, 2, 3, 0).contiguous()
        for name, layer in self.named_children():
            if name == "logits":  # averaged over pairs of frames and all pixels
                pooled = x.mean(dim=(1, 2), keepdim=True)
                x = (pooled[:-1] + pooled[1:]) / 2
            x = layer.frames(pool_frames(x, *POOLS[name]) if name in POOLS else x)
        return x.mean(dim=(0, 1, 2))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], eps: float) -> I3DNetwork:
        """The network from the tensors of ``i3d_pretrained_400.pt``, ``*.conv3d.weight`` and ``*.bn.*``.

        A batch norm after a convolution is a scale of its weights and a bias: computed in float64.

        Raises:
            KeyError: for a missing tensor.
            ValueError: for a tensor of another shape.
        """
        with torch.device("meta"):
            network = cls()
        state = {}
        for name, parameter in network.state_dict().items():
            layer, kind = name.rsplit(".", 1)
            if layer == "logits":
                value = tensors[f"logits.conv3d.{kind}"].double()
            else:
                value = folded(tensors, layer, kind, eps)
            if kind == "weight":
                value = value.permute(2, 0, 3, 4, 1)
            if value.shape != parameter.shape:
                raise ValueError(f"{name} has shape {list(value.shape)}, {list(parameter.shape)} wanted")
            state[name] = value.float().contiguous()
        network.load_state_dict(state, assign=True)
        return network


def folded(tensors: Mapping[str, Tensor], layer: str, kind: str, eps: float) -> Tensor:
    """Weight or bias of a convolution and the batch norm behind it, float64; without ``bn.weight`` its scale is 1."""
    mean, var, shift = (
        tensors[f"{layer}.bn.{part}"].double() for part in ("running_mean", "running_var", "bias")
    )
    scale = (var + eps).rsqrt()
    if (gamma := tensors.get(f"{layer}.bn.weight")) is not None:
        scale = scale * gamma.double()
    if kind == "bias":
        return shift - mean * scale
    return tensors[f"{layer}.conv3d.weight"].double() * scale.view(-1, 1, 1, 1, 1)
