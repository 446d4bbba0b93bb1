"""The hand-written group norm of the networks as one operation: half of all operators of a step are within it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from videodiff.networks.norms import ModulatedGroupNorm

from .counter import Counter
from .pieces import joined
from .shapes import key_of


@dataclass(frozen=True)
class Pass:
    """A forward or backward pass that was counted.

    Attributes:
        rise: bytes at its worst moment beyond those before it.
        flop: of all operators.
        results: of each result its shape, strides, type and device, the place of the argument that it is, or None.
        kept: plain values that the pass left in its context.
    """

    rise: int
    flop: int
    results: tuple[Any, ...]
    kept: dict[str, Any]


class Context:
    """What a forward pass keeps, until autograd's own context takes it over."""

    def __init__(self) -> None:
        self.saved: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved = tensors

    def plain(self) -> dict[str, Any]:
        """All but the tensors."""
        return {name: value for name, value in vars(self).items() if name != "saved"}


PASSES: dict[Any, Pass] = {}
"""By pass, shapes and other arguments."""


@contextmanager
def remembered(counter: Counter) -> Iterator[None]:
    """Within it, a pass over shapes that were seen before is counted at once, exactly as the first was."""
    norm = ModulatedGroupNorm
    originals = {name: norm.__dict__[name] for name in ("forward", "backward")}
    forward, backward = norm.forward, norm.backward

    def forward_once(ctx: Any, *args: Any) -> Any:
        own = Context()
        out, *saved = _repeat(counter, "forward", args, own, lambda: (forward(own, *args), *own.saved))
        ctx.save_for_backward(*saved)
        for name, value in own.plain().items():
            setattr(ctx, name, value)
        return out

    def backward_once(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        saved = ctx.saved_tensors  # once: what was not kept is computed again for it, and given a single time
        args = (*grads, *saved, ctx.num_groups, ctx.has_silu, ctx.count)
        read = SimpleNamespace(
            saved_tensors=saved, num_groups=ctx.num_groups, has_silu=ctx.has_silu, count=ctx.count
        )
        return _repeat(counter, "backward", args, Context(), lambda: backward(read, *grads))

    for name, once in (("forward", forward_once), ("backward", backward_once)):
        setattr(norm, name, staticmethod(once))
    try:
        with joined(counter):
            yield
    finally:
        for name, original in originals.items():
            setattr(norm, name, original)


def _repeat(
    counter: Counter, name: str, args: tuple[Any, ...], own: Context, run: Callable[[], tuple[Any, ...]]
) -> tuple[Any, ...]:
    """The results of a pass, from memory where they are known."""
    key = (name, *map(key_of, args))
    known = PASSES.get(key)
    if known is not None:
        vars(own).update(known.kept)
        counter.peak = max(counter.peak, counter.live + known.rise)
        counter.flop += known.flop
        return tuple(_again(counter, result, args) for result in known.results)
    before, flop, peak = counter.live, counter.flop, counter.restart_peak()
    results = run()
    places = tuple(_place(result, args) for result in results)
    PASSES[key] = Pass(counter.peak - before, counter.flop - flop, places, own.plain())
    counter.peak = max(counter.peak, peak)
    return results


def _place(result: Any, args: tuple[Any, ...]) -> Any:
    if result is None:
        return None
    place = next((index for index, arg in enumerate(args) if arg is result), None)
    return place if place is not None else (result.shape, result.stride(), result.dtype, result.device)


def _again(counter: Counter, result: Any, args: tuple[Any, ...]) -> Any:
    if result is None:
        return None
    return args[result] if isinstance(result, int) else counter.make(*result)
