"""Files to clips to batches; imports nothing of ours but the seeds."""

from videodiff.data.clips import ClipSource, FolderSource
from videodiff.data.datamodule import VideoDataModule
from videodiff.data.pixels import to_float, to_uint8
from videodiff.data.stream import BadDataError, ClipDataset, GlobalBatches
from videodiff.data.synthetic import BouncingDigits, DriftingClouds
from videodiff.data.video_io import BadVideoError

__all__ = [
    "BadDataError",
    "BadVideoError",
    "BouncingDigits",
    "ClipDataset",
    "ClipSource",
    "DriftingClouds",
    "FolderSource",
    "GlobalBatches",
    "VideoDataModule",
    "to_float",
    "to_uint8",
]
