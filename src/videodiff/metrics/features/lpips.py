"""LPIPS v0.1, the learned perceptual distance of two images (Zhang et al. 2018), without torchvision.

Over three small trunks: AlexNet (the usual one for reports), VGG16 (the usual one as a training loss), SqueezeNet.
"""

import importlib.util
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from videodiff import reasons
from videodiff.weights import WeightFile, file_sha256, find_weights, load_tensors

from .frozen import FrozenNetwork, exact_fp32
from .trunks import TRUNKS

TORCHVISION = {
    "alex": ("AlexNet", "alexnet-owt-7be5be79.pth", "7be5be79"),
    "vgg": ("VGG16", "vgg16-397923af.pth", "397923af"),
    "squeeze": ("SqueezeNet 1.1", "squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
}
LINEAR_SHA256 = {  # of the files in the package lpips 0.1.4
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    "squeeze": "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
}
MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of ImageNet, for images in [-1, 1]
SMALLEST = {"alex": 31, "vgg": 16, "squeeze": 17}  # pixels a side that reach the last tap


def trunk_file(net: str) -> WeightFile:
    """Torchvision's file of a trunk, or one that holds the linear layers as well."""
    name, filename, prefix = TORCHVISION[net]
    return WeightFile(
        name=f"LPIPS, {name}",
        filenames=(filename, f"lpips_{net}.safetensors", f"lpips_{net}.fp16.safetensors"),
        urls=(f"https://download.pytorch.org/models/{filename}",),
        sha256_prefix=prefix,
    )


def linear_file(net: str) -> WeightFile:
    """The linear layers on top of a trunk, as the lpips package carries them."""
    return WeightFile(
        name=f"the linear layers of LPIPS, {net}",
        filenames=(f"lpips_v0.1_{net}.pth",),
        urls=(
            f"https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/{net}.pth",
            f"https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/{net}.pth",
        ),
        sha256=LINEAR_SHA256[net],
    )


class LPIPS(FrozenNetwork):
    """Perceptual distance of pairs of images, differentiable in both.

    As a training loss assign it to an attribute like any module: it has no parameters of its own (see
    ``FrozenNetwork``), so that nothing of it is trained or written into checkpoints, and gradients pass through to
    the images. ``exact=False`` then lets the trunk run in the precision of the step.

    Args:
        net: trunk.
        weights: file, or folder with it: one with trunk and linear layers, or torchvision's (the linear layers are then
            looked for in the installed package ``lpips``); by default it is looked for.
        exact: fp32 whatever the surroundings, as numbers that are reported need; else ambient autocast holds.

    Raises:
        ValueError: for an unknown trunk.
    """

    def __init__(
        self, net: Literal["alex", "vgg", "squeeze"] = "alex", weights: str | None = None, exact: bool = True
    ) -> None:
        super().__init__()
        if net not in TRUNKS:
            raise ValueError(f"net must be one of {', '.join(TRUNKS)}, got {net!r}")
        self.net, self.weights, self.exact = net, weights, exact

    def build(self) -> nn.Module:
        path = find_weights(trunk_file(self.net), self.weights)
        network = load_lpips(self.net, path)
        self.weights_sha256 = file_sha256(path)
        return network

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances of image pairs.

        Args:
            x: ``[B, 3, H, W]`` in [-1, 1].
            y: the same shape; a target without gradient costs no memory for one.

        Returns:
            ``[B]`` fp32.

        Raises:
            ValueError: for other shapes, or images too small for the trunk.
        """
        smallest = SMALLEST[self.net]
        if x.shape != y.shape or x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < smallest:
            raise ValueError(
                f"LPIPS takes two batches [B, 3, H, W] with sides of at least {smallest}, "
                f"got {list(x.shape)} and {list(y.shape)}"
            )
        network = self.network(x.device)
        with exact_fp32(x.device.type) if self.exact else nullcontext():
            return network(x.float() if self.exact else x, y.float() if self.exact else y)

    def extra_repr(self) -> str:
        return f"{self.net}, exact={self.exact}"


class LPIPSNetwork(nn.Module):
    """Trunk and linear layers: squared differences of channel-normalised features, weighted, averaged and summed."""

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str) -> None:
        super().__init__()
        self.features, self.taps, channels = TRUNKS[net]()
        for k, count in enumerate(channels):
            self.add_module(f"lin{k}", nn.Conv2d(count, 1, 1, bias=False))
        self.register_buffer("shift", torch.empty(1, 3, 1, 1))
        self.register_buffer("scale", torch.empty(1, 3, 1, 1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        total = torch.zeros(len(x), dtype=torch.float32, device=x.device)
        for k, (a, b) in enumerate(zip(self.tapped(x), self.tapped(y), strict=True)):
            weighted = (unit(a) - unit(b)).square() * self.get_parameter(f"lin{k}.weight")  # autocast-proof
            total = total + weighted.sum(dim=1).mean(dim=(1, 2))  # [B]
        return total

    def tapped(self, images: Tensor) -> list[Tensor]:
        """Features ``[B, C, h, w]`` behind the layers that LPIPS looks at."""
        x = ((images - self.shift) / self.scale).contiguous(memory_format=torch.channels_last)
        found = []
        for index, layer in enumerate(self.features[: self.taps[-1] + 1]):
            x = layer(x)
            if index in self.taps:
                found.append(x)
        return found


def unit(features: Tensor) -> Tensor:
    """Channels divided by their norm plus 1e-10, in fp32 or finer; where all are zero, zero, and so is the gradient."""
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


def load_lpips(net: str, path: Path) -> LPIPSNetwork:
    """The network of a trunk's file, with the linear layers of the same file or of the lpips package.

    Raises:
        ValueError: in one line, for a file with other tensors.
    """
    tensors = {
        key: value for key, value in load_tensors(path).items() if key.startswith(("features.", "lin"))
    }
    if "lin0.weight" not in tensors:
        tensors |= linear_tensors(net)
    with torch.device("meta"):
        network = LPIPSNetwork(net)
    state = {key: value.float() for key, value in tensors.items()}
    state |= {"shift": torch.tensor(MEAN).view(1, 3, 1, 1), "scale": torch.tensor(STD).view(1, 3, 1, 1)}
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as err:
        raise ValueError(f"weights {path} are not those of LPIPS {net}: {reasons.reason(err)}") from err
    return network.to(memory_format=torch.channels_last)


def linear_tensors(net: str) -> dict[str, Tensor]:
    """``lin0.weight`` ... out of the installed lpips package, which is not imported, or the usual places."""
    spec = importlib.util.find_spec("lpips")
    folders = spec.submodule_search_locations if spec is not None else None
    packaged = [Path(folder) / "weights" / "v0.1" / f"{net}.pth" for folder in folders or ()]
    path = next((file for file in packaged if file.is_file()), None) or find_weights(linear_file(net))
    return {key.replace(".model.1", ""): value for key, value in load_tensors(path).items()}
