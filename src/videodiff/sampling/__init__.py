"""Generating video: the interface, plans for long video, and pipelines of stages."""

from videodiff.sampling.call import OnWindow
from videodiff.sampling.pipeline import Pipeline
from videodiff.sampling.plans import Autoregressive, ClipByClip, Hierarchical, LongVideo, Rolling
from videodiff.sampling.stage import Stage
from videodiff.sampling.stage_model import StageModel
from videodiff.sampling.video_model import VideoModel, video_model

__all__ = [
    "Autoregressive",
    "ClipByClip",
    "Hierarchical",
    "LongVideo",
    "OnWindow",
    "Pipeline",
    "Rolling",
    "Stage",
    "StageModel",
    "VideoModel",
    "video_model",
]
