"""Locates the figure in a frame: contrast, centroid to a fraction of a pixel, size, and a centred crop."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE_SHARE = 7 / 16  # side of a digit as a share of the frame's
CROP = 16  # side of a crop in its own pixels; it spans 16/14 of a digit's side
TINY = 1e-12


@dataclass(frozen=True)
class Figures:
    """One figure per frame.

    Args:
        centroid: ``(x, y)`` in pixels, the centre of the upper left pixel is (0, 0); fp64 ``[B, T, 2]``. The middle of
            the frame where nothing stands out.
        contrast: brightest value above the ground (the frame's median), 0..1, ``[B, T]``.
        radius: radius of gyration of what is brighter than a quarter of the contrast, as a share of a digit's side,
            ``[B, T]``; 0 where nothing stands out. Digits have 0.2..0.4, noise over the frame about 0.9.
        crops: the figure, centroid in the middle and brightest value 1, fp32 ``[B, T, CROP, CROP]``.
    """

    centroid: Tensor
    contrast: Tensor
    radius: Tensor
    crops: Tensor


def locate(clips: Tensor) -> Figures:
    """The figure of each frame of uint8 clips ``[B, T, H, W, 3]``, bright on a darker ground.

    The centroid is taken of all light above the ground within 0.8 digit sides of a first guess: for a digit that was
    drawn with bilinear weights it moves exactly as the digit does, and grain far away does not pull at it.
    """
    gray = clips.flatten(0, 1).double().mean(-1) / 255  # [N, H, W], N = B T
    height, width = gray.shape[1:]
    side = SIDE_SHARE * min(height, width)
    light = (gray - gray.flatten(1).median(1).values[:, None, None]).clamp(min=0)
    contrast = light.amax((1, 2))
    x, y = torch.arange(width, dtype=torch.float64), torch.arange(height, dtype=torch.float64)
    x, y = x.to(gray.device), y.to(gray.device)

    bright = (light - 0.25 * contrast[:, None, None]).clamp(min=0)
    guess = _centroid(bright, x, y)
    near_x = (x - guess[:, :1]).abs() <= 0.8 * side
    near_y = (y - guess[:, 1:]).abs() <= 0.8 * side
    centroid = _centroid(light * near_y[:, :, None] * near_x[:, None, :], x, y)

    distance = (x - centroid[:, :1])[:, None, :] ** 2 + (y - centroid[:, 1:])[:, :, None] ** 2
    radius = ((bright * distance).sum((1, 2)) / bright.sum((1, 2)).clamp(min=TINY)).sqrt() / side
    crops = _crop(light / contrast.clamp(min=TINY)[:, None, None], centroid, side * CROP / 14)
    lead = clips.shape[:2]
    return Figures(
        centroid.unflatten(0, lead),
        contrast.unflatten(0, lead),
        radius.unflatten(0, lead),
        crops.unflatten(0, lead),
    )


def _centroid(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Centre of mass ``(x, y)`` of ``[N, H, W]``, the middle of the frame for an empty one; ``[N, 2]``."""
    mass = weights.sum((1, 2))
    centre = torch.stack([weights.sum(1) @ x, weights.sum(2) @ y], 1) / mass.clamp(min=TINY)[:, None]
    middle = torch.stack([x.mean(), y.mean()])
    return torch.where((mass > TINY)[:, None], centre, middle)


def _crop(frames: Tensor, centre: Tensor, span: float) -> Tensor:
    """Squares of `span` pixels around `centre`, bilinear, black outside; fp32 ``[N, CROP, CROP]``."""
    height, width = frames.shape[1:]
    offset = (torch.arange(CROP, device=frames.device) - (CROP - 1) / 2) * (span / CROP)
    x = (2 * (centre[:, :1] + offset) + 1) / width - 1  # pixel centres to [-1, 1] of the outer borders
    y = (2 * (centre[:, 1:] + offset) + 1) / height - 1
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1).float()
    return F.grid_sample(frames[:, None].float(), grid, align_corners=False)[:, 0]
