"""I3D on Kinetics-400, the network that FVD is defined with (Carreira & Zisserman 2017; Unterthiner et al. 2018)."""

from pathlib import Path
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from videodiff import reasons
from videodiff.weights import WeightFile, file_sha256, find_weights, load_tensors

from .base import FeatureExtractor
from .frozen import exact_fp32
from .i3d_network import I3DNetwork
from .resize import RULES, resize

I3D_WEIGHTS = WeightFile(
    name="I3D (Kinetics-400)",
    filenames=(
        "i3d_pretrained_400.pt",
        "i3d_kinetics400_rgb.safetensors",
        "i3d_kinetics400_rgb.fp16.safetensors",
    ),
    urls=(
        "https://github.com/songweige/TATS/raw/main/tats/fvd/i3d_pretrained_400.pt",
        "https://github.com/bytedance/pv3d/releases/download/v1.0.0/i3d_pretrained_400.pt",
    ),
)
SIZE, FRAMES_AT_ONCE = 224, 64
BLACK_WHITE = (
    151.392  # squared distance of the logits of 30 black and 30 white frames in the original TensorFlow code
)


class I3DFeatures(FeatureExtractor):
    """The 400 logits, averaged over time, before the softmax.

    The network of the public codes is the TF-Hub module ``deepmind/i3d-kinetics-400/1``; TensorFlow ran it with a
    batch-norm ``eps`` of 1e-3, the PyTorch ports of VideoGPT, TATS, DIGAN, PVDM and LVDM with 1e-5.

    Args:
        weights: file, or folder with it; by default it is looked for, see ``videodiff.weights.find_weights``.
        eps: of the batch norms.
        resize: to 224 x 224: "bilinear" both sides on their own, "crop" short side and centre crop, "tf1" both sides
            with TensorFlow 1's corner origin.
    """

    name = "i3d"
    dim = 400
    min_frames = 9

    def __init__(
        self,
        weights: str | None = None,
        eps: float = 1e-3,
        resize: Literal["bilinear", "crop", "tf1"] = "bilinear",
    ) -> None:
        super().__init__()
        if resize not in RULES:
            raise ValueError(f"resize must be one of {', '.join(RULES)}, got {resize!r}")
        if eps < 0:
            raise ValueError(f"eps must not be negative, got {eps}")
        self.weights, self.eps, self.resize = weights, eps, resize

    def build(self) -> nn.Module:
        path = find_weights(I3D_WEIGHTS, self.weights, check=check_black_and_white)
        network = load_i3d(path, self.eps)
        self.weights_sha256 = file_sha256(path)
        return network

    def extract(self, network: nn.Module, clips: Tensor) -> Tensor:
        frames = rearrange(clips, "b t h w c -> (b t) c h w")
        pieces = frames.split(FRAMES_AT_ONCE)  # large frames exist as floats only a few at a time
        frames = torch.cat([resize(piece.float() * (2 / 255) - 1, SIZE, self.resize) for piece in pieces])
        return network(rearrange(frames, "(b t) c h w -> b c t h w", b=len(clips)))


def load_i3d(path: str | Path, eps: float) -> I3DNetwork:
    """The network with a file's weights.

    Raises:
        ValueError: in one line, for a file with other tensors than I3D's.
    """
    tensors = load_tensors(path)
    try:
        return I3DNetwork.from_tensors(tensors, eps)
    except (KeyError, ValueError, RuntimeError) as err:
        raise ValueError(f"weights {path} are not those of I3D: {reasons.reason(err)}") from err


@torch.inference_mode()
def check_black_and_white(path: Path) -> None:
    """Refuse a file whose network does not tell 30 black from 30 white frames as the original does, within 0.5.

    Raises:
        ValueError: with the distance that it gives.
    """
    network = load_i3d(path, eps=1e-3)
    black, white = torch.full((1, 3, 30, SIZE, SIZE), -1.0), torch.ones(1, 3, 30, SIZE, SIZE)
    with exact_fp32("cpu"):
        distance = float((network(white) - network(black)).square().sum())
    if not abs(distance - BLACK_WHITE) < 0.5:
        raise ValueError(
            f"black and white clips are {distance:.2f} apart, in the original I3D {BLACK_WHITE:.2f}"
        )
