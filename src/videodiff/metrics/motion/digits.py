"""Exact figures of bouncing digits: is there a digit, does it fly straight, fast enough, and stay the same one?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from videodiff.metrics.features.evaluator import digit_reader
from videodiff.metrics.motion.arrays import Figures, check_clips, in_pieces
from videodiff.metrics.motion.bounce import fit_bounce
from videodiff.metrics.motion.locate import SIDE_SHARE, locate

LEAST_CONTRAST = 0.3
RADII = (0.2, 0.45)  # radius of gyration as a share of the digit's side; real ones have 0.25 .. 0.38
SPEEDS = (0.5, 2.0)  # of the generator, pixels per frame of a 32-pixel frame
SPEED_TOLERANCE = 0.02  # in the same unit; the fit is right to 0.001
LEAST_PRESENT = 0.5  # share of frames with a digit below which a track means nothing


def digit_motion(clips: Tensor, stride: int = 1, read: Callable[[Tensor], Tensor] | None = None) -> Figures:
    """Figures of each clip of one bouncing digit; every value is finite, whatever the clip shows.

    Args:
        clips: uint8 ``[B, T, H, W, 3]``, T at least 4, at least 16 x 16.
        stride: frames of the generator between two frames.
        read: logits ``[N, 10]`` of centred crops ``[N, 16, 16]``; None is the classifier of the package.

    Returns:
        Arrays ``[B]``:

        - ``present``: share of frames with one compact bright figure of a digit's size, 0..1.
        - ``residual``: root mean square distance of the centroid from the best reflected straight line, in pixels;
          the room of the generator (9/16 of the shorter side) for clips with a digit in less than half the frames.
        - ``speed``: of that line in pixels per frame, 0 for such clips.
        - ``velocity_x``, ``velocity_y``: along it in the first step, in pixels per frame to the right and down; 0 for
          such clips. A later bounce does not change them.
        - ``speed_in_range``: 1 if the generator has such speeds, else 0.
        - ``identity``: share of frames that show a digit and read as the same digit as the clip, 0..1.
        - ``digit``: what the clip reads as (mean logit of its frames with a digit), -1 for none.

    Raises:
        TypeError: if the clips are not uint8.
        ValueError: if their shape does not fit.
    """
    check_clips(clips, frames=4, size=16)
    return in_pieces(lambda part: _measure(part, stride, read or digit_reader()), clips)


def _measure(clips: Tensor, stride: int, read: Callable[[Tensor], Tensor]) -> Figures:
    height, width = clips.shape[2:4]
    size = min(height, width)
    figures = locate(clips)
    present = (
        (figures.contrast >= LEAST_CONTRAST) & (figures.radius >= RADII[0]) & (figures.radius <= RADII[1])
    )
    share = present.double().mean(1)
    traceable = share >= LEAST_PRESENT

    side = round(SIDE_SHARE * size)
    unit = size / 32 * stride
    fits = [
        fit_bounce(figures.centroid[..., axis], room, side, 1.5 * SPEEDS[1] * unit)
        for axis, room in enumerate((width - side, height - side))
    ]
    velocity, residuals = (torch.stack(both, 1) for both in zip(*fits, strict=True))  # [B, 2] each
    speed, residual = (torch.linalg.vector_norm(both, dim=1) for both in (velocity, residuals))
    velocity = torch.where(traceable[:, None], velocity, 0.0)
    in_range = (speed >= (SPEEDS[0] - SPEED_TOLERANCE) * unit) & (
        speed <= (SPEEDS[1] + SPEED_TOLERANCE) * unit
    )

    digit, identity = _identity(figures.crops, present, read)
    arrays = {
        "present": share,
        "residual": torch.where(traceable, residual, float(size - side)),
        "speed": torch.where(traceable, speed, 0.0),
        "velocity_x": velocity[:, 0],
        "velocity_y": velocity[:, 1],
        "speed_in_range": (in_range & traceable).double(),
        "identity": identity,
        "digit": digit,
    }
    return {name: value.numpy() for name, value in arrays.items()}


@torch.inference_mode()
def _identity(crops: Tensor, present: Tensor, read: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The clips' digits ``[B]`` (-1 for none) and the share of frames that show them ``[B]``."""
    logits = torch.cat([read(part) for part in crops.flatten(0, 1).split(1024)]).double()
    scores = torch.log_softmax(logits, 1).unflatten(0, crops.shape[:2]) * present[..., None]
    digit = scores.sum(1).argmax(1)
    same = (scores.argmax(2) == digit[:, None]) & present
    return torch.where(present.any(1), digit, -1), same.double().mean(1)
