"""The layers of I3D, batch norms folded into the convolutions (Carreira & Zisserman 2017, table and figure 3)."""

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


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of one axis: (front, back), the odd one behind."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around ``[B, C, T, H, W]``; right for max pools too, whose inputs are not negative."""
    pads = [same_padding(n, k, s) for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    flat = [side for pair in reversed(pads) for side in pair]
    return F.pad(x, flat) if any(flat) else x


def max_pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Max pool with SAME padding."""
    return F.max_pool3d(pad_same(x, kernel, stride), kernel, stride)


class Unit(nn.Module):
    """Convolution with SAME padding, bias (the folded batch norm) and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(pad_same(x, self.conv.kernel_size, self.conv.stride)).relu_()


class Mixed(nn.Module):
    """Four branches, concatenated."""

    def __init__(self, channels: int, b0: int, b1: tuple[int, int], b2: tuple[int, int], b3: int) -> None:
        super().__init__()
        self.b0 = Unit(channels, b0, 1)
        self.b1a, self.b1b = Unit(channels, b1[0], 1), Unit(*b1, 3)
        self.b2a, self.b2b = Unit(channels, b2[0], 1), Unit(*b2, 3)
        self.b3b = Unit(channels, b3, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = max_pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1)


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
        self.logits = nn.Conv3d(channels, 400, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last_3d)
        x = max_pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = max_pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            if name == "Mixed_4b":
                x = max_pool(x, (3, 3, 3), (2, 2, 2))
            elif name == "Mixed_5b":
                x = max_pool(x, (2, 2, 2), (2, 2, 2))
            x = self.get_submodule(name)(x)
        x = F.avg_pool3d(x, (2, 7, 7), 1)
        return self.logits(x).mean(dim=(2, 3, 4))

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
                value = folded(tensors, layer.removesuffix(".conv"), kind, eps)
            if value.shape != parameter.shape:
                raise ValueError(f"{name} has shape {list(value.shape)}, {list(parameter.shape)} wanted")
            state[name] = value.float()
        network.load_state_dict(state, assign=True)
        return network.to(memory_format=torch.channels_last_3d)


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
