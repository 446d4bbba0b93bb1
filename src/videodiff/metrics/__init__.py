"""Numbers about clips: feature networks, distances, scores. Usable without the rest of the package."""

from .features import FeatureExtractor, I3DFeatures

__all__ = ["FeatureExtractor", "I3DFeatures"]
