"""Counting what a piece of torch code allocates and computes, operation by operation.

On tensors without numbers, whose shapes, strides and storages are those of the real run, or on real ones.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .shapes import CONVOLUTIONS, ShapeMode, ShapeTensor


def convolution_workspace(func: Any, args: Any, out: Any) -> int:
    """Bytes that torch's own CPU convolution takes for the patches of its input, which oneDNN does without.

    oneDNN is passed over for one small fp32 sample that is not channels-last in two dimensions, with a kernel of at
    most 3 (``use_mkldnn`` in ATen/native/Convolution.cpp); the patches are k^d copies of the input's channels at every
    place of the output, for all samples in turn.
    """
    backward = func is torch.ops.aten.convolution_backward.default
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


class Counter(ShapeMode):
    """Within a ``with``: live bytes of all storages that appear, their peak, and FLOP.

    A storage is counted once, whatever views look at it, from the operation that makes it until nothing holds it.
    What an operator takes for itself while it runs, and gives back, is not seen, but for the one case where it is
    large: see :func:`convolution_workspace`.

    Args:
        is_real: run every operator for real, on real tensors; otherwise what is made within has no numbers.

    Attributes:
        live: bytes held now.
        peak: largest ``live`` since the start or the last :meth:`restart_peak`.
        peak_with_workspace: the same with what a convolution takes for itself, since the start.
        flop: floating-point operations of matrix products, convolutions and attention, a multiply-add being two.
    """

    def __init__(self, is_real: bool = False) -> None:
        super().__init__()
        self.is_real = is_real
        self.live = self.peak = self.peak_with_workspace = 0
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
        if self.live > self.peak:
            self.peak = self.live

    def fresh(self, tensor: Tensor) -> None:
        self._count(tensor)

    def answer(self, func: Any, args: Any, kwargs: Any) -> Any:
        if self.is_real:
            return self.really(func, args, kwargs)
        if func not in CONVOLUTIONS:
            return super().answer(func, args, kwargs)
        before, out = self.live, super().answer(func, args, kwargs)
        with_workspace = before + convolution_workspace(func, args, out)
        self.peak_with_workspace = max(self.peak_with_workspace, with_workspace)
        return out
