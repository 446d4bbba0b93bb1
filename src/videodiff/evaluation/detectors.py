"""Detectors of a protocol: feature networks, and exact figures for the built-in data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videodiff.evaluation.protocol import Protocol

BUILT_IN = ("bouncing_digits", "drifting_clouds")
MOTION = "2"  # of the set of exact figures, in place of a checksum: references that hold fewer are made again


@dataclass
class Detector:
    """Something that turns clips into numbers.

    Args:
        name: as results call it.
        look: uint8 clips ``[B, T, H, W, 3]`` -> ``{name: [B, D] features or [B] figures}``, float arrays.
        min_frames: shortest clip it takes.
        prepare: loads the weights; returns their checksum, or None where there are none.
    """

    name: str
    look: Callable[[Tensor], dict[str, np.ndarray]]
    min_frames: int = 1
    prepare: Callable[[], str | None] = lambda: None

    def see(self, clips: Tensor) -> dict[str, np.ndarray]:
        """The numbers of a batch.

        Raises:
            ValueError: for a feature that is not finite.
        """
        return self.look(clips)


def build_detectors(
    protocol: Protocol,
    device: torch.device | str = "cpu",
    dataset: str | None = None,
    c3d: bool = False,
    weights: str | None = None,
) -> list[Detector]:
    """The detectors of a protocol; no weights are read before :attr:`Detector.prepare` or the first clip.

    Args:
        protocol: which network, and how it is fed.
        device: where it runs.
        dataset: a built-in set, whose exact figures are measured too.
        c3d: also run C3D, for the inception score of UCF-101.
        weights: file of the main network, in place of the usual search.
    """
    from videodiff.metrics import features
    from videodiff.metrics.features.evaluator import EvaluatorFeatures
    from videodiff.metrics.features.random import RandomFeatures

    if protocol.network == "i3d":
        main = features.I3DFeatures(weights=weights, eps=protocol.eps, resize=protocol.resize)
        found = [from_extractor("i3d", main, device)]
    elif protocol.network == "random":
        found = [from_extractor("random", RandomFeatures(), device)]
    else:
        found = [from_extractor("evaluator", EvaluatorFeatures(weights=weights), device)]
        found.append(from_extractor("random", RandomFeatures(), device))
        if dataset in BUILT_IN:
            part = slice(0, 10) if dataset == "bouncing_digits" else slice(10, None)
            logits = EvaluatorFeatures("logits", weights)
            found.append(from_extractor("evaluator_logits", logits, device, part))
            found.append(motion(dataset))
    if c3d or protocol.inception == "c3d":
        found.append(from_extractor("c3d", features.C3DFeatures(), device))
    return found


def prepare_all(detectors: Sequence[Detector]) -> tuple[list[Detector], dict[str, str | None], list[str]]:
    """Find the weights of all; the first must be there, the others may be missing.

    Returns:
        The detectors that can look, their checksums by name, and a line for each that cannot.

    Raises:
        FileNotFoundError: if the first has no weights; in one line that says where to get them.
    """
    kept: list[Detector] = []
    checksums: dict[str, str | None] = {}
    missing: list[str] = []
    for detector in detectors:
        try:
            checksums[detector.name] = detector.prepare()
        except FileNotFoundError as error:
            if not kept:
                raise
            missing.append(f"{detector.name} is left out: {error}")
            continue
        kept.append(detector)
    return kept, checksums, missing


def from_extractor(
    name: str, extractor: Any, device: torch.device | str = "cpu", part: slice = slice(None)
) -> Detector:
    """A :class:`~videodiff.metrics.features.FeatureExtractor` as a detector of one set of features, or part of them."""

    def look(clips: Tensor) -> dict[str, np.ndarray]:
        return {name: to_array(extractor(clips.to(device))[:, part])}

    def prepare() -> str | None:
        extractor.network(device)
        return extractor.weights_sha256

    return Detector(name, look, extractor.min_frames, prepare)


def to_array(values: Tensor) -> np.ndarray:
    """A tensor as a float array on the CPU."""
    return values.detach().float().cpu().numpy()


def motion(dataset: str) -> Detector:
    """Exact figures of a built-in set, one number a clip, by names such as ``digit_residual``."""
    from videodiff.metrics import motion as figures

    measure, prefix = {
        "bouncing_digits": (figures.digit_motion, "digit_"),
        "drifting_clouds": (figures.cloud_motion, "cloud_"),
    }[dataset]

    def look(clips: Tensor) -> dict[str, np.ndarray]:
        found = measure(clips)
        return {
            prefix + name: np.asarray(values, np.float64) for name, values in found.items() if name != "digit"
        }

    return Detector("motion", look, 4, lambda: MOTION)
