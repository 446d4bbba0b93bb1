"""Reads one video from a file, a picture, or a folder of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from videodiff.data import video_io
from videodiff.data.entries import scan
from videodiff.data.pixels import resize_crop
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


def read_mask(path: str | Path, size: Resolution) -> Tensor:
    """Where a picture, a video or a folder of frames is lighter than middle grey, or an array not 0, at a size.

    Args:
        path: the file or folder; ``.npy`` holds ``[T, H, W]`` or ``[H, W]`` of booleans or numbers.
        size: height and width; cropped and resized as the frames of a video are.

    Returns:
        ``[1, 1, T, H, W]`` bool.

    Raises:
        ValueError: as :func:`read_one`, or for an array of another shape or kind.
    """
    if Path(path).suffix.lower() != ".npy":
        frames = read_one(path, size)  # [1, 3, T, H, W]
        return frames.float().mean(1, keepdim=True) > 127.5
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}: no readable .npy array ({str(error).splitlines()[0]})") from error
    if array.ndim not in (2, 3) or array.dtype.kind not in "biuf" or 0 in array.shape:
        raise ValueError(
            f"{path}: a mask is an array [T, H, W] or [H, W] of booleans or numbers, got {array.dtype} "
            f"{list(array.shape)}"
        )
    white = torch.from_numpy((array != 0).reshape(-1, *array.shape[-2:]))
    shown = white.to(torch.uint8).mul(255).unsqueeze(-1).expand(-1, -1, -1, 3)
    return (resize_crop(shown, size)[..., 0] > 127)[None, None]


def read_vectors(path: str | Path) -> Tensor:
    """A row of numbers for each frame, from an array ``.npy`` or a table ``.csv`` without a head, fp32 ``[T, D]``.

    Raises:
        ValueError: for a file of another kind, or one that holds no such rows.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path, allow_pickle=False)
        else:
            array = np.loadtxt(path, delimiter=",", ndmin=2)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{path}: no array .npy and no table .csv of numbers ({str(error).splitlines()[0]})"
        ) from error
    if array.ndim != 2 or array.dtype.kind not in "biuf" or 0 in array.shape:
        raise ValueError(
            f"{path}: a row of numbers for each frame is [T, D], got {array.dtype} {list(array.shape)}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: not all of its numbers are finite")
    return torch.from_numpy(array.astype(np.float32))
