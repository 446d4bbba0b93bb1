"""Numbers about clips: feature networks, distances, scores. Usable without the rest of the package."""

from .distribution import DistributionMetric
from .features import LPIPS, C3DFeatures, EvaluatorFeatures, FeatureExtractor, I3DFeatures, RandomFeatures
from .frechet import InfinityFit, frechet_distance, frechet_distance_from_moments, frechet_infinity
from .frechet_intervals import frechet_difference_interval, frechet_infinity_interval, frechet_interval
from .inception import inception_score, softmax
from .intervals import Interval, mean_difference_interval, mean_interval, repeats_interval
from .kernel import kernel_distance
from .kernel_intervals import kernel_difference_interval, kernel_interval
from .moments import FeatureStats, read_record
from .reconstruction import psnr, ssim
from .video import (
    ContentDebiasedFVD,
    FrechetFrameDistance,
    FrechetVideoDistance,
    KernelVideoDistance,
    ReconstructionFVD,
)
from .video_pairs import PSNR, SSIM, LPIPSMetric, PairMetric
from .video_score import VideoInceptionScore

__all__ = [
    "LPIPS",
    "PSNR",
    "SSIM",
    "C3DFeatures",
    "ContentDebiasedFVD",
    "DistributionMetric",
    "EvaluatorFeatures",
    "FeatureExtractor",
    "FeatureStats",
    "FrechetFrameDistance",
    "FrechetVideoDistance",
    "I3DFeatures",
    "InfinityFit",
    "Interval",
    "KernelVideoDistance",
    "LPIPSMetric",
    "PairMetric",
    "RandomFeatures",
    "ReconstructionFVD",
    "VideoInceptionScore",
    "frechet_difference_interval",
    "frechet_distance",
    "frechet_distance_from_moments",
    "frechet_infinity",
    "frechet_infinity_interval",
    "frechet_interval",
    "inception_score",
    "kernel_difference_interval",
    "kernel_distance",
    "kernel_interval",
    "mean_difference_interval",
    "mean_interval",
    "psnr",
    "read_record",
    "repeats_interval",
    "softmax",
    "ssim",
]
