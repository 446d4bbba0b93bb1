"""Reads one video from a file, a picture, or a folder of frames."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from videodiff.data import video_io
from videodiff.data.entries import scan
from videodiff.frame_size import Resolution
from videodiff.say import counted


def read_one(path: str | Path, size: Resolution | None) -> Tensor:
    """A video, a picture or a folder of frames as uint8 ``[1, 3, T, H, W]``, cropped and resized to ``size`` if given.

    Raises:
        ValueError: for a folder that is not one video's frames, a file that cannot be read, or frames of several sizes.
    """
    path = Path(path)
    if path.is_dir():
        tree = scan(path)
        if len(tree.folders) != 1 or tree.videos:
            raise ValueError(
                f"{path}: {counted(len(tree.videos), 'video')} and {counted(len(tree.folders), 'folder')} of frames "
                "below it; give one video, one picture or one folder of frames"
            )
        folder = tree.folders[0]
        pictures = [video_io.read_image(Path(folder.path, name), size) for name in folder.frames]
        if len({picture.shape for picture in pictures}) > 1:
            raise ValueError(f"{path}: its frames are of several sizes")
        frames = torch.stack(pictures)
    elif path.suffix.lower() in video_io.IMAGE_SUFFIXES:
        frames = video_io.read_image(path, size)[None]
    else:
        frames = video_io.read_video(path, resolution=size)
    return frames.permute(3, 0, 1, 2)[None]
