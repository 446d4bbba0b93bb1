"""Group norm with the modulation and SiLU that follow it, forward and backward by hand, for features in the last axis.

Networks here keep features in the last axis of memory. There a sum over positions is vectorised while a sum over a
group of neighbouring features is not, so everything is summed per channel first and the few sums are grouped after.
What autograd would keep is not kept: beside its input the function saves moments alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .embeddings import without_autocast


def summed(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``[R, S, P, C]`` -> ``[S, C]``, the sums over R and P."""
    x = x.sum(2, dtype=dtype) if x.shape[2] > 1 else x.squeeze(2)
    return x.sum(0, dtype=dtype) if len(x) > 1 else x[0].to(dtype)


def grouped(sums: Tensor, num_groups: int) -> Tensor:
    """``[S, C]`` -> ``[S, C]``: every channel with the sum of its group."""
    groups = sums.unflatten(1, (num_groups, -1))
    return groups.sum(2, keepdim=True).expand_as(groups).flatten(1)


def affine(
    inverse: Tensor, weight: Tensor, bias: Tensor, scale: Tensor | None, shift: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What a deviation from the mean is multiplied by, and what is added to it: two of ``[S, C]``."""
    gain, offset = inverse * weight, bias.to(inverse.dtype).expand_as(inverse)
    if scale is None:
        return gain, offset
    assert shift is not None  # the two come together
    modulation = 1 + scale.to(inverse.dtype)
    return gain * modulation, torch.addcmul(shift.to(inverse.dtype), offset, modulation)


class ModulatedGroupNorm(torch.autograd.Function):
    """``silu(((x - mean) / std * weight + bias) * (1 + scale) + shift)``, the SiLU if asked for.

    Statistics and sums are fp32 (fp64 for fp64), the result has the dtype and layout of ``x``. On a CPU the deviations
    are squared, elsewhere moments are subtracted, which reads ``x`` once less. Derivatives are of first order.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        num_groups: int,
        eps: float,
        has_silu: bool,
        by_moments: bool,
    ) -> Tensor:
        """See ``modulated_group_norm``."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        count = x.shape[0] * x.shape[2] * x.shape[3] // num_groups
        mean = grouped(summed(x, dtype), num_groups) / count  # [S, C]
        if by_moments:
            norm = torch.linalg.vector_norm(x, dim=(0, 2), dtype=dtype)
            variance = (grouped(norm.square(), num_groups) / count - mean.square()).clamp(min=0)
            inverse = torch.rsqrt(variance + eps)
            gain, offset = affine(inverse, weight, bias, scale, shift)
            out = torch.empty_like(x)  # written in the dtype of x at once
            torch.addcmul((offset - mean * gain)[:, None], x, gain[:, None], out=out)
        else:
            out = x - mean[:, None]
            inverse = torch.rsqrt(grouped(summed(out.square(), dtype), num_groups) / count + eps)
            gain, offset = affine(inverse, weight, bias, scale, shift)
            torch.addcmul(offset[:, None], out, gain[:, None], out=out)
        ctx.save_for_backward(x, mean, inverse, weight, bias, scale, shift)
        ctx.num_groups, ctx.has_silu, ctx.count = num_groups, has_silu, count
        return (F.silu(out, inplace=True) if has_silu else out).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the first five arguments."""
        x, mean, inverse, weight, bias, scale, shift = ctx.saved_tensors
        dtype, x_dtype = mean.dtype, x.dtype
        gain, offset = affine(inverse, weight, bias, scale, shift)
        if (
            x.device.type == "cpu"
        ):  # in fp32 from here on; elsewhere tensors of the size of x stay in its dtype
            x, grad = x.to(dtype), grad.to(dtype)
        if ctx.has_silu:
            before = torch.addcmul((offset - mean * gain)[:, None], x, gain[:, None]).to(grad.dtype)
            grad = torch.ops.aten.silu_backward(grad, before)
        sums = summed(grad, dtype)
        products = (summed(grad * x, dtype) - mean * sums) * inverse  # with the normalised x
        # d out / d x = gain (grad - mean over the group of grad - normalised x times their mean product)
        mean_grad = grouped(sums * gain, ctx.num_groups) / ctx.count
        mean_product = grouped(products * gain, ctx.num_groups) / ctx.count * inverse
        grad_x = torch.addcmul((mean * mean_product - mean_grad)[:, None], x, -mean_product[:, None])
        grad_x = torch.addcmul(grad_x, grad, gain[:, None]).to(x_dtype)
        grad_scale = grad_shift = None
        if scale is not None:
            grad_scale = torch.addcmul(sums * bias, products, weight.to(dtype)).to(scale.dtype)
            grad_shift = sums.to(shift.dtype)
            modulation = 1 + scale.to(dtype)
            sums, products = sums * modulation, products * modulation
        grad_weight, grad_bias = products.sum(0).to(weight.dtype), sums.sum(0).to(bias.dtype)
        return grad_x, grad_weight, grad_bias, grad_scale, grad_shift, None, None, None, None


def written_out(
    x: Tensor,
    norm: nn.GroupNorm,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    has_silu: bool = False,
    by_moments: bool = False,
) -> Tensor:
    """``modulated_group_norm`` in differentiable operations, for a compiler to fuse."""
    dtype, groups = torch.promote_types(x.dtype, torch.float32), norm.num_groups
    count = x.shape[0] * x.shape[2] * x.shape[3] // groups
    y = x.to(dtype)
    mean = grouped(summed(y, dtype), groups) / count
    if by_moments:
        variance = (grouped(summed(y.square(), dtype), groups) / count - mean.square()).clamp(min=0)
    else:
        variance = grouped(summed((y - mean[:, None]).square(), dtype), groups) / count
    gain, offset = affine(torch.rsqrt(variance + norm.eps), norm.weight, norm.bias, scale, shift)
    y = torch.addcmul(offset[:, None], y - mean[:, None], gain[:, None])
    return (F.silu(y) if has_silu else y).to(x.dtype)


def modulated_group_norm(
    x: Tensor,
    norm: nn.GroupNorm,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    has_silu: bool = False,
    by_moments: bool = False,
) -> Tensor:
    """Group norm of S samples, scaled and shifted, and its SiLU if asked for.

    Args:
        x: ``[R, S, P, C]``: sample s is ``x[:, s]``, positions lie on both sides of it. A view with any strides.
        norm: groups, weight, bias and epsilon.
        scale: ``[S, C]``, multiplies the result by one more than itself; or None.
        shift: ``[S, C]``, is added; given if ``scale`` is.
        has_silu: end with a SiLU.
        by_moments: take the variance as mean square less squared mean, which reads ``x`` once less.

    Returns:
        As ``x``, in its dtype and layout.
    """
    if torch.compiler.is_compiling():
        return written_out(x, norm, scale, shift, has_silu, by_moments)
    with without_autocast(x.device):
        return ModulatedGroupNorm.apply(
            x, norm.weight, norm.bias, scale, shift, norm.num_groups, norm.eps, has_silu, by_moments
        )
