"""The convolutional parts of three image networks, with torchvision's numbering so that its files fit.

Each function gives (layers, indices of the layers LPIPS taps, channels there).
"""

import torch
from torch import Tensor, nn

Trunk = tuple[nn.Sequential, tuple[int, ...], tuple[int, ...]]


class Fire(nn.Module):
    """A squeeze to few channels, then 1x1 and 3x3 kernels side by side (Iandola et al. 2016)."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu()


def alexnet() -> Trunk:
    """Krizhevsky 2014, "One weird trick"."""
    layers = [
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    ]  # fmt: skip
    return nn.Sequential(*layers), (1, 4, 7, 9, 11), (64, 192, 384, 256, 256)


def vgg16() -> Trunk:
    """Simonyan & Zisserman 2015, configuration D, up to the last convolution."""
    layers: list[nn.Module] = []
    taps, channels = [], 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        if layers:
            layers.append(nn.MaxPool2d(2, 2))
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        taps.append(len(layers) - 1)
    return nn.Sequential(*layers), tuple(taps), (64, 128, 256, 512, 512)


def squeezenet() -> Trunk:
    """Iandola et al. 2016, version 1.1; its pools round up."""
    layers = [
        nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(64, 16, 64), Fire(128, 16, 64), nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(128, 32, 128), Fire(256, 32, 128), nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
    ]  # fmt: skip
    return nn.Sequential(*layers), (1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512)


TRUNKS = {"alex": alexnet, "vgg": vgg16, "squeeze": squeezenet}
