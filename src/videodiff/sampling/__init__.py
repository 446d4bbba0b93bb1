"""What draws video, and how one longer than a clip is drawn: which windows, in which order."""

from videodiff.sampling.plans import Autoregressive, ClipByClip, Hierarchical, LongVideo
from videodiff.sampling.video_model import OnWindow, VideoModel, video_model

__all__ = [
    "Autoregressive",
    "ClipByClip",
    "Hierarchical",
    "LongVideo",
    "OnWindow",
    "VideoModel",
    "video_model",
]
