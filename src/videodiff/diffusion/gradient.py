"""The estimate of a denoiser, with the gradient of a function of it through the network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from videodiff.diffusion.condition import Condition
from videodiff.diffusion.denoiser import Denoiser

_NO_GRADIENT = (
    "reconstruction guidance needs the gradient through the network, but none reaches z: build or load the network "
    "outside torch.inference_mode, and call it without no_grad inside"
)


def estimate_and_gradient(
    denoiser: Denoiser, z: Tensor, t: Tensor, cond: Condition, distance: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """``x`` of the denoiser at ``z_t`` and ``grad_z distance(x)``, both ``[B, C, *S]`` without a graph.

    Leaves ``torch.no_grad``, ``torch.inference_mode`` and autocast for itself.

    Raises:
        RuntimeError: if no gradient reaches ``z``.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(z.device.type, enabled=False):
        z, t, cond = z.detach().clone().requires_grad_(), t.clone(), cond.map(torch.clone)
        try:
            x = denoiser(z, t, cond)
            (gradient,) = torch.autograd.grad(distance(x), z)
        except RuntimeError as error:
            if "Inference tensors cannot be saved" in str(error) or "does not require grad" in str(error):
                raise RuntimeError(_NO_GRADIENT) from error
            raise
    return x.detach(), gradient
