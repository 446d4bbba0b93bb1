"""Linear layers whose products of matrices oneDNN does on a CPU.

PyTorch gives fp32 products to MKL, which on processors of other makers than Intel leaves half of the vector units
idle, and everything else to oneDNN, which does not. A layer of 128 to 384 features runs at 205 GFLOP/s instead of 86 on
one core of an EPYC with AVX-512; where MKL is as fast, nothing is lost.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

MIN_ROWS = 64  # below it a call costs more than the product


def has_onednn() -> bool:
    """Whether this build of torch has oneDNN's linear layer, which it makes for its own compiler."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight^T + bias`` by oneDNN: ``[..., C]`` and ``[E, C]`` -> ``[..., E]``."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class OneDNNLinear(torch.autograd.Function):
    """A linear layer and its first derivatives by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """``[..., C]`` -> ``[..., E]``."""
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of ``x``, ``weight`` and ``bias``, those that are asked for."""
        x, weight = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = product(rows, weight.mT).view(x.shape)
        if ctx.needs_input_grad[1]:
            x = x.reshape(len(rows), -1)
            if x.shape[1] < rows.shape[1]:  # the narrower matrix first is the faster product
                grad_weight = product(x.mT, rows.mT).mT.contiguous()
            else:
                grad_weight = product(rows.mT, x.mT)
        grad_bias = rows.sum(0) if ctx.has_bias and ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias


def is_by_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether to: fp32 on a CPU, many rows, and nobody looks on (a compiler, a counter of FLOPs, autocast)."""
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() >= MIN_ROWS * x.shape[-1]
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.cuda.flash_sdp_enabled()  # off while FLOPs are counted
        and has_onednn()
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``, by oneDNN where that is the faster."""
    return (OneDNNLinear.apply if is_by_onednn(x, weight) else F.linear)(x, weight, bias)


class Linear(nn.Linear):
    """``nn.Linear`` by ``linear``."""

    def forward(self, x: Tensor) -> Tensor:
        """``[..., C]`` -> ``[..., E]``."""
        return linear(x, self.weight, self.bias)
