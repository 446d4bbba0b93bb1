"""The state of an optimizer, found by letting it take a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .meta_model import num_bytes


@dataclass(frozen=True)
class OptimizerCost:
    """Memory of an optimizer beside weights and gradients.

    Attributes:
        state: bytes of its state per byte of weights.
        whole_scratch: whether its step makes temporary copies of all weights at once (``foreach``), which fused ones do
            not; on a CPU torch goes weight by weight.
    """

    state: float
    whole_scratch: bool


def optimizer_cost(model: Any) -> OptimizerCost:
    """From one real step of two small weights with the model's own ``make_optimizer``."""
    toys = [torch.nn.Parameter(torch.zeros(64, 64, device="cpu")) for _ in range(2)]
    with torch.enable_grad():
        optimizer = model.make_optimizer(toys)
        for toy in toys:
            toy.grad = torch.zeros_like(toy)
        optimizer.step()
    state = [v for of in optimizer.state.values() for v in of.values() if isinstance(v, Tensor) and v.ndim]
    options = optimizer.defaults
    return OptimizerCost(
        num_bytes(state) / num_bytes([toy.data for toy in toys]),
        not options.get("fused") and options.get("foreach") is not False,
    )
