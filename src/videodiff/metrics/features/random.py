"""Features of a fixed random network: no weights to find, no training, the same numbers everywhere."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videodiff.metrics.features.base import FeatureExtractor
from videodiff.seeding import key_to_seed

CHANNELS = (32, 32, 48)
STRIDES = ((1, 2, 2), (2, 2, 2), (2, 2, 2))
LARGEST = 64  # side that larger frames are brought to


class RandomNet(nn.Module):
    """Three random 3x3x3 convolutions with ReLU, and three figures of every channel of each.

    They are the mean, the standard deviation over places of the mean over time, and the standard deviation over time,
    averaged (as a variance) over places: the last one sees motion, which mean and total deviation hide.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        # RandomState is frozen by numpy: these numbers depend on no version of torch or numpy.
        rng = np.random.RandomState(key_to_seed("random features", seed) % 2**32)
        digest = hashlib.sha256()
        layers, before = [], 3
        for channels, stride in zip(CHANNELS, STRIDES, strict=True):
            layer = nn.Conv3d(before, channels, 3, stride, 1)
            weight = rng.standard_normal((channels, before, 3, 3, 3)) * (2 / (27 * before)) ** 0.5
            bias = 0.1 * rng.standard_normal(channels)
            assert layer.bias is not None  # a convolution has one unless told otherwise
            for target, values in ((layer.weight, weight), (layer.bias, bias)):
                values = values.astype("<f4")
                digest.update(values.tobytes())
                target.data = torch.from_numpy(values)
            layers.append(layer)
            before = channels
        self.layers = nn.ModuleList(layers)
        self.sha256 = digest.hexdigest()

    def forward(self, x: Tensor) -> Tensor:
        """Clips ``[B, 3, T, H, W]`` in [-1, 1] to ``[B, 336]``."""
        features = []
        for layer in self.layers:
            x = F.relu(layer(x))
            places = x.mean(2)
            features += [
                places.mean((2, 3)),
                places.std((2, 3), correction=0),
                x.var(2, correction=0).mean((2, 3)).sqrt(),
            ]
        return torch.cat(features, 1)


class RandomFeatures(FeatureExtractor):
    """A fixed random 3-D convolutional network, for "rand-FD" (``StandardisedFrechetDistance`` of ``video.py``).

    Clips of 8 x 8 pixels or more, of one frame too (whose motion is 0); frames with a side above 64 are brought to
    64 x 64, bilinear with antialiasing. A distance on these features says that clips differ, not how they look: it is
    never an FVD.

    Args:
        seed: of the network; a result names it.

    Raises:
        ValueError: for frames under 8 x 8 pixels.
    """

    dim = 3 * sum(CHANNELS)
    min_frames = 1

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.name = f"random-v1-seed{seed}"

    def build(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):  # layers draw weights when they are made; nobody shall notice
            network = RandomNet(self.seed)
        self.weights_sha256 = network.sha256
        return network

    def extract(self, network: nn.Module, clips: Tensor) -> Tensor:
        size = tuple(clips.shape[2:4])
        if min(size) < 8:
            raise ValueError(f"{self.name} needs frames of at least 8 x 8 pixels, got {size[0]} x {size[1]}")
        x = clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        if max(size) > LARGEST:
            frames = F.interpolate(
                x.transpose(1, 2).flatten(0, 1), (LARGEST, LARGEST), mode="bilinear", antialias=True
            )
            x = frames.unflatten(0, (len(clips), -1)).transpose(1, 2)
        return network(x)
