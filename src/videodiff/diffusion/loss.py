"""The training loss of one batch; times and noise come from the caller, so that they can be functions of a key."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from videodiff.diffusion.condition import Condition
from videodiff.diffusion.denoiser import Network, call_network
from videodiff.diffusion.prediction import Prediction, clip_through, prediction_target
from videodiff.diffusion.schedule import NoiseSchedule

Weighting = Literal["simple", "truncated_snr", "min_snr"]


def diffusion_loss(
    net: Network,
    schedule: NoiseSchedule,
    x: Tensor,
    eps: Tensor,
    t: Tensor,
    cond: Condition,
    prediction: Prediction = "v",
    weighting: Weighting = "simple",
    norm: Literal["l2", "l1"] = "l2",
    gamma: float = 5.0,
    clip: bool = False,
) -> Tensor:
    """Mean weighted error of the network's output against its target, ``[B]`` fp32.

    Args:
        net: ``(z, time, cond) -> output``.
        schedule: noise level of each time.
        x: data, ``[B, C, *S]``.
        eps: unit normal noise, ``[B, C, *S]``.
        t: times, ``[B]`` in [0, 1].
        cond: what the network is told.
        prediction: what the output means.
        weighting: see ``loss_weight``; the factor of a sample is the same for both norms.
        norm: squared or absolute error.
        gamma: cut of the min_snr weighting.
        clip: compare the estimate of x as a sampler that clips it to [-1, 1] will see it. What lies beyond the range
            costs nothing where the data are at its end, so a network need not hit black to make it: the best estimate
            E[x | z] is the same, as it lies in the range. Its prediction must be x.

    Raises:
        ValueError: if ``prediction``, ``weighting`` or ``norm`` is unknown, or ``clip`` is asked of a prediction of
            noise.
    """
    check_error(prediction, norm, clip)
    alpha, sigma = schedule.alpha_sigma(t, x.ndim)
    z = schedule.add_noise(x, eps, t)
    output = call_network(net, z, schedule.network_time(t), cond)
    error = (clip_through(output) if clip else output) - prediction_target(prediction, x, eps, alpha, sigma)
    error = error.square() if norm == "l2" else error.abs()
    return error.flatten(1).mean(1) * loss_weight(schedule.log_snr(t), prediction, weighting, gamma)


def check_error(prediction: Prediction, norm: str, clip: bool) -> None:
    """Raise ValueError for a norm that is not l1 or l2, or where clipping is asked of a prediction of noise."""
    if norm not in ("l1", "l2"):
        raise ValueError(f"norm must be l1 or l2, got {norm!r}")
    if clip and prediction != "x":
        raise ValueError(f"only a prediction of x can be clipped in the loss, got prediction {prediction!r}")


def loss_weight(
    log_snr: Tensor, prediction: Prediction, weighting: Weighting = "simple", gamma: float = 5.0
) -> Tensor:
    """Factor of each sample's error in the space of its own prediction, ``[B]``.

    ``truncated_snr`` weighs the error of x by max(SNR, 1) (Salimans & Ho 2022), ``min_snr`` by min(SNR,
    gamma) (Hang et al. 2023). As ``|eps error|^2 = SNR |x error|^2`` and ``|v error|^2 = (SNR + 1) |x
    error|^2``, the factor in another space is that, divided. Where SNR is 0 it is 1.

    Raises:
        ValueError: if the weighting is unknown.
    """
    snr = log_snr.exp()
    if weighting == "simple":
        return torch.ones_like(snr)
    if weighting == "truncated_snr":
        weight_of_x = snr.clamp(min=1.0)
    elif weighting == "min_snr":
        weight_of_x = snr.clamp(max=gamma)
    else:
        raise ValueError(f"weighting must be simple, truncated_snr or min_snr, got {weighting!r}")
    relation = {"x": torch.ones_like(snr), "eps": snr, "v": snr + 1.0}[prediction]
    return torch.where(snr == 0, torch.ones_like(snr), weight_of_x / relation)
