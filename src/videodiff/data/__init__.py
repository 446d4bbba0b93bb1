"""From files to clips to batches."""

from videodiff.data.clips import ClipSource, FolderSource
from videodiff.data.datamodule import VideoDataModule
from videodiff.data.layouts import list_videos
from videodiff.data.pixels import to_float, to_uint8
from videodiff.data.presets import PRESETS, Preset
from videodiff.data.stream import BadDataError, ClipDataset, GlobalBatches
from videodiff.data.synthetic import BouncingDigits, DriftingClouds
from videodiff.data.video_io import BadVideoError

__all__ = [
    "PRESETS",
    "BadDataError",
    "BadVideoError",
    "BouncingDigits",
    "ClipDataset",
    "ClipSource",
    "DriftingClouds",
    "FolderSource",
    "GlobalBatches",
    "Preset",
    "VideoDataModule",
    "list_videos",
    "to_float",
    "to_uint8",
]
