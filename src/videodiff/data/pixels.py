"""Pixels as tensors: the one conversion between uint8 and [-1, 1], the one resize, and sheets of clips."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videodiff.frame_size import FrameSize, Resolution

SIZE_TO_SEE, LARGEST_SHEET = (
    128,
    2048,
)  # pixels: of the shorter side of a clip on a sheet, of the longer of the sheet
FILTER = "torch bilinear antialias on uint8"


def to_float(video: Tensor) -> Tensor:
    """uint8 0..255 -> fp32 in [-1, 1], ``x / 127.5 - 1``; keeps shape, device and memory layout."""
    return video.to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(video: Tensor) -> Tensor:
    """Float in [-1, 1] -> uint8 0..255, clamped and rounded; the inverse of :func:`to_float` on its image."""
    return video.detach().to(torch.float32).add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def centre_part(frames: Tensor, size: FrameSize, pixel_aspect: float = 1.0) -> Tensor:
    """View of the largest centred part of ``[..., H, W, 3]`` that has the proportions of a size on the screen."""
    height, width = frames.shape[-3:-1]
    shown = min(float(height), width * pixel_aspect * (size.height / size.width))  # height of the part
    crop_h = max(1, min(height, round(shown)))
    crop_w = max(1, min(width, round(shown * (size.width / size.height) / pixel_aspect)))
    top, left = (height - crop_h) // 2, (width - crop_w) // 2
    return frames[..., top : top + crop_h, left : left + crop_w, :]


def resize_crop(frames: Tensor, resolution: Resolution, pixel_aspect: float = 1.0) -> Tensor:
    """Cut the largest centred part of a size's proportions out and scale it: ``antialias`` of the resize rules.

    The filter is torch's antialiased bilinear one on uint8 (a triangle as wide as the scale factor, Pillow's
    BILINEAR); smaller frames are enlarged by the same call.

    Args:
        frames: uint8 ``[..., H, W, 3]``.
        resolution: R, S: height and width of the result in pixels, one number for a square.
        pixel_aspect: width over height of one source pixel; proportions are those on the screen.

    Returns:
        uint8 ``[..., R, S, 3]``, contiguous.
    """
    size = FrameSize.of(resolution)
    return scaled(centre_part(frames, size, pixel_aspect), size)


def scaled(frames: Tensor, size: FrameSize) -> Tensor:
    """Whole frames uint8 ``[..., H, W, 3]`` brought to a size, whatever their proportions; contiguous."""
    height, width = frames.shape[-3:-1]
    if (height, width) == size:
        return frames.contiguous()
    flat = frames.reshape(-1, height, width, 3).permute(0, 3, 1, 2)
    small = F.interpolate(flat, tuple(size), mode="bilinear", antialias=True)
    return small.permute(0, 2, 3, 1).reshape(*frames.shape[:-3], *size, 3).contiguous()


def random_part(
    frames: Tensor, resolution: Resolution, smallest: float, draws: tuple[float, float, float]
) -> Tensor:
    """A part of frames that has their proportions, the same of all, scaled by :func:`resize_crop`.

    Args:
        frames: uint8 ``[..., H, W, 3]``, of the proportions of the result.
        resolution: R, S: height and width of the result in pixels, one number for a square.
        smallest: least height and width of the part, as a share of H and W in (0, 1].
        draws: numbers in [0, 1) that say how large, how far down and how far right.

    Returns:
        uint8 ``[..., R, S, 3]``, contiguous.
    """
    share = smallest + (1 - smallest) * draws[0]
    height, width = (max(1, round(full * share)) for full in frames.shape[-3:-1])
    top = int(draws[1] * (frames.shape[-3] - height + 1))
    left = int(draws[2] * (frames.shape[-2] - width + 1))
    return resize_crop(frames[..., top : top + height, left : left + width, :], resolution)


def as_frames(video: Tensor | np.ndarray) -> np.ndarray:
    """A clip as a contiguous uint8 array ``[T, H, W, 3]`` on the CPU.

    Raises:
        TypeError: if the clip is not uint8.
        ValueError: if it is not ``[T, H, W, 3]`` with at least one frame.
    """
    array = video.detach().cpu().numpy() if isinstance(video, Tensor) else np.asarray(video)
    if array.dtype != np.uint8:
        raise TypeError(f"video must be uint8 (use to_uint8), got {array.dtype}")
    if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape:
        raise ValueError(
            f"video must have the shape [T, H, W, 3] and at least one frame, got {list(array.shape)}"
        )
    return np.ascontiguousarray(array)


def video_grid(videos: Tensor, columns: int | None = None, padding: int = 2) -> Tensor:
    """Lay N clips out as one: a sheet filled row by row, white between clips and in unused places.

    Args:
        videos: uint8 ``[N, T, H, W, 3]``.
        columns: clips in a row; by default the sheet is about square.
        padding: width of the white lines in pixels.

    Returns:
        uint8 ``[T, rows * (H + padding) - padding, columns * (W + padding) - padding, 3]``.

    Raises:
        ValueError: if `videos` is no uint8 ``[N, T, H, W, 3]`` or `columns` is below 1.
    """
    if videos.dtype != torch.uint8 or videos.ndim != 5 or videos.shape[-1] != 3 or len(videos) == 0:
        raise ValueError(f"videos must be uint8 [N, T, H, W, 3], got {videos.dtype} {list(videos.shape)}")
    num, frames, height, width, _ = videos.shape
    columns = math.ceil(math.sqrt(num)) if columns is None else columns
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    columns = min(columns, num)
    rows = -(-num // columns)
    sheet_size = (rows * (height + padding) - padding, columns * (width + padding) - padding)
    sheet = videos.new_full((frames, *sheet_size, 3), 255)
    for i, clip in enumerate(videos):
        y, x = (i // columns) * (height + padding), (i % columns) * (width + padding)
        sheet[:, y : y + height, x : x + width] = clip
    return sheet


def scale_to_see(clip: Sequence[int], sheet: Sequence[int]) -> int:
    """The whole number by which a sheet of small clips is enlarged so that one sees them, at least 1.

    Args:
        clip: height and width of a clip on it, in pixels; its shorter side becomes at most :data:`SIZE_TO_SEE`.
        sheet: height and width of the sheet, which stays within :data:`LARGEST_SHEET`.
    """
    return max(1, min(SIZE_TO_SEE // min(clip), LARGEST_SHEET // max(sheet)))
