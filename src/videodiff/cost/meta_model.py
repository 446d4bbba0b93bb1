"""A model whose weights are shapes: it runs, forwards and backwards, and takes no memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from videodiff.metrics.features.lpips import LPIPS, LPIPSNetwork

from .shapes import shape_of

Precision = Literal["fp32", "bf16-mixed"]


class MetaModel:
    """A model of tensors without numbers, for a :class:`~videodiff.cost.counter.Counter` to run.

    Args:
        model: built on the meta device; its parameters and buffers are replaced, and it is of no use elsewhere after.
        device: whose operators are run: ``cpu``, or ``cuda`` on a machine that has one.

    Attributes:
        forward_flop: of one forward pass, once it has been counted.
    """

    forward_flop: int | None = None

    def __init__(self, model: Any, device: str = "cpu") -> None:
        self.model, self.device = model, device
        hold_perceptual(model, "meta")
        copies: dict[int, Tensor] = {}
        for part in self.parts():
            self._replace(part, copies)
        model._device = torch.device(device)  # as Lightning's modules keep it

    def parts(self) -> Iterator[nn.Module]:
        """Every module, those that are kept out of the module tree too."""
        for part in self.model.modules():
            yield part
            for held in vars(part).get("_held", ()):
                yield from held.modules()

    def _replace(self, part: nn.Module, copies: dict[int, Tensor]) -> None:
        stores: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
        for store in stores:
            for name, value in store.items():
                if value is None:
                    continue
                if id(value) not in copies:
                    copies[id(value)] = shape_of(value, self.device)
                store[name] = copies[id(value)]

    def tensors(self) -> list[Tensor]:
        """All parameters and buffers, each once."""
        found = {
            id(t): t for part in self.parts() for t in (*part._parameters.values(), *part._buffers.values())
        }
        return [t for t in found.values() if t is not None]


def hold_perceptual(model: nn.Module, device: str) -> None:
    """Give a perceptual loss a network of its shape, so that its weights are not looked for."""
    for part in model.modules():
        if isinstance(part, LPIPS) and not part._held:
            with torch.device(device):
                network = LPIPSNetwork(part.net)
            if device != "meta":
                network.load_state_dict({k: torch.ones_like(v) for k, v in network.state_dict().items()})
            part._held = (network.eval().requires_grad_(False),)


def autocast(precision: Precision, device: str) -> AbstractContextManager[Any]:
    """What Lightning puts around a training step of this precision."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device, dtype=torch.bfloat16)


def num_bytes(tensors: list[Tensor]) -> int:
    """Bytes of tensors that share no storage."""
    return sum(t.numel() * t.element_size() for t in tensors)
