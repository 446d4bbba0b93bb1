"""From files to clips to batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videodiff.late import imported_late

if TYPE_CHECKING:
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

# The command line asks for some of it before it loads torch.
__getattr__ = imported_late(
    __name__,
    {
        "clips": (
            "ClipSource",
            "FolderSource",
        ),
        "datamodule": ("VideoDataModule",),
        "layouts": ("list_videos",),
        "pixels": (
            "to_float",
            "to_uint8",
        ),
        "presets": (
            "PRESETS",
            "Preset",
        ),
        "stream": (
            "BadDataError",
            "ClipDataset",
            "GlobalBatches",
        ),
        "synthetic": (
            "BouncingDigits",
            "DriftingClouds",
        ),
        "video_io": ("BadVideoError",),
    },
    at_once=True,
)
