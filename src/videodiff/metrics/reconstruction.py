"""Fidelity of reconstructions: PSNR and SSIM, per clip, in float64.

uint8 clips are ``[B, T, H, W, 3]``; float clips are ``[B, 3, T, H, W]`` with their range told, and refused outside it.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
from torch import Tensor

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # Wang et al. 2004
SSIM_K1, SSIM_K2 = 0.01, 0.03


def unit_frames(clips: Tensor, value_range: tuple[float, float] | None = None, what: str = "clips") -> Tensor:
    """Clips as float64 ``[B, T, 3, H, W]`` in [0, 1]; on the CPU if their device has no float64.

    Args:
        clips: uint8 ``[B, T, H, W, 3]``, or float ``[B, 3, T, H, W]``.
        value_range: lowest and highest value of float clips, (-1, 1) for a model's; none for uint8.
        what: their name in a message.

    Raises:
        ValueError: for another shape, float clips without a range, or values outside it.
        TypeError: for other dtypes.
    """
    if clips.device.type == "mps":
        clips = clips.cpu()
    if clips.dtype == torch.uint8:
        if clips.ndim != 5 or clips.shape[-1] != 3 or 0 in clips.shape[1:]:
            raise ValueError(f"uint8 {what} must have the shape [B, T, H, W, 3], got {list(clips.shape)}")
        return clips.movedim(-1, 2).double() / 255
    if not clips.is_floating_point():
        raise TypeError(f"{what} must be uint8 or float, got {str(clips.dtype).removeprefix('torch.')}")
    if clips.ndim != 5 or clips.shape[1] != 3 or 0 in clips.shape[1:]:
        raise ValueError(f"float {what} must have the shape [B, 3, T, H, W], got {list(clips.shape)}")
    if value_range is None:
        raise ValueError(
            f"float {what} need value_range, (-1, 1) for a model's videos; or convert them to uint8"
        )
    low, high = value_range
    frames = clips.detach().movedim(1, 2).double()
    if frames.numel() and not (frames.min() >= low and frames.max() <= high):
        raise ValueError(
            f"{what} lie in [{frames.min():.3g}, {frames.max():.3g}], outside value_range [{low:g}, {high:g}]: "
            "clamp them, or name their range"
        )
    return (frames - low) / (high - low)


def frame_pairs(
    real: Tensor, generated: Tensor, value_range: tuple[float, float] | None = None
) -> tuple[Tensor, Tensor]:
    """Clips and reconstructions as two of ``[B, T, 3, H, W]`` in [0, 1].

    Raises:
        ValueError: if the shapes differ or a side is not as :func:`unit_frames` wants it.
    """
    if real.shape != generated.shape or real.dtype.is_floating_point != generated.dtype.is_floating_point:
        raise ValueError(
            f"clips and reconstructions must have one shape and kind, got {real.dtype} {list(real.shape)} "
            f"and {generated.dtype} {list(generated.shape)}"
        )
    return unit_frames(real, value_range), unit_frames(generated, value_range, "reconstructions")


def psnr(
    real: Tensor,
    generated: Tensor,
    reduce: Literal["clip", "frame"] = "clip",
    value_range: tuple[float, float] | None = None,
) -> Tensor:
    """Peak signal-to-noise ratio of each clip in dB, float64 ``[B]``; infinite for identical ones.

    Args:
        real: clips, see :func:`unit_frames`.
        generated: their reconstructions, same shape.
        reduce: ``clip`` takes the mean square over the whole clip (as PVDM reports), ``frame`` averages the dB of
            its frames, which is never less (Jensen) and infinite if one frame is identical.
        value_range: of float clips.

    Raises:
        ValueError: for unequal shapes, an unknown `reduce`, or values outside the range.
    """
    real, generated = frame_pairs(real, generated, value_range)
    error = (real - generated).square()
    if reduce == "clip":
        return -10 * error.flatten(1).mean(1).log10()
    if reduce == "frame":
        return -10 * error.flatten(2).mean(2).log10().mean(1)
    raise ValueError(f"reduce must be clip or frame, got {reduce!r}")


def ssim(real: Tensor, generated: Tensor, value_range: tuple[float, float] | None = None) -> Tensor:
    """Structural similarity of each clip, float64 ``[B]``: the mean over frames, channels and the valid region.

    Wang et al. 2004: Gaussian window of 11x11 with sigma 1.5, K1 0.01, K2 0.03. Windows that reach over the border
    are left out, as in scikit-image with ``gaussian_weights=True, use_sample_covariance=False``; with reflected
    borders (torchmetrics) the value is another.

    Args:
        real: clips, see :func:`unit_frames`.
        generated: their reconstructions, same shape.
        value_range: of float clips.

    Raises:
        ValueError: for unequal shapes, frames below 11 pixels, or values outside the range.
    """
    real, generated = frame_pairs(real, generated, value_range)
    if min(real.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs frames of at least 11x11 pixels, got {real.shape[-2]}x{real.shape[-1]}")
    values = [
        _ssim_map(x, y).mean() for x, y in zip(real, generated, strict=True)
    ]  # one clip at a time: memory
    return torch.stack(values) if values else real.new_zeros(0)


def _ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """``[T, 3, H, W]`` twice -> ``[T, 3, H - 10, W - 10]``."""
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))


def _blur(frames: Tensor) -> Tensor:
    """Gaussian means over all 11x11 windows inside the frames: one weighted sum of shifts along each axis."""
    radius = SSIM_WINDOW // 2
    weights = [math.exp(-0.5 * (k / SSIM_SIGMA) ** 2) for k in range(-radius, radius + 1)]
    for dim in (-1, -2):
        size = frames.shape[dim] - SSIM_WINDOW + 1
        total = torch.zeros_like(frames.narrow(dim, 0, size))
        for start, weight in enumerate(weights):
            total.add_(frames.narrow(dim, start, size), alpha=weight / sum(weights))
        frames = total
    return frames


def mean_of_clips(values: Tensor, name: str) -> Tensor:
    """Mean over clips; warns when some are infinite (a reconstruction that equals its clip)."""
    infinite = int(values.isinf().sum())
    if infinite:
        warnings.warn(
            f"{infinite} of {len(values)} reconstructions equal their clips: {name} is infinite", stacklevel=4
        )
    return values.mean()
