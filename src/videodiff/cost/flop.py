"""Floating-point operations of torch's operators, from the shapes of what they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry


def _attention_flop(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """Two products of scaled dot product attention, two operations per multiply-add."""
    *batch, length, width = q
    return 2 * torch.Size(batch).numel() * length * k[-2] * (width + v[-1])


def _attention_backward_flop(grad: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """Scores again, and the gradients of values, weights, queries and keys: five products."""
    *batch, length, width = q
    return 2 * torch.Size(batch).numel() * length * k[-2] * (3 * width + 2 * v[-1])


CPU_ATTENTION: dict[str, Callable[..., int]] = {
    "_scaled_dot_product_flash_attention_for_cpu": _attention_flop,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward_flop,
}
"""The fused attention of the CPU, which torch's own counter passes over."""


def flop_formulas() -> dict[Any, Callable[..., int]]:
    """Operator -> its FLOP from shapes, as torch's counter has them, with the CPU's fused attention."""
    own = {getattr(torch.ops.aten, name): formula for name, formula in CPU_ATTENTION.items()}
    return {**{op: _by_shape(formula) for op, formula in own.items()}, **flop_registry}


def _by_shape(formula: Callable[..., int]) -> Callable[..., int]:
    def count(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
        return formula(*(arg.shape if isinstance(arg, Tensor) else arg for arg in args), **kwargs)

    return count
