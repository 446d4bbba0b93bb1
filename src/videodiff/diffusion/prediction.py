"""Predictions of the network and the conversions between them; always in fp32 or better."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from videodiff.diffusion.schedule import NoiseSchedule

Prediction = Literal["eps", "x", "v", "flow"]
PREDICTIONS: tuple[str, ...] = ("eps", "x", "v", "flow")


def check_prediction(kind: str) -> None:
    """Raise ValueError unless ``kind`` is one of the four."""
    if kind not in PREDICTIONS:
        raise ValueError(f"prediction must be one of {', '.join(PREDICTIONS)}, got {kind!r}")


def check_end(kind: str, schedule: NoiseSchedule) -> None:
    """Refuse a kind of prediction that a schedule leaves without a meaning at t = 1.

    Raises:
        ValueError: if the kind is unknown, or is eps where the schedule ends without any signal.
    """
    check_prediction(kind)
    if kind == "eps" and schedule.has_zero_terminal_snr():
        raise ValueError(
            "prediction 'eps' cannot be used where alpha is 0 at t = 1: x = (z - sigma eps) / alpha divides by it; "
            "use prediction 'v', 'x' or 'flow', or a schedule that keeps some signal (zero_terminal_snr: false)"
        )


def prediction_target(kind: Prediction, x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What a network of this kind should say: ``[B, C, *S]``.

    ``v = alpha eps - sigma x`` (Salimans & Ho 2022), ``flow = eps - x`` (Lipman et al. 2023; Liu et al. 2023), whatever
    the schedule.
    """
    x, eps = _precise(x), _precise(eps)
    if kind == "eps":
        return eps
    if kind == "x":
        return x
    if kind == "flow":
        return eps - x
    check_prediction(kind)
    return alpha * eps - sigma * x


def to_x(kind: Prediction, output: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The estimate of x in a network's output at ``z = alpha x + sigma eps``: ``[B, C, *S]``.

    An eps-prediction is divided by alpha, so its error grows without bound as alpha goes to 0.
    """
    output, z = _precise(output), _precise(z)
    if kind == "x":
        return output
    if kind == "eps":
        return (z - sigma * output) / alpha
    if kind == "flow":
        return (z - sigma * output) / (alpha + sigma)
    check_prediction(kind)
    return (alpha * z - sigma * output) / power(alpha, sigma)


def to_eps(kind: Prediction, output: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The estimate of eps in a network's output at ``z = alpha x + sigma eps``: ``[B, C, *S]``."""
    output, z = _precise(output), _precise(z)
    if kind == "eps":
        return output
    if kind == "x":
        return (z - alpha * output) / sigma
    if kind == "flow":
        return (z + alpha * output) / (alpha + sigma)
    check_prediction(kind)
    return (sigma * z + alpha * output) / power(alpha, sigma)


def power(alpha: Tensor, sigma: Tensor) -> Tensor:
    """``alpha^2 + sigma^2``, and exactly 1 where rounding alone keeps it from 1: there the variance is preserved."""
    total = alpha.square() + sigma.square()
    rounding = 8 * torch.finfo(total.dtype).eps
    return torch.where((total - 1).abs() < rounding, torch.ones_like(total), total)


def velocity(x: Tensor, eps: Tensor, slopes: tuple[Tensor, Tensor]) -> Tensor:
    """``dz / dt = alpha' x + sigma' eps``, which flow matching of any path predicts; flow on the straight one.

    Args:
        x: data.
        eps: noise.
        slopes: alpha' and sigma' of the schedule (``NoiseSchedule.slopes``), broadcastable to ``x``. Networks whose
            time runs the other way, from noise to data, predict its negative.
    """
    return slopes[0] * x + slopes[1] * eps


def x_of_velocity(
    output: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, slopes: tuple[Tensor, Tensor]
) -> Tensor:
    """The estimate of x in a predicted velocity: ``(sigma' z - sigma w) / (alpha sigma' - alpha' sigma)``."""
    return (slopes[1] * z - sigma * output) / (alpha * slopes[1] - slopes[0] * sigma)


def eps_of_velocity(
    output: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, slopes: tuple[Tensor, Tensor]
) -> Tensor:
    """The estimate of eps in a predicted velocity: ``(alpha w - alpha' z) / (alpha sigma' - alpha' sigma)``."""
    return (alpha * output - slopes[0] * z) / (alpha * slopes[1] - slopes[0] * sigma)


def clamp_through(x: Tensor) -> Tensor:
    """``x`` clamped to [-1, 1], with the gradient of ``x`` itself: beyond the range it still leads back (STE)."""
    return x + (x.clamp(-1, 1) - x).detach()


def _precise(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
