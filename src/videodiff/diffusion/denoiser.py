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

    @property
    def fraction(self) -> Tensor | None:
        """Where between its two bounds the log variance of the step at the last ``z`` lies, ``[B, C, *S]`` from 0 to 1.

        None unless the network has learnt it; a denoiser around another has that one's.
        """
        inner = getattr(self, "denoiser", None)
        return inner.fraction if isinstance(inner, Denoiser) else None


class NetworkDenoiser(Denoiser):
    """A denoiser out of a network.

    Args:
        net: ``(z, time, cond) -> output``, with ``time`` as the schedule's ``network_time`` gives it. An output of
            twice the channels of ``z`` has the learnt variance behind the prediction, ``v`` in about -1 to 1, whose
            ``fraction`` is ``(v + 1) / 2`` (Nichol & Dhariwal 2021, eq. 15).
        schedule: noise level of each time.
        prediction: what the network's output means.

    Raises:
        ValueError: if the prediction is unknown, or is eps where the schedule ends without any signal.
    """

    def __init__(self, net: nn.Module, schedule: NoiseSchedule, prediction: Prediction) -> None:
        check_end(prediction, schedule)
        self.net, self.schedule, self.prediction = net, schedule, prediction
        self.variance: Tensor | None = None

    @property
    def fraction(self) -> Tensor | None:
        return None if self.variance is None else (self.variance + 1) / 2

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        alpha, sigma = self.schedule.alpha_sigma(t, z.ndim)
        output = call_network(self.net, z, self.schedule.network_time(t), cond)
        output, self.variance = split_variance(output, z)
        std = self.schedule.data_std
        x = to_x(self.prediction, output, z, alpha * std, sigma)
        return x if std == 1 else x * std


def split_variance(output: Tensor, z: Tensor) -> tuple[Tensor, Tensor | None]:
    """A network's output as the prediction and, of twice the channels of ``z``, the learnt variance behind it."""
    if output.shape[1] != 2 * z.shape[1]:
        return output, None
    prediction, variance = output.chunk(2, dim=1)
    return prediction, variance


def call_network(net: Network, z: Tensor, time: Tensor, cond: Condition) -> Tensor:
    """The network's output in fp32; its inputs (not the time) are given in the dtype of its weights."""
    weights = net.parameters() if isinstance(net, nn.Module) else ()
    dtype = next((weight.dtype for weight in weights if weight.is_floating_point()), z.dtype)
    if dtype != z.dtype:
        z, cond = z.to(dtype), cond.cast(dtype)
        time = time.float()
    output = net(z, time, cond)
    return output if output.dtype == torch.float64 else output.float()
