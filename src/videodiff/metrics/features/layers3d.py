"""3-D convolutions and max pools with TensorFlow's SAME padding, in two memory layouts with one set of weights.

On an accelerator a clip is a volume ``[B, C, T, H, W]`` and every layer is what its name says. On a CPU a clip is its
frames with channels last, ``[T, H, W, C]``: torch's 3-D max pool takes a third of I3D's time there and its 3-D
convolutions leave the fast library for small inputs, so a 3x3x3 convolution is the sum of three 2-D ones of shifted
frames and a max pool is the maximum of shifted views, which is the same function.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of one axis: (front, back), the odd one behind."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def pad_same(volume: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around ``[B, C, T, H, W]``; right for max pools too, whose inputs are not negative here."""
    pads = [same_padding(n, k, s) for n, k, s in zip(volume.shape[2:], kernel, stride, strict=True)]
    flat = [side for pair in reversed(pads) for side in pair]
    return F.pad(volume, flat) if any(flat) else volume


def pool_volume(volume: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Max pool of ``[B, C, T, H, W]`` with SAME padding."""
    return F.max_pool3d(pad_same(volume, kernel, stride), kernel, stride)


def pool_frames(frames: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Max pool of ``[T, H, W, C]`` with SAME padding, one axis after the other."""
    for axis, (size, step) in enumerate(zip(kernel, stride, strict=True)):
        if size > 1:
            frames = pool_axis(frames, axis, size, step)
    return frames


def pool_axis(x: Tensor, axis: int, kernel: int, stride: int) -> Tensor:
    """Running maximum along one axis; output ``i`` looks at ``stride * i - front + k`` for ``k < kernel``.

    Positions outside are left out instead of padded, and nothing is written but the output.
    """
    length = x.shape[axis]
    front, _ = same_padding(length, kernel, stride)
    count = -(-length // stride)
    out = x.narrow(axis, 0, length)[(slice(None),) * axis + (slice(None, None, stride),)].clone()
    for offset in range(-front, kernel - front):
        if offset == 0:
            continue
        first = -(-max(-offset, 0) // stride)  # outputs whose input at this offset exists: first <= i < last
        last = min(count, (length - 1 - offset) // stride + 1)
        if last > first:
            source = slice(first * stride + offset, (last - 1) * stride + offset + 1, stride)
            part = out.narrow(axis, first, last - first)
            torch.maximum(part, x[(slice(None),) * axis + (source,)], out=part)
    return out


class Unit(nn.Module):
    """Convolution with SAME padding, bias (the folded batch norm) and ReLU, with or without the ReLU.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel: along all three axes.
        stride: along all three axes.
        relu: False for the logits.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.relu = kernel, stride, relu
        # Time first, channels last: weight[i] is the channels-last 2-D kernel of one time tap.
        self.weight = nn.Parameter(torch.empty(kernel, out_channels, kernel, kernel, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))

    def volume(self, x: Tensor) -> Tensor:
        """``[B, C, T, H, W]`` -> the same, as one 3-D convolution in the memory layout of the input."""
        is_last = x.is_contiguous(memory_format=torch.channels_last_3d)
        layout = torch.channels_last_3d if is_last else torch.contiguous_format
        weight = self.weight.permute(1, 4, 0, 2, 3).contiguous(memory_format=layout)
        x = pad_same(x, (self.kernel,) * 3, (self.stride,) * 3)
        x = F.conv3d(x, weight, self.bias, self.stride)
        return x.relu_() if self.relu else x

    def frames(self, x: Tensor) -> Tensor:
        """``[T, H, W, C]`` -> the same, as a sum over time taps of 2-D convolutions."""
        if self.stride > 1:
            volume = self.volume(x.permute(3, 0, 1, 2)[None])
            return volume[0].permute(1, 2, 3, 0).contiguous()
        x = self.points(x) if self.kernel == 1 else self.taps(x)
        return x.relu_() if self.relu else x

    def points(self, x: Tensor) -> Tensor:
        """1x1x1: the rows of all frames are the batch, as single-threaded torch wants 16 for its fast library."""
        time, height, width, channels = x.shape
        if time * height < 16:
            return F.linear(x, self.weight.flatten(0, 3), self.bias)
        rows = x.view(time * height, 1, width, channels).permute(0, 3, 1, 2)
        out = F.conv2d(rows, self.weight[0].permute(0, 3, 1, 2), self.bias)
        return out.permute(0, 2, 3, 1).reshape(time, height, width, -1)

    def taps(self, x: Tensor) -> Tensor:
        """3x3x3: the middle tap sees every frame, the others the frame before and the frame after."""
        before, here, after = (tap.permute(0, 3, 1, 2) for tap in self.weight)
        images = x.permute(0, 3, 1, 2)
        out = F.conv2d(images, here, self.bias, padding=1)
        if len(x) > 1:
            out[1:] += F.conv2d(images[:-1], before, padding=1)
            out[:-1] += F.conv2d(images[1:], after, padding=1)
        return out.permute(0, 2, 3, 1)
