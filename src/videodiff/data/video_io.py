"""Input and output of videos and pictures: the functions that probe, read and write them, in one place."""

from videodiff.data.image_read import IMAGE_SUFFIXES, read_image
from videodiff.data.pixels import resize_crop, scale_to_see, to_float, to_uint8, video_grid
from videodiff.data.video_file import VIDEO_SUFFIXES, BadVideoError
from videodiff.data.video_probe import VideoInfo, probe
from videodiff.data.video_read import read_clip, read_frames, read_video
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
    "scale_to_see",
    "to_float",
    "to_uint8",
    "video_grid",
    "write_lossless",
    "write_mp4",
]
