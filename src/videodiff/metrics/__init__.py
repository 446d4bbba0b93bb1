"""Metrics of clips: feature networks, distances, scores. Usable without the rest of the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videodiff.late import imported_late

if TYPE_CHECKING:
    from .directory import METRICS, MetricInfo, metric_info
    from .distribution import DistributionMetric
    from .features import LPIPS, C3DFeatures, EvaluatorFeatures, FeatureExtractor, I3DFeatures, RandomFeatures
    from .figure import ClipFigure
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
        FrechetInfinity,
        FrechetVideoDistance,
        KernelVideoDistance,
        ReconstructionFVD,
        StandardisedFrechetDistance,
    )
    from .video_pairs import PSNR, SSIM, LPIPSMetric, PairMetric
    from .video_score import VideoInceptionScore

__all__ = [
    "LPIPS",
    "METRICS",
    "PSNR",
    "SSIM",
    "C3DFeatures",
    "ClipFigure",
    "ContentDebiasedFVD",
    "DistributionMetric",
    "EvaluatorFeatures",
    "FeatureExtractor",
    "FeatureStats",
    "FrechetFrameDistance",
    "FrechetInfinity",
    "FrechetVideoDistance",
    "I3DFeatures",
    "InfinityFit",
    "Interval",
    "KernelVideoDistance",
    "LPIPSMetric",
    "MetricInfo",
    "PairMetric",
    "RandomFeatures",
    "ReconstructionFVD",
    "StandardisedFrechetDistance",
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
    "metric_info",
    "psnr",
    "read_record",
    "repeats_interval",
    "softmax",
    "ssim",
]

# The directory is asked for by what loads no torch, so everything is imported when it is asked for.
__getattr__ = imported_late(
    __name__,
    {
        "directory": ("METRICS", "MetricInfo", "metric_info"),
        "distribution": ("DistributionMetric",),
        "features": (
            "C3DFeatures",
            "EvaluatorFeatures",
            "FeatureExtractor",
            "I3DFeatures",
            "LPIPS",
            "RandomFeatures",
        ),
        "figure": ("ClipFigure",),
        "frechet": ("InfinityFit", "frechet_distance", "frechet_distance_from_moments", "frechet_infinity"),
        "frechet_intervals": ("frechet_difference_interval", "frechet_infinity_interval", "frechet_interval"),
        "inception": ("inception_score", "softmax"),
        "intervals": ("Interval", "mean_difference_interval", "mean_interval", "repeats_interval"),
        "kernel": ("kernel_distance",),
        "kernel_intervals": ("kernel_difference_interval", "kernel_interval"),
        "moments": ("FeatureStats", "read_record"),
        "reconstruction": ("psnr", "ssim"),
        "video": (
            "ContentDebiasedFVD",
            "FrechetFrameDistance",
            "FrechetInfinity",
            "FrechetVideoDistance",
            "KernelVideoDistance",
            "ReconstructionFVD",
            "StandardisedFrechetDistance",
        ),
        "video_pairs": ("LPIPSMetric", "PSNR", "PairMetric", "SSIM"),
        "video_score": ("VideoInceptionScore",),
    },
)
