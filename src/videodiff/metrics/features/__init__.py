"""Frozen networks that turn clips into features, and LPIPS."""

from .base import FeatureExtractor
from .c3d import C3DFeatures
from .evaluator import EvaluatorFeatures
from .frozen import FrozenNetwork, exact_fp32
from .i3d import I3DFeatures
from .lpips import LPIPS
from .random import RandomFeatures

__all__ = [
    "LPIPS",
    "C3DFeatures",
    "EvaluatorFeatures",
    "FeatureExtractor",
    "FrozenNetwork",
    "I3DFeatures",
    "RandomFeatures",
    "exact_fp32",
]
