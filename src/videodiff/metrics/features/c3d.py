"""C3D on UCF-101, the network of the video inception score (Tran et al. 2015; Saito et al. 2020, "TGANv2")."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from videodiff import reasons
from videodiff.weights import WeightFile, file_sha256, find_weights, load_tensors

from .base import FeatureExtractor
from .layers3d import Unit, pool_frames, pool_volume

C3D_WEIGHTS = WeightFile(
    name="C3D (UCF-101)",
    filenames=("conv3d_deepnetA_ucf.npz", "c3d_ucf101.safetensors", "c3d_ucf101.pt"),
    urls=("https://github.com/rezoo/tgan2/releases/download/v1.0/conv3d_deepnetA_ucf.npz",),
)
C3D_MEAN = WeightFile(
    name="the mean clip of C3D",
    filenames=("mean2.npz",),
    urls=("https://github.com/rezoo/tgan2/releases/download/v1.0/mean2.npz",),
)
SIZE, CORNER, FRAMES = 112, 8, 16
# Layer: (in, out channels, max pool behind it or None).
CONVS = {
    "conv1a": (3, 64, (1, 2, 2)),
    "conv2a": (64, 128, (2, 2, 2)),
    "conv3a": (128, 256, None),
    "conv3b": (256, 256, (2, 2, 2)),
    "conv4a": (256, 512, None),
    "conv4b": (512, 512, (2, 2, 2)),
    "conv5a": (512, 512, None),
    "conv5b": (512, 512, (2, 2, 2)),
}
DENSE = {"fc6": (512 * 4 * 4, 4096), "fc7": (4096, 4096), "fc8": (4096, 101)}
NAME = re.compile(r"(?:^|[./])(conv[1-5][ab]?|fc[678])[./](weight|bias|W|b)$")


class C3DFeatures(FeatureExtractor):
    """The 101 logits of C3D v1.0, trained on Sports-1M and UCF-101; their softmax makes the inception score.

    The chain is TGANv2's (pfnet-research/tgan2:tgan2/models/c3d/c3d_ucf101.py): BGR, times 128, every frame to
    112 x 112 with aligned corners, plus 128 minus the mean clip.

    Args:
        weights: file, or folder with it: chainer's ``.npz``, or a state dict or TorchScript archive with layers named
            conv1a ... fc8; by default it is looked for, see ``videodiff.weights.find_weights``.
        mean: file with the array ``mean`` ``[3, 16, >= 120, >= 120]``, BGR in 0 ... 255; by default it is looked for.
    """

    name = "c3d"
    dim = 101
    min_frames = FRAMES

    def __init__(self, weights: str | None = None, mean: str | None = None) -> None:
        super().__init__()
        self.weights, self.mean = weights, mean

    def build(self) -> nn.Module:
        mean = find_weights(C3D_MEAN, self.mean, check=lambda path: shift(load_tensors(path)))
        path = find_weights(C3D_WEIGHTS, self.weights, check=lambda path: load_c3d(path, mean))
        network = load_c3d(path, mean)
        self.weights_sha256 = file_sha256(path)
        return network

    def extract(self, network: nn.Module, clips: Tensor) -> Tensor:
        if clips.shape[1] != FRAMES:
            raise ValueError(f"c3d takes clips of {FRAMES} frames, got {clips.shape[1]}")
        frames = rearrange(clips.flip(-1), "b t h w c -> (b t) c h w").float() * (256 / 255) - 128
        frames = F.interpolate(frames, size=(SIZE, SIZE), mode="bilinear", align_corners=True)
        return network(rearrange(frames, "(b t) c h w -> b c t h w", t=FRAMES))


class C3DNetwork(nn.Module):
    """BGR clips ``[B, 3, 16, 112, 112]``, 128 (x) for x in [-1, 1] -> logits ``[B, 101]``."""

    shift: Tensor
    fc6: nn.Linear
    fc7: nn.Linear
    fc8: nn.Linear

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(3, FRAMES, SIZE, SIZE))  # 128 - mean
        for name, (inputs, outputs, _) in CONVS.items():
            self.add_module(name, Unit(inputs, outputs, 3))
        for name, sizes in DENSE.items():
            self.add_module(name, nn.Linear(*sizes))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.shift
        x = torch.stack([self.frames(clip) for clip in x]) if x.device.type == "cpu" else self.volume(x)
        return self.fc8(self.fc7(self.fc6(x.flatten(1)).relu()).relu())

    def volume(self, x: Tensor) -> Tensor:
        """``[B, 3, 16, 112, 112]`` -> ``[B, 512, 1, 4, 4]``; padding behind is the pools' ceil mode (7 -> 4)."""
        for name, (_, _, pool) in CONVS.items():
            x = self._conv(name).volume(x)
            x = pool_volume(x, pool, pool) if pool else x
        return x

    def frames(self, clip: Tensor) -> Tensor:
        """One clip ``[3, 16, 112, 112]`` -> ``[512, 1, 4, 4]``."""
        x = clip.permute(1, 2, 3, 0).contiguous()
        for name, (_, _, pool) in CONVS.items():
            x = self._conv(name).frames(x)
            x = pool_frames(x, pool, pool) if pool else x
        return x.permute(3, 0, 1, 2)

    def _conv(self, name: str) -> Unit:
        return cast(Unit, self.get_submodule(name))


def load_c3d(path: Path, mean_path: Path) -> C3DNetwork:
    """The network with two files' weights and mean.

    Raises:
        ValueError: in one line, for a file with other tensors.
    """
    with torch.device("meta"):
        network = C3DNetwork()
    try:
        state = canonical(load_tensors(path))
        network.load_state_dict({**state, "shift": shift(load_tensors(mean_path))}, assign=True)
    except (ValueError, RuntimeError) as err:
        raise ValueError(
            f"weights {path} with mean {mean_path} are not those of C3D: {reasons.reason(err)}"
        ) from err
    return network


def canonical(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under our names.

    They come from chainer (``conv1a/W``) or a state dict with any prefix (``net.conv1a.weight``); ``conv1`` and
    ``conv2`` of some ports are ``conv1a`` and ``conv2a``.
    """
    state = {}
    for key, value in tensors.items():
        if (match := NAME.search(key)) is None:
            continue
        layer = match[1] + ("a" if match[1] in ("conv1", "conv2") else "")
        kind = {"W": "weight", "b": "bias"}.get(match[2], match[2])
        value = value.float()
        if kind == "weight" and layer in CONVS:
            value = value.permute(2, 0, 3, 4, 1).contiguous()
        state[f"{layer}.{kind}"] = value
    return state


def shift(tensors: Mapping[str, Tensor]) -> Tensor:
    """What TGANv2 adds to a clip: 128 less the middle of the mean clip.

    Raises:
        ValueError: for a mean of another shape.
    """
    if "mean" not in tensors:
        raise ValueError(f"an array called mean is wanted, got {', '.join(tensors)[:80]}")
    mean = tensors["mean"].float()
    middle = mean[..., CORNER : CORNER + SIZE, CORNER : CORNER + SIZE]
    if middle.shape != (3, FRAMES, SIZE, SIZE):
        raise ValueError(f"a mean [3, 16, >= 120, >= 120] is wanted, got {list(mean.shape)}")
    return 128 - middle
