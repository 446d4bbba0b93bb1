"""Numbers about clips: feature networks, distances, scores. Usable without the rest of the package."""

from .distribution import DistributionMetric
from .features import FeatureExtractor, I3DFeatures
from .frechet import frechet_distance, frechet_distance_from_moments
from .inception import inception_score, softmax
from .kernel import kernel_distance
from .moments import FeatureStats, read_record
from .video import (
    ContentDebiasedFVD,
    FrechetFrameDistance,
    FrechetVideoDistance,
    KernelVideoDistance,
    ReconstructionFVD,
)
from .video_score import VideoInceptionScore

__all__ = [
    "ContentDebiasedFVD",
    "DistributionMetric",
    "FeatureExtractor",
    "FeatureStats",
    "FrechetFrameDistance",
    "FrechetVideoDistance",
    "I3DFeatures",
    "KernelVideoDistance",
    "ReconstructionFVD",
    "VideoInceptionScore",
    "frechet_distance",
    "frechet_distance_from_moments",
    "inception_score",
    "kernel_distance",
    "read_record",
    "softmax",
]
