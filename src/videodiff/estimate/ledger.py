"""Counting what a piece of torch code allocates and computes, operation by operation, on tensors without numbers.

Shapes, strides and storages are those of the real run.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

from .shapes import ShapeMode, ShapeTensor


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


CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)


def convolution_workspace(packet: Any, args: Any, out: Any) -> int:
    """Bytes that torch's own CPU convolution takes for the patches of its input, which oneDNN does without.

    oneDNN is passed over for one small fp32 sample that is not channels-last in two dimensions, with a kernel of at
    most 3 (``use_mkldnn`` in ATen/native/Convolution.cpp); the patches are k^d copies of the input's channels at every
    place of the output, for all samples in turn.
    """
    backward = packet is torch.ops.aten.convolution_backward
    y, x, weight = args[:3] if backward else (out, *args[:2])
    groups = args[9] if backward else args[8]
    if x.device.type != "cpu" or x.dtype != torch.float32 or x.ndim < 4:
        return 0
    last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    is_last = x.is_contiguous(memory_format=last) and not x.is_contiguous()
    small = len(x) == 1 and x.shape[:4].numel() <= 20_480 and groups == 1 and max(weight.shape[-2:]) <= 3
    if not small or (x.ndim == 4 and is_last):
        return 0
    return 4 * weight.shape[1:].numel() * y.shape[2:].numel()


class Ledger(ShapeMode):
    """Within a ``with``: live bytes of all storages that appear, their peak, and FLOP.

    A storage is counted once, whatever views look at it, from the operation that makes it until nothing holds it.
    What an operator takes for itself while it runs, and gives back, is not seen, but for the one case where it is
    large: see :func:`convolution_workspace`.

    Attributes:
        live: bytes held now.
        peak: largest ``live`` since the start or the last :meth:`restart_peak`.
        peak_with_workspace: the same with what a convolution takes for itself, since the start.
        flop: floating-point operations of matrix products, convolutions and attention, a multiply-add being two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = self.peak_with_workspace = self.flop = 0
        self.formulas = flop_formulas()
        self._held: dict[int, Any] = {}

    def restart_peak(self) -> int:
        """Forget the peak so far, which is returned."""
        peak, self.peak = self.peak, self.live
        return peak

    def take(self, tensors: Iterable[Any]) -> None:
        """Count storages that were made before, or outside."""
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                self._count(tensor)

    def _count(self, tensor: Tensor) -> None:
        if tensor.layout != torch.strided:
            return
        storage = (tensor.meta if isinstance(tensor, ShapeTensor) else tensor).untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        held, book = self._held, self
        if key in held:
            return

        def release(_: Any, key: int = key, size: int = size) -> None:
            del held[key]
            book.live -= size

        held[key] = weakref.ref(storage, release)
        self.live += size
        self.peak = max(self.peak, self.live)

    def fresh(self, tensor: Tensor) -> None:
        self._count(tensor)

    def answer(self, func: Any, args: Any, kwargs: Any) -> Any:
        before, out = self.live, super().answer(func, args, kwargs)
        packet = func._overloadpacket
        formula = self.formulas.get(packet)
        if formula is not None:
            if packet in CONVOLUTIONS:
                with_workspace = before + convolution_workspace(packet, args, out)
                self.peak_with_workspace = max(self.peak_with_workspace, with_workspace)
            self.flop += int(formula(*args, **kwargs, out_val=out))
        return out
