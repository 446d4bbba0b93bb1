"""Video files in and out: the names of :mod:`video_read` and :mod:`video_write` in one place."""

from videodiff.data.pixels import resize_crop, to_float, to_uint8, video_grid
from videodiff.data.video_read import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    BadVideoError,
    VideoInfo,
    probe,
    read_clip,
    read_frames,
    read_image,
    read_video,
)
from videodiff.data.video_write import VideoWriter, gif_bytes, write_lossless, write_mp4

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "BadVideoError",
    "VideoInfo",
    "VideoWriter",
    "gif_bytes",
    "probe",
    "read_clip",
    "read_frames",
    "read_image",
    "read_video",
    "resize_crop",
    "to_float",
    "to_uint8",
    "video_grid",
    "write_lossless",
    "write_mp4",
]
