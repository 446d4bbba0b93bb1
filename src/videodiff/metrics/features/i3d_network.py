"""The layers of I3D, batch norms folded into the convolutions (Carreira & Zisserman 2017, table 1 and figure 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers3d import Unit, pool_frames, pool_volume

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
FIRST = "Conv3d_1a_7x7.conv3d.weight"
# Max pools in front of a layer: (time, height and width), the same for kernel and stride.
POOLS = {
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


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
        for name, layer in self._layers():
            if name == "logits":
                x = F.avg_pool3d(x, (2, 7, 7), 1)
            x = layer.volume(pool_volume(x, *POOLS[name]) if name in POOLS else x)
        return x.mean(dim=(2, 3, 4))

    def frames(self, clip: Tensor) -> Tensor:
        """One clip ``[3, T, H, W]`` -> ``[400]``."""
        x = clip.permute(1, 2, 3, 0).contiguous()
        for name, layer in self._layers():
            if name == "logits":  # averaged over pairs of frames and all pixels
                pooled = x.mean(dim=(1, 2), keepdim=True)
                x = (pooled[:-1] + pooled[1:]) / 2
            x = layer.frames(pool_frames(x, *POOLS[name]) if name in POOLS else x)
        return x.mean(dim=(0, 1, 2))

    def _layers(self) -> Iterator[tuple[str, Unit | Mixed]]:
        return cast("Iterator[tuple[str, Unit | Mixed]]", self.named_children())

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], eps: float) -> I3DNetwork:
        """The network from the tensors of ``i3d_pretrained_400.pt``, ``*.conv3d.weight`` and ``*.bn.*``.

        A batch norm after a convolution is a scale of its weights and a bias: computed in float64. All names may have
        the same prefix (``module.``).

        Raises:
            KeyError: for a missing tensor.
            ValueError: for a tensor of another shape.
        """
        with torch.device("meta"):
            network = cls()
        first = next((name for name in tensors if name.endswith(FIRST)), FIRST)
        prefix = first.removesuffix(FIRST)
        tensors = {
            name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)
        }
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
