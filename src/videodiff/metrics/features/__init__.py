"""Frozen networks that turn clips into features, and LPIPS."""

from .base import FeatureExtractor, exact_fp32
from .i3d import I3DFeatures

__all__ = ["FeatureExtractor", "I3DFeatures", "exact_fp32"]
