"""The denoiser: it wraps a network with its time and prediction; guidance and samplers call it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from videodiff.diffusion.condition import Condition
from videodiff.diffusion.prediction import Prediction, check_end, to_x
from videodiff.diffusion.schedule import NoiseSchedule

Network = Callable[[Tensor, Tensor, Condition], Tensor]


class Denoiser(ABC):
    """The estimate of x at ``z_t``. Guidance wraps a denoiser and is one, so guidances stack."""

    @abstractmethod
    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """``z [B, C, *S]``, ``t [B]`` in [0, 1] -> estimate of x, ``[B, C, *S]`` in fp32."""

    def estimate(self, z: Tensor, t: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        """The estimate of x, and the same before it was clipped (published samplers keep the eps of that one)."""
        x = self(z, t, cond)
        return x, x


class NetworkDenoiser(Denoiser):
    """A denoiser out of a network.

    Args:
        net: ``(z, time, cond) -> output``, with ``time`` as the schedule's ``network_time`` gives it.
        schedule: noise level of each time.
        prediction: what the network's output means.

    Raises:
        ValueError: if the prediction is unknown, or is eps where the schedule ends without any signal.
    """

    def __init__(self, net: nn.Module, schedule: NoiseSchedule, prediction: Prediction) -> None:
        check_end(prediction, schedule)
        self.net, self.schedule, self.prediction = net, schedule, prediction

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        alpha, sigma = self.schedule.alpha_sigma(t, z.ndim)
        output = call_network(self.net, z, self.schedule.network_time(t), cond)
        return to_x(self.prediction, output, z, alpha, sigma)


def call_network(net: Network, z: Tensor, time: Tensor, cond: Condition) -> Tensor:
    """The network's output in fp32; its inputs (not the time) are given in the dtype of its weights."""
    weights = net.parameters() if isinstance(net, nn.Module) else ()
    dtype = next((weight.dtype for weight in weights if weight.is_floating_point()), z.dtype)
    if dtype != z.dtype:
        z, cond = z.to(dtype), cond.cast(dtype)
    output = net(z, time, cond)
    return output if output.dtype == torch.float64 else output.float()
