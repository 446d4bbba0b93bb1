"""The evaluator that the package carries: features and classes of the built-in sets, with no download.

The weights were made by ``python scripts/train_evaluator.py``; the file's header holds the exact command, versions
and figures (:func:`evaluator_record`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from videodiff import placeholder
from videodiff.metrics.features.base import FeatureExtractor
from videodiff.metrics.features.evaluator_net import FEATURES, NUM_CLASSES, ClipNet, DigitNet
from videodiff.plain import parse_json
from videodiff.weights import file_sha256, load_tensors

WEIGHTS = Path(__file__).with_name("evaluator-v1.safetensors")
Net = TypeVar("Net", bound=nn.Module)


def evaluator_record(path: str | Path = WEIGHTS) -> dict[str, Any]:
    """Where a weights file comes from: ``name``, ``command``, ``versions`` and ``figures`` on the test split."""
    placeholder.refuse(path, but=())
    with safe_open(str(path), "pt") as file:
        return parse_json(file.metadata()["record"])


def load_part(prefix: str, net: Net, path: str | Path = WEIGHTS) -> Net:
    """Put the tensors under `prefix` into a network, fp32, ready for use.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if tensors are missing or do not fit.
    """
    tensors = {
        k.removeprefix(prefix): v.float() for k, v in load_tensors(path).items() if k.startswith(prefix)
    }
    wanted = {
        name: v.shape for name, v in net.state_dict().items() if not name.endswith("num_batches_tracked")
    }
    if {name: v.shape for name, v in tensors.items()} != wanted:
        raise ValueError(
            f"{path}: not the weights of the built-in evaluator; scripts/train_evaluator.py makes them"
        )
    net.load_state_dict(tensors, strict=False)  # a batch norm's count of batches is not stored
    return net.eval().requires_grad_(False)


@cache
def digit_reader() -> DigitNet:
    """The classifier of single digits, frozen, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        return load_part("digit.", DigitNet())


class EvaluatorNet(nn.Module):
    """The clip network with its features scaled to mean 0 and variance 1 over both built-in training sets."""

    mean: Tensor
    scale: Tensor

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.net = load_part("clip.", ClipNet(), path)
        tensors = load_tensors(path)
        self.register_buffer("mean", tensors["mean"].float())
        self.register_buffer("scale", tensors["scale"].float())

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled features ``[B, 128]``, class logits ``[B, 14]`` and motion ``[B, 4]``."""
        features = self.net.features(clips)
        logits, motion, _ = self.net.heads(features)
        return (features - self.mean) / self.scale, logits, motion


class EvaluatorFeatures(FeatureExtractor):
    """A small network trained on the built-in digits and clouds, for "evaluator-FD" and "evaluator-IS".

    It was trained to name the digit or the weather, to measure the motion, and to recognise kinds of damage. Clips of
    4 frames or more and of any size; the shorter side of frames is brought to 32 pixels, bilinear with antialiasing. It
    knows nothing but the two built-in sets, and a distance on its features is never an FVD.

    Args:
        output: ``features`` [B, 128], in units of their standard deviation over the training sets; ``logits`` [B, 14]
            of the ten digits and four weathers; ``motion`` [B, 4]: mean |dx|, mean |dy|, mean dx, mean dy in pixels
            per frame of a frame whose shorter side is 32.
        weights: a file of scripts/train_evaluator.py; None is the one in the package.

    Raises:
        ValueError: for another `output`, or a file that is not one of the evaluator.
    """

    min_frames = 4

    def __init__(
        self, output: Literal["features", "logits", "motion"] = "features", weights: str | None = None
    ) -> None:
        super().__init__()
        dims = {"features": FEATURES, "logits": NUM_CLASSES, "motion": 4}
        if output not in dims:
            raise ValueError(f"output must be one of {', '.join(dims)}, got {output!r}")
        self.output, self.weights, self.dim = output, weights, dims[output]
        self.name = "evaluator-v1" if output == "features" else f"evaluator-v1-{output}"

    def build(self) -> nn.Module:
        path = Path(self.weights) if self.weights else WEIGHTS
        with torch.random.fork_rng(devices=[]):  # layers draw weights when they are made; nobody shall notice
            network = EvaluatorNet(path)
        self.weights_sha256 = file_sha256(path)
        return network

    def extract(self, network: nn.Module, clips: Tensor) -> Tensor:
        return network(clips)[("features", "logits", "motion").index(self.output)]


def probabilities(logits: Tensor, classes: Literal["all", "digits", "weathers"] = "all") -> Tensor:
    """Class probabilities of the evaluator's logits ``[B, 14]``, float64; over one set's classes if asked."""
    part = {"all": slice(None), "digits": slice(0, 10), "weathers": slice(10, None)}[classes]
    return torch.softmax(logits.double()[:, part], 1)
