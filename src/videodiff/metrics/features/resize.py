"""Resizing of frames for the feature network as in FVD protocols; none of them antialiases.

Frames are ``[N, C, H, W]`` float. The three rules give visibly different distances (a corner-origin resize moves FVD
by tens), so a result names the one it used.
"""

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

RULES = ("bilinear", "crop", "tf1")


def resize(frames: Tensor, size: int, rule: str) -> Tensor:
    """Frames ``[N, C, H, W]`` -> ``[N, C, size, size]`` by one of ``RULES``."""
    return {"bilinear": squeeze, "crop": crop, "tf1": corner_origin}[rule](frames, size)


def squeeze(frames: Tensor, size: int) -> Tensor:
    """Both sides on their own, half-pixel centres (StyleGAN-V, TATS, LVDM)."""
    if frames.shape[-2:] == (size, size):
        return frames
    return F.interpolate(frames, size=(size, size), mode="bilinear", align_corners=False)


def crop(frames: Tensor, size: int) -> Tensor:
    """Short side to ``size``, half-pixel centres, then the centre (VideoGPT, DIGAN, PVDM)."""
    height, width = frames.shape[-2:]
    scale = size / min(height, width)
    target = (size, ceil(width * scale)) if height < width else (ceil(height * scale), size)
    if target != (height, width):
        frames = F.interpolate(frames, size=target, mode="bilinear", align_corners=False)
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return frames[..., top : top + size, left : left + size]


def corner_origin(frames: Tensor, size: int) -> Tensor:
    """TensorFlow 1's ``resize_bilinear``: pixel ``i`` is read at ``i * in / out`` (Unterthiner et al. 2018)."""
    return corner_origin_axis(corner_origin_axis(frames, size, -2), size, -1)


def corner_origin_axis(frames: Tensor, size: int, axis: int) -> Tensor:
    """One axis of ``corner_origin``; positions past the last pixel repeat it."""
    length = frames.shape[axis]
    position = torch.arange(size, device=frames.device, dtype=torch.float32) * (length / size)
    low = position.floor().long().clamp(max=length - 1)
    high = (low + 1).clamp(max=length - 1)
    weight = (position - low).to(frames.dtype)
    weight = weight if axis == -1 else weight[:, None]
    return torch.lerp(frames.index_select(axis, low), frames.index_select(axis, high), weight)
