"""The training loss of one batch; times and noise come from the caller, so that they can be functions of a key."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from videodiff.diffusion.condition import Condition
from videodiff.diffusion.denoiser import Network, call_network, split_variance
from videodiff.diffusion.prediction import Prediction, clamp_through, power, prediction_target
from videodiff.diffusion.schedule import NoiseSchedule, over_latent

Weighting = Literal["simple", "truncated_snr", "min_snr", "fused_snr", "flow"]

MAX_LOG_SNR = 60.0  # of weights, which would be infinite over infinite for clean data
SMALLEST_THETA = 0.05  # so that the flow weight of x is at most 400
SNR_DECAY = 0.96  # of what units tell of each other, from one to the next (Chen et al. 2024, appendix B.2)


@dataclass(frozen=True, eq=False)
class KnownUnits:
    """The units of a training sample that are given.

    Args:
        mask: ``[B, 1, U, ...]`` bool, broadcastable to the latent; True where a unit is given.
        eps: noise on them, ``[B, C, U, ...]``.
        t: their time s, ``[B]`` in [0, 1]. Where units have times of their own the network is told it; elsewhere its
            condition tells of it.
        in_loss: whether their own denoising, from ``z_s``, is part of the loss, as in the published code.
    """

    mask: Tensor
    eps: Tensor
    t: Tensor
    in_loss: bool = False


class Errors(NamedTuple):
    """What a network gets wrong in each place of a batch.

    Attributes:
        error: of each place, ``[B, C, *S]`` fp32.
        weight: of each sample, ``[B]``.
    """

    error: Tensor
    weight: Tensor

    def mean(self) -> Tensor:
        """The loss of each sample, ``[B]``."""
        return self.error.flatten(1).mean(1) * self.weight

    def of_units(self) -> Tensor:
        """The same of each unit of ``[B, C, U, ...]``: ``[B, U]``, whose mean over the units is that of the sample."""
        return self.error.transpose(1, 2).flatten(2).mean(2) * self.weight[:, None]


def diffusion_loss(*args: Any, **kwargs: Any) -> Tensor:
    """The loss of each sample, ``[B]`` fp32: the mean of :func:`diffusion_errors`, which has the arguments."""
    return diffusion_errors(*args, **kwargs).mean()


def diffusion_errors(
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
    clamp: bool = False,
    known: KnownUnits | None = None,
    is_causal: bool = False,
) -> Errors:
    """Weighted errors of the network's output against its target; of given units only if they say so.

    Args:
        net: ``(z, time, cond) -> output``. Of an output of twice the channels the half behind, a learnt variance, has
            no part in the loss, and no gradient.
        schedule: noise level of each time.
        x: data, ``[B, C, *S]``.
        eps: unit normal noise, ``[B, C, *S]``.
        t: times in [0, 1], ``[B]`` or of each unit ``[B, U]``.
        cond: the condition of the network.
        prediction: what the output means.
        weighting: see ``loss_weight``; the factor of a sample or unit is the same for both norms.
        norm: squared or absolute error.
        gamma: cut of the min_snr weighting.
        clamp: compare the estimate of x as a sampler that clamps it to [-1, 1] will see it. What lies beyond the range
            costs nothing where the data are at its end, so a network need not hit black to make it: the best estimate
            E[x | z] is the same, as it lies in the range. Its prediction must be x.
        known: units that are given: the network sees them at their own noise, and learns the others (He et al. 2022,
            section 3.3). Its mask is in ``cond.concat``.
        is_causal: whether no unit sees those behind it; see ``loss_weight``.

    Raises:
        ValueError: if ``prediction``, ``weighting`` or ``norm`` is unknown, ``clamp`` is asked of a prediction of
            noise, or all units of a sample are given and none of them is in the loss (on a CPU; elsewhere the loss is
            not a number).
    """
    if norm not in ("l1", "l2"):
        raise ValueError(f"norm must be l1 or l2, got {norm!r}")
    if clamp and prediction != "x":
        raise ValueError(f"only a prediction of x can be clamped in the loss, got prediction {prediction!r}")
    std = schedule.data_std
    if clamp and std != 1:
        raise ValueError(
            f"the loss clamps to [-1, 1], and this schedule takes data by {std}: leave clamp out"
        )

    def noised(eps: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = schedule.alpha_sigma(t, x.ndim)
        target = prediction_target(prediction, x if std == 1 else x / std, eps, alpha * std, sigma)
        return schedule.add_noise(x, eps, t), target

    z, target = noised(eps, t)
    if known is not None:
        z_known, target_known = noised(known.eps, known.t)
        z, target = torch.where(known.mask, z_known, z), torch.where(known.mask, target_known, target)
        if t.ndim == 2:
            is_known = known.mask.expand(len(t), 1, t.shape[1], *known.mask.shape[3:]).flatten(3)[:, 0, :, :1]
            t = torch.where(is_known.squeeze(2), known.t[:, None], t)
    output, _ = split_variance(call_network(net, z, schedule.network_time(t), cond), z)
    error = (clamp_through(output) if clamp else output) - target
    error = error.square() if norm == "l2" else error.abs()
    alpha, sigma = schedule.alpha_sigma(t)
    log_snr = schedule.log_snr(t) + 2 * math.log(std)
    weight = loss_weight(log_snr, prediction, weighting, gamma, power(alpha * std, sigma), is_causal)
    if t.ndim == 2:
        error, weight = error * over_latent(weight, x.ndim), weight.new_ones(len(t))
    if known is not None and not known.in_loss:
        counted = (~known.mask).expand_as(x)
        places = counted.flatten(1)
        # Elsewhere the host would wait for the answer in every step; LVDM checks its counts when it is made.
        if x.device.type == "cpu" and not bool(places.any(1).all()):
            raise ValueError("every unit of a sample is given: there is nothing to learn")
        error = error * counted * over_latent(places.shape[1] / places.sum(1), x.ndim)
    return Errors(error, weight)


def loss_weight(
    log_snr: Tensor,
    prediction: Prediction,
    weighting: Weighting = "simple",
    gamma: float = 5.0,
    total_power: Tensor | float = 1.0,
    is_causal: bool = False,
) -> Tensor:
    """Factor of each sample's or unit's error in the space of its own prediction, shaped as ``log_snr``.

    ``truncated_snr`` weighs the error of x by max(SNR, 1) (Salimans & Ho 2022), ``min_snr`` by min(SNR,
    gamma) (Hang et al. 2023), ``flow`` by ``1 / max(theta, 0.05)^2`` with ``theta = sigma / (alpha + sigma)``: the
    simple loss of a prediction of the flow, cut where one of x would be weighed without bound. As ``|eps error|^2 = SNR
    |x error|^2``, ``|v error|^2 = (alpha^2 + sigma^2) (SNR + 1) |x error|^2`` and ``|flow error|^2 = (1 + alpha /
    sigma)^2 |x error|^2``, the factor in another space is that, divided. Where SNR is 0 it is 1.

    ``fused_snr`` is min_snr for units with noise levels of their own, ``[B, U]``: what those before a unit tell of it
    counts as signal of it, less with every unit between (Chen et al. 2024, "Diffusion Forcing", appendix B.2). Units of
    a network that is not causal are told of by those behind them, too: the mean of both (Song et al. 2025).

    Args:
        log_snr: of each sample, ``[B]``, or unit, ``[B, U]``.
        prediction: the space of the error.
        weighting: as above; ``simple`` is 1 everywhere.
        gamma: of ``min_snr`` and ``fused_snr``.
        total_power: ``alpha^2 + sigma^2`` of each, 1 where the variance is preserved.
        is_causal: whether no unit sees those behind it; of ``fused_snr``.

    Raises:
        ValueError: if the weighting is unknown, or fused_snr of samples.
    """
    log_snr = log_snr.clamp(max=MAX_LOG_SNR)
    snr = log_snr.exp()
    if weighting == "simple":
        return torch.ones_like(snr)
    if weighting == "truncated_snr":
        weight_of_x = snr.clamp(min=1.0)
    elif weighting == "min_snr":
        weight_of_x = snr.clamp(max=gamma)
    elif weighting == "flow":
        weight_of_x = (-0.5 * log_snr).sigmoid().clamp(min=SMALLEST_THETA) ** -2
    elif weighting == "fused_snr":
        if snr.ndim != 2:
            raise ValueError("weighting fused_snr is of units with noise levels of their own, [B, U]")
        others = 1 - SNR_DECAY * told_by_others(snr.clamp(max=gamma) / gamma, is_causal)
        weight_of_x, snr = (
            gamma * (1 - others * (1 - own)) for own in (snr.clamp(max=gamma) / gamma, snr / gamma)
        )
        log_snr = snr.log()
    else:
        raise ValueError(
            f"weighting must be simple, truncated_snr, min_snr, fused_snr or flow, got {weighting!r}"
        )
    relation = {
        "x": torch.ones_like(snr),
        "eps": snr,
        "v": (snr + 1.0) * total_power,
        "flow": (1.0 + (0.5 * log_snr).exp()).square(),
    }[prediction]
    return torch.where(snr == 0, torch.ones_like(snr), weight_of_x / relation)


def told_by_others(signal: Tensor, is_causal: bool) -> Tensor:
    """What neighbours tell of each unit, ``[B, U]`` in [0, 1]: an average of their signal that decays with distance."""

    def before(signal: Tensor) -> Tensor:
        told = [torch.zeros_like(signal[:, 0]), signal[:, 0]]
        for own in signal.unbind(1)[1:-1]:
            told.append(SNR_DECAY * told[-1] + (1 - SNR_DECAY) * own)
        return torch.stack(told[: signal.shape[1]], dim=1)

    return before(signal) if is_causal else (before(signal) + before(signal.flip(1)).flip(1)) / 2
