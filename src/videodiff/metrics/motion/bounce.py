"""The best reflected straight line through a track: a triangle wave fitted on each axis."""

from __future__ import annotations

import torch
from torch import Tensor

PHASES = 48  # of the first grid, over one period
KEEP = 4  # candidates that are refined to the end
WALKS = 24
CHUNK = 2**23  # numbers that the first grid may hold at once


def triangle(phase: Tensor, room: float) -> Tensor:
    """Position between walls at 0 and `room` of a point that has flown `phase` pixels from 0."""
    return ((phase + room) % (2 * room) - room).abs()


def fit_bounce(
    track: Tensor, room: float, largest_offset: float, largest_speed: float
) -> tuple[Tensor, Tensor]:
    """Fit ``offset + triangle(middle + speed (t - (T - 1) / 2))`` to tracks of one axis by least squares.

    A grid over speed and phase, then halved steps around its best places; the offset has a closed form. The phase is
    taken at the middle of the clip, where it is not correlated with the speed.

    Args:
        track: positions in pixels, fp64 ``[N, T]``, finite.
        room: distance of the walls, above 0.
        largest_offset: the offset lies in ``[0, largest_offset]``.
        largest_speed: the speed lies in ``[0, largest_speed]``, in pixels per frame. (A triangle wave is even: the
            sign of the speed is that of the phase.)

    Returns:
        Velocity, whose sign is that of the first step (it changes at every wall), and root mean square residual, fp64
        ``[N]`` each, in pixels (per frame).
    """
    frames = track.shape[1]
    # A step of the speed moves the ends by at most an eighth of the room.
    num_speeds = max(2, int(4 * largest_speed * frames / room) + 2)
    speeds = torch.linspace(0, largest_speed, num_speeds, dtype=track.dtype, device=track.device)
    phases = torch.arange(PHASES, dtype=track.dtype, device=track.device) * (2 * room / PHASES)
    rows = max(1, CHUNK // (num_speeds * PHASES * frames))
    best = [_search(part, speeds, phases, room, largest_offset) for part in track.split(rows)]
    speed, phase, square = (torch.cat(parts) for parts in zip(*best, strict=True))
    # Of a whole step: a line that never bounces may as well have done so at the first frame.
    first, second = (triangle(phase + speed * (step - (frames - 1) / 2), room) for step in (0, 1))
    return torch.where(second >= first, speed, -speed), square.sqrt()


def _search(
    track: Tensor, speeds: Tensor, phases: Tensor, room: float, largest_offset: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Speed, phase and mean squared residual ``[N]``: a walk downhill from the best speed of every phase."""
    num = len(track)
    grid = torch.cartesian_prod(speeds, phases).expand(num, -1, -1)
    error = _error(track, grid, room, largest_offset).unflatten(1, (len(speeds), len(phases)))
    place = torch.stack([speeds[error.argmin(1)], phases.expand(num, -1)], 2)  # [N, K, 2]
    step = torch.stack([speeds[1] - speeds[0], phases[1] - phases[0]])
    around = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0]).to(track)] * 2) * step / 2  # [9, 2]
    for walk in range(WALKS):
        near = place[:, :, None] + around  # [N, K, 9, 2]
        near[..., 0].clamp_(0, speeds[-1].item())
        error = _error(track, near.flatten(1, 2), room, largest_offset).unflatten(1, near.shape[1:3])
        least, choice = error.min(2)
        place = near.gather(2, choice[:, :, None, None].expand(-1, -1, 1, 2))[:, :, 0]
        if walk % 2:  # two walks per size: a valley is rarely straight along an axis
            around = around / 2
        if walk == 5:
            kept = least.topk(KEEP, 1, largest=False).indices
            place = place.gather(1, kept[:, :, None].expand(-1, -1, 2))
    least, choice = _error(track, place, room, largest_offset).min(1)
    speed, phase = place[torch.arange(num), choice].unbind(1)
    return speed, phase, least


def _error(track: Tensor, place: Tensor, room: float, largest_offset: float) -> Tensor:
    """Mean squared residual ``[N, G]`` of tracks ``[N, T]`` for speeds and phases ``[N, G, 2]``."""
    time = torch.arange(track.shape[1], dtype=track.dtype, device=track.device) - (track.shape[1] - 1) / 2
    wave = triangle(place[..., 1:] + place[..., :1] * time, room)  # [N, G, T]
    difference = track[:, None] - wave
    offset = difference.mean(2, keepdim=True).clamp(0, largest_offset)
    return (difference - offset).square().mean(2)
