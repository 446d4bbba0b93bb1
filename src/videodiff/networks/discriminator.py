"""Patch discriminators for adversarial training of autoencoders: one logit per patch of a frame or clip.

Isola et al. 2017 (PatchGAN) as in CompVis/taming-transformers:taming/modules/discriminator/model.py, and the pix2pixHD
form of Wang et al. 2018 that PVDM uses on frames and on clips (sihyun-yu/PVDM:losses/perceptual.py).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["batch", "group", "none"]


class PatchDiscriminator(nn.Module):
    """Convolutions of size 4, the first ``num_halvings`` with stride 2, then two with stride 1; LeakyReLU 0.2 between.

    The published ones use batch norm. It ties the clips of a batch together, so that two processes see other statistics
    than one (``trainer.sync_batchnorm`` cures that, on GPUs only), and so do accumulated batches; group norm does not.

    =====================  ====  =======  ====  ==========
    published              dims  padding  bias  parameters
    =====================  ====  =======  ====  ==========
    taming, LVDM           2     1        no     2,765,633
    pix2pixHD, PVDM frame  2     2        yes    2,766,529
    pix2pixHD, PVDM clip   3     2        yes   11,057,857
    =====================  ====  =======  ====  ==========

    Args:
        dims: 2 judges frames ``[N, 3, H, W]``, 3 clips ``[B, 3, T, H, W]`` (time is halved like height and width).
        width: channels of the first layer; they double at each further one, up to eight times that.
        num_halvings: layers with stride 2.
        norm: of the layers between the first and the last.
        padding: 1, or 2 which clips of few frames need.
        conv_bias: whether convolutions before a norm have a bias too.

    Raises:
        ValueError: for values outside those named.
    """

    def __init__(
        self,
        dims: Literal[2, 3] = 2,
        width: int = 64,
        num_halvings: int = 3,
        norm: Norm = "group",
        padding: Literal[1, 2] = 1,
        conv_bias: bool = False,
    ) -> None:
        super().__init__()
        if dims not in (2, 3) or padding not in (1, 2) or num_halvings < 1 or width < 1:
            raise ValueError(
                "discriminator: dims 2 or 3, padding 1 or 2, num_halvings and width of at least 1 are needed, "
                f"got {dims}, {padding}, {num_halvings} and {width}"
            )
        self.dims, self.padding = dims, padding
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        channels = [3, *(width * min(2**i, 8) for i in range(num_halvings + 1)), 1]
        layers = []
        self.strides: list[int] = []
        for i, (before, after) in enumerate(pairwise(channels)):
            outer = i in (0, len(channels) - 2)
            bias = outer or conv_bias or norm == "none"
            stride = 2 if i < num_halvings else 1
            layer: list[nn.Module] = [conv(before, after, 4, stride=stride, padding=padding, bias=bias)]
            if not outer:
                layer += make_norm(norm, after, dims)
            self.strides.append(stride)
            layers.append(nn.Sequential(*layer))
        self.layers = nn.ModuleList(layers)
        self.apply(initialise)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of every layer; the last are the logits of the patches, ``[N, 1, ...]``, high for real ones.

        Raises:
            ValueError: if the input is too small to be judged.
        """
        self.check(tuple(x.shape))
        features = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i < len(self.layers) - 1:
                x = F.leaky_relu(x, 0.2)
            features.append(x)
        return features

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse an input of another rank, or one that would vanish on the way."""
        if len(shape) != self.dims + 2:
            raise ValueError(
                f"a discriminator of {self.dims} dims takes {self.dims + 2} axes, got shape {shape}"
            )
        for size in shape[2:]:
            left = size
            for stride in self.strides:
                left = (left + 2 * self.padding - 4) // stride + 1
                if left < 1:
                    raise ValueError(
                        f"an axis of {size} is too short for the discriminator: lower num_halvings "
                        f"({len(self.layers) - 2}) or take padding 2"
                    )


def make_norm(kind: Norm, channels: int, dims: int) -> list[nn.Module]:
    """The norm layer, in a list that is empty for none.

    Raises:
        ValueError: for an unknown kind.
    """
    if kind == "group":
        return [nn.GroupNorm(math.gcd(32, channels), channels)]
    if kind == "batch":
        return [nn.BatchNorm2d(channels) if dims == 2 else nn.BatchNorm3d(channels)]
    if kind != "none":
        raise ValueError(f"norm must be batch, group or none, got {kind!r}")
    return []


def initialise(layer: nn.Module) -> None:
    """Convolutions N(0, 0.02), norms N(1, 0.02), as DCGAN and its followers."""
    if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, (nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm)):
        nn.init.normal_(layer.weight, 1.0, 0.02)
        nn.init.zeros_(layer.bias)
