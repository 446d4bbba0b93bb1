"""Given units of a latent as network input, slightly noised, in their places (LVDM).

He et al. 2022, section 3.3: where the mask m is 1 the network is given ``z_s``, the known units at a low noise level s
("conditional latent perturbation"), elsewhere ``z_t``; the mask is joined on the channel axis. m = 0 everywhere is the
unconditional model. What is learnt of such a sample is in :func:`~videodiff.diffusion.loss.diffusion_loss`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from videodiff.diffusion.condition import Condition
from videodiff.diffusion.denoiser import Denoiser


class GivenUnits(Denoiser):
    """Puts given units in their places in ``z``, where the condition's mask says so, before the network runs.

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
