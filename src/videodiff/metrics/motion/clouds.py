"""Exact figures of drifting clouds: how they drift, how evenly, and whether the horizon stands still."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from videodiff.metrics.motion.arrays import Figures, check_clips, in_pieces
from videodiff.metrics.motion.locate import TINY

SKY = 0.75  # share of the rows, from the top, that is sky in every clip
HORIZON = (
    0.08,
    0.22,
)  # height of the ground as a share of the frame's height; the generator has 0.10 .. 0.20
LEAST_CONTRAST = 0.2  # of the sky above the ground
LEAST_TEXTURE = (
    0.004  # standard deviation of the sky's brightness, 1/255; below it nothing can be seen to move
)
LEAST_PRESENT = 0.5
SPEEDS = (
    0.3,
    1.5,
)  # of the generator, pixels per frame of a 32-pixel frame, along x; along y 0.35 times that
SLOPE = 0.35
SPEED_TOLERANCE = 0.15  # in the same unit; a drift along y is measured to 0.03 and divided by SLOPE
HIGHEST_FREQUENCY = 0.35  # cycles per pixel: the clouds have none above
LARGEST_SPREAD = 0.5  # in the same unit; beyond it the mean drift says nothing (real clips: 0.3)
WHITENING = 0.25  # weight of a frequency is its cross power to this power


def cloud_motion(clips: Tensor, stride: int = 1) -> Figures:
    """Figures of each clip of drifting clouds; every value is finite, whatever the clip shows.

    Args:
        clips: uint8 ``[B, T, H, W, 3]``, T at least 2, at least 16 x 16.
        stride: frames of the generator between two frames.

    Returns:
        Arrays ``[B]``:

        - ``drift_x``, ``drift_y``: mean drift of the sky in pixels per frame, to the right and down.
        - ``spread``: root mean square deviation of the drifts between neighbouring frames from their mean, in pixels
          per frame; a quarter of the frame's shorter side for clips without texture in the sky.
        - ``speed``: of the generator with such a drift: ``hypot(drift_x, drift_y / 0.35)``, in pixels per frame.
        - ``drift_in_range``: 1 if the drift is even (spread at most half a pixel of a 32-pixel frame) and the
          generator has such speeds, else 0.
        - ``horizon``: share of columns and frames with dark ground of the right height, 0..1.
        - ``horizon_error``: standard deviation of that height over time, mean over columns, in pixels; a fifth of the
          frame's shorter side for clips with a horizon in less than half of them.

    Raises:
        TypeError: if the clips are not uint8.
        ValueError: if their shape does not fit.
    """
    check_clips(clips, frames=2, size=16)
    return in_pieces(lambda part: _measure(part, stride), clips)


def _measure(clips: Tensor, stride: int) -> Figures:
    gray = clips.double().mean(-1) / 255  # [B, T, H, W]
    size = min(gray.shape[2:])
    sky = gray[:, :, : int(SKY * gray.shape[2])]
    sky = sky - sky.mean((1, 3), keepdim=True)  # the gradient of the air does not drift
    seen = sky.flatten(1).std(1) >= LEAST_TEXTURE
    drifts = phase_shift(sky[:, :-1], sky[:, 1:]) * seen[:, None, None]
    drift = drifts.mean(1)
    spread = (drifts - drift[:, None]).square().sum(2).mean(1).sqrt()
    unit = size / 32 * stride
    speed = torch.hypot(drift[:, 0], drift[:, 1] / SLOPE)
    in_range = (speed >= (SPEEDS[0] - SPEED_TOLERANCE) * unit) & (
        speed <= (SPEEDS[1] + SPEED_TOLERANCE) * unit
    )
    in_range &= spread <= LARGEST_SPREAD * unit

    height, share = ground_height(gray)
    error = height.std(1, correction=0).mean(1)
    arrays = {
        "drift_x": drift[:, 0],
        "drift_y": drift[:, 1],
        "spread": torch.where(seen, spread, size / 4),
        "speed": speed,
        "drift_in_range": (in_range & seen).double(),
        "horizon": share,
        "horizon_error": torch.where(share >= LEAST_PRESENT, error, size / 5),
    }
    return {name: value.numpy() for name, value in arrays.items()}


def phase_shift(before: Tensor, after: Tensor, refinements: int = 5) -> Tensor:
    """Shift ``(x, y)`` in pixels that leads from one picture to the other, by phase correlation.

    The peak of the correlation of the phases (Kuglin & Hines 1975) gives whole pixels; then a plane is fitted to the
    phases that are left, weighted by a low power of the cross power: strong frequencies alone would be pulled to zero
    by the window, which does not move.

    Args:
        before: pictures ``[..., H, W]`` of mean about zero.
        after: the same a frame later.
        refinements: of the fit.

    Returns:
        ``[..., 2]``; zero where a picture is empty.
    """
    height, width = before.shape[-2:]
    window = _window(height)[:, None] * _window(width)
    cross = torch.fft.fft2(after * window) * torch.fft.fft2(before * window).conj()
    ky, kx = torch.meshgrid(
        torch.fft.fftfreq(height, dtype=torch.float64),
        torch.fft.fftfreq(width, dtype=torch.float64),
        indexing="ij",
    )
    low = torch.hypot(kx, ky) <= HIGHEST_FREQUENCY
    power = cross.abs()
    peak = torch.fft.ifft2(cross / power.clamp(min=TINY) * low).real.flatten(-2).argmax(-1)
    y, x = peak // width, peak % width
    shift = torch.stack([x - width * (x > width // 2), y - height * (y > height // 2)], -1).double()

    weight = (power**WHITENING * low).flatten(-2)
    slope = -2 * math.pi * torch.stack([kx, ky], -1).flatten(0, 1)  # phase per pixel, [K, 2]
    normal = torch.einsum("...k,ki,kj->...ij", weight, slope, slope) + TINY * torch.eye(
        2, dtype=torch.float64
    )
    for _ in range(refinements):
        left = torch.angle(cross.flatten(-2) * torch.exp(-1j * (shift @ slope.T)))
        step = torch.linalg.solve(normal, torch.einsum("...k,...k,ki->...i", weight, left, slope))
        shift = shift + step
    return shift * (power.amax((-2, -1)) > TINY)[..., None]


def _window(size: int) -> Tensor:
    return torch.hann_window(size + 2, periodic=False, dtype=torch.float64)[1:-1]


def ground_height(gray: Tensor) -> tuple[Tensor, Tensor]:
    """Height of the dark ground ``[B, T, W]`` in pixels, and the share ``[B]`` of places where it is as it should be.

    A pixel counts as ground by its brightness between that of the lowest rows and of the sky just above the horizon.

    Args:
        gray: brightness in 0..1, ``[B, T, H, W]``.
    """
    rows = gray.shape[2]
    sky = gray[:, :, int(0.65 * rows) : int(0.78 * rows)].mean((1, 2))[:, None, None]  # [B, 1, 1, W]
    ground = gray[:, :, -max(1, int(0.06 * rows)) :].mean((1, 2, 3))[:, None, None, None]
    contrast = sky - ground
    lower = gray[:, :, int(SKY * rows) :]
    share = (sky - lower) / contrast.clamp(min=LEAST_CONTRAST)
    height = (2 * share - 0.5).clamp(0, 1).sum(2)  # clouds that darken the sky by a quarter count for nothing
    fits = (
        (height >= HORIZON[0] * rows) & (height <= HORIZON[1] * rows) & (contrast[:, :, 0] >= LEAST_CONTRAST)
    )
    return height, fits.double().mean((1, 2))
