"""Work that is done in many equal pieces, counted as one piece and all the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from videodiff.networks import attention

from .counter import Counter

Function = Callable[[Tensor], Tensor]


@contextmanager
def joined(counter: Counter) -> Iterator[None]:
    """Within it, ``attention.in_pieces`` runs one piece as it is, the last, and before it all others as one.

    What pieces keep, return and compute is proportional to their size; only while the large one runs there is more
    than there would be, and then the peak is not looked at. The small one has it: forwards what all others keep is
    beside it, and backwards it comes first, before that is freed.
    """
    original = attention.piecewise

    def piecewise(function: Function, x: Tensor, size: int) -> Tensor:
        others = x.shape[1] - size
        with_graph = torch.is_grad_enabled()
        if others <= size or (
            with_graph and not x.requires_grad
        ):  # without a gradient of x no end would be seen
            return original(function, x, size)
        large, small = x.split([others, size], dim=1)
        unseen = Unseen(counter)
        if with_graph:
            large = Mark.apply(large, unseen.end)
        with unseen:
            large = function(large)
        if with_graph:
            large = Mark.apply(large, unseen.begin)
        return torch.cat([large, function(small)], dim=1)

    attention.piecewise = piecewise
    try:
        yield
    finally:
        attention.piecewise = original


class Unseen:
    """A time in which the peak of a counter does not grow but by what is there at its end."""

    def __init__(self, counter: Counter) -> None:
        self.counter, self.peak = counter, 0

    def begin(self) -> None:
        """Start it."""
        self.peak = self.counter.peak

    def end(self) -> None:
        """End it."""
        self.counter.peak = max(self.peak, self.counter.live)

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: Any) -> None:
        self.end()


class Mark(torch.autograd.Function):
    """The same tensor; calls ``told`` when its gradient comes by."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, report: Callable[[], None]) -> Tensor:
        ctx.report = report
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        ctx.report()
        return grad, None
