"""Known units of a latent as input: the network sees them, slightly noised, in their places (LVDM).

He et al. 2022, section 3.3: where the mask m is 1 the network is given ``z_s``, the known units at a low noise level s
("conditional latent perturbation"), elsewhere ``z_t``; the mask is joined on the channel axis. m = 0 everywhere is the
unconditional model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from videodiff.diffusion.condition import Condition
from videodiff.diffusion.denoiser import Denoiser, Network, call_network
from videodiff.diffusion.loss import Weighting, check_error, loss_weight
from videodiff.diffusion.prediction import Prediction, clip_through, prediction_target
from videodiff.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True, eq=False)
class KnownUnits:
    """The units of a training sample that are given.

    Args:
        mask: ``[B, 1, U, ...]`` bool, broadcastable to the latent; True where a unit is given.
        eps: noise on them, ``[B, C, U, ...]``.
        t: their time s, ``[B]`` in [0, 1].
        in_loss: whether their own denoising, from ``z_s``, is part of the loss, as in the published code.
    """

    mask: Tensor
    eps: Tensor
    t: Tensor
    in_loss: bool = False


def masked_diffusion_loss(
    net: Network,
    schedule: NoiseSchedule,
    x: Tensor,
    eps: Tensor,
    t: Tensor,
    cond: Condition,
    known: KnownUnits,
    prediction: Prediction = "v",
    weighting: Weighting = "simple",
    norm: Literal["l2", "l1"] = "l2",
    gamma: float = 5.0,
    clip: bool = False,
) -> Tensor:
    """``diffusion_loss`` with some units given: mean weighted error over the others, ``[B]`` fp32.

    With no unit given it is ``diffusion_loss``.

    Args:
        net: as the others, see ``diffusion_loss``.
        schedule: noise levels.
        x: data, ``[B, C, U, ...]``.
        eps: noise, ``[B, C, U, ...]``.
        t: times, ``[B]``.
        cond: what the network is told; its ``concat`` is the mask.
        known: what is given.
        prediction: what the output means.
        weighting: of each noise level t.
        norm: squared or absolute error.
        gamma: cut of the min_snr weighting.
        clip: compare clipped estimates of x, see ``diffusion_loss``.

    Raises:
        ValueError: if all units of a sample are given and none of them is in the loss (on a CPU; elsewhere the loss is
            not a number), ``norm`` is unknown, or ``clip`` is asked of a prediction of noise.
    """
    check_error(prediction, norm, clip)
    parts = []
    for noise, times in ((eps, t), (known.eps, known.t)):
        alpha, sigma = schedule.alpha_sigma(times, x.ndim)
        target = prediction_target(prediction, x, noise, alpha, sigma)
        parts.append((schedule.add_noise(x, noise, times), target))
    (z, target), (z_known, target_known) = parts
    z, target = torch.where(known.mask, z_known, z), torch.where(known.mask, target_known, target)
    output = call_network(net, z, schedule.network_time(t), cond)
    error = (clip_through(output) if clip else output) - target
    error = (error.square() if norm == "l2" else error.abs()).flatten(1)
    if not known.in_loss:
        counted = (~known.mask).expand_as(x).flatten(1)
        # Elsewhere the host would wait for the answer in every step; LVDM checks its counts when it is made.
        if x.device.type == "cpu" and not bool(counted.any(1).all()):
            raise ValueError("every unit of a sample is given: there is nothing to learn")
        error = error * counted * (counted.shape[1] / counted.sum(1, keepdim=True))
    return error.mean(1) * loss_weight(schedule.log_snr(t), prediction, weighting, gamma)


class GivenUnits(Denoiser):
    """Puts known units in their places before the network sees ``z``, wherever the condition's mask says so.

    Where the mask is 0 the network sees ``z`` alone, so that under classifier-free guidance, whose null condition has
    the mask 0, the unconditional estimate knows nothing of the given units.

    Args:
        denoiser: of the network.
        noised: the known units at their noise level, ``[B, C, U, ...]``; the others are not looked at.
    """

    def __init__(self, denoiser: Denoiser, noised: Tensor) -> None:
        self.denoiser, self.noised = denoiser, noised

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        if cond.concat is not None:
            copies = len(z) // len(self.noised)  # guidance asks for several estimates in one batch
            noised = self.noised.repeat(copies, *[1] * (z.ndim - 1))
            z = torch.where(cond.concat > 0, noised, z)
        return self.denoiser(z, t, cond)
