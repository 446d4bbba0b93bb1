"""Frozen networks that turn clips into features, and LPIPS."""

from .base import FeatureExtractor
from .c3d import C3DFeatures
from .frozen import FrozenNetwork, exact_fp32
from .i3d import I3DFeatures
from .lpips import LPIPS

__all__ = ["LPIPS", "C3DFeatures", "FeatureExtractor", "FrozenNetwork", "I3DFeatures", "exact_fp32"]
