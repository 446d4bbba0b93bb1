"""Reconstruction guidance towards anything that can be measured of x, such as frames that a first stage decodes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from videodiff.diffusion.condition import Condition
from videodiff.diffusion.denoiser import Denoiser
from videodiff.diffusion.gradient import estimate_and_gradient

RELATIVE_STEP = 1e-3  # of |x|, over which the measurement is taken for linear to see how fast it changes


class MeasurementGuidance(Denoiser):
    """``x - weight * s * g`` with ``g = grad_z |A(x) - y|^2``: the estimate, moved towards ``A(x) = y``.

    The gradient goes through the network, as in reconstruction guidance (Ho et al. 2022, eq. 7; for a measurement A of
    any kind Chung et al. 2023, arXiv 2209.14687), so that what is not measured moves along. A weight that suits one
    decoder and noise level overshoots at another; the length s is instead the one that is best along g if A is linear
    (a Cauchy step), ``<A'g, A(x) - y> / |A'g|^2``, of each sample. It costs a backward pass through denoiser and
    measurement and a second measurement, with about the memory of a training step.

    Args:
        denoiser: estimate of x, ``[B, C, *S]``.
        measure: A, ``[B, C, *S]`` -> ``[B, ...]``, differentiable, each sample on its own.
        target: y, ``[B, ...]``.
        weight: 1 is the whole step, 0 is no guidance and costs nothing.

    Raises:
        ValueError: if the weight is negative or not finite. RuntimeError: from a call, if no gradient reaches z.
    """

    def __init__(
        self, denoiser: Denoiser, measure: Callable[[Tensor], Tensor], target: Tensor, weight: float = 1.0
    ) -> None:
        if not 0 <= weight < math.inf:
            raise ValueError(f"weight of a measurement must be at least 0, got {weight}")
        with torch.inference_mode(False):
            self.target = target.detach().clone()  # autograd keeps it, even one made under inference mode
        self.denoiser, self.measure, self.weight = denoiser, measure, weight

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        if self.weight == 0:
            return self.denoiser(z, t, cond)
        measured = []

        def distance(x: Tensor) -> Tensor:
            measured.append(self.measure(x))
            return (measured[0] - self.target).square().sum()

        x, gradient = estimate_and_gradient(self.denoiser, z, t, cond, distance)
        return x - self.weight * self._step(x, gradient, measured[0].detach())

    @torch.no_grad()
    def _step(self, x: Tensor, gradient: Tensor, measured: Tensor) -> Tensor:
        """``s g``: the Cauchy step, zero for samples without a gradient."""
        tiny = torch.finfo(x.dtype).tiny
        direction = gradient / _norm(gradient).clamp(min=tiny)
        h = RELATIVE_STEP * _norm(x).clamp(min=1)
        with torch.autocast(x.device.type, enabled=False):
            slope = (self.measure(x + h * direction) - measured) / _like(h, measured)
        error = measured - self.target
        length = (slope * error).flatten(1).sum(1) / slope.square().flatten(1).sum(1).clamp(min=tiny)
        return _like(length, x) * direction


def _norm(x: Tensor) -> Tensor:
    """Length of each sample, ``[B, 1, ...]``."""
    return _like(x.flatten(1).norm(dim=1), x)


def _like(values: Tensor, x: Tensor) -> Tensor:
    """``B`` numbers of whatever shape as ``[B, 1, ...]`` with the dimensions of ``x``."""
    return values.view(-1, *[1] * (x.ndim - 1))
