"""TriplaneUNet against the same network laid out as PVDM's public code lays it out, with the same weights.

The reference runs the planes one after the other in contiguous NCHW memory, writes attention out (two products of
matrices and a softmax in fp32 between them) and computes every attention again in the backward pass, as
sihyun-yu/PVDM:models/ddpm/unet.py does whatever its flags say. Both run in turn in one process on one thread, and the
ratio of their CPU times is taken pair by pair, so that what else the machine does falls on both. The script stops if
their outputs differ.

    python benchmarks/unet_triplane.py                  # width 64, planes 32 x 32 and 2 of 16 x 32, batch 2
    python benchmarks/unet_triplane.py --width 256 --batch 1 --repeats 3

A training step is forward, mean square and backward, without an optimizer.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from videodiff.diffusion.condition import Condition
from videodiff.networks import ResBlock, SpatialAttention, TriplaneUNet
from videodiff.networks.planes import join_planes, split_planes

SMALLEST = ("--width", "16", "--frames", "8", "--side", "8", "--batch", "1", "--repeats", "1")


def norm(layer: nn.GroupNorm, x: Tensor) -> Tensor:
    return F.group_norm(x, layer.num_groups, layer.weight, layer.bias, layer.eps)


def attention_written_out(layer: SpatialAttention, x: Tensor) -> Tensor:
    """``[B, C, L]`` -> the same, by way of all B heads L^2 weights."""
    qkv = F.conv1d(norm(layer.norm, x), layer.qkv.weight[..., None], layer.qkv.bias)
    width = layer.head_dim
    q, k, v = qkv.reshape(-1, 3 * width, x.shape[2]).split(width, dim=1)
    weights = torch.einsum("bct,bcs->bts", q * width**-0.25, k * width**-0.25)
    weights = weights.float().softmax(-1).to(weights.dtype)
    y = torch.einsum("bts,bcs->bct", weights, v).reshape(x.shape)
    return x + F.conv1d(y, layer.out.weight[..., None], layer.out.bias)


def attention_with_recompute(layer: SpatialAttention, x: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return attention_written_out(layer, x)
    return checkpoint(attention_written_out, layer, x, use_reentrant=True)


def residual_block(block: ResBlock, x: Tensor, embedding: Tensor) -> Tensor:
    y = F.silu(norm(block.norm_in, x))
    x, y = block.resized(x), block.conv_in(block.resized(y))
    scale, shift = block.embedding(embedding)[..., None, None].chunk(2, dim=1)
    y = block.conv_out(F.silu(norm(block.norm_out, y) * (1 + scale) + shift))
    skip = block.skip
    return (x if isinstance(skip, nn.Identity) else F.conv2d(x, skip.weight[..., None, None], skip.bias)) + y


class Reference:
    """A TriplaneUNet's function in the published layout.

    Args:
        net: where the weights come from; they are copied.
    """

    def __init__(self, net: TriplaneUNet) -> None:
        self.net = copy.deepcopy(net).to(memory_format=torch.contiguous_format)

    def __call__(self, z: Tensor, steps: Tensor, cond: Condition) -> Tensor:
        net = self.net
        embedding = F.silu(net.embedding(steps, None, None, None))
        planes = [
            net.conv_in(plane) for plane in split_planes(torch.cat([z, cond.concat], 1), net.plane_sizes)
        ]
        if net.plane_vectors is not None:  # of ours alone; the published planes are not told apart
            vectors = net.plane_vectors[..., None, None]
            planes = [plane + vector for plane, vector in zip(planes, vectors, strict=True)]
        skips = [planes]
        for block in net.down:
            planes = self.block(block, planes, embedding)
            skips.append(planes)
        planes = self.block(net.middle, planes, embedding)
        for block in net.up:
            joined = [torch.cat(pair, dim=1) for pair in zip(planes, skips.pop(), strict=True)]
            planes = self.block(block, joined, embedding)
        return join_planes([net.conv_out(F.silu(norm(net.norm_out, plane))) for plane in planes])

    def block(self, block: nn.Module, planes: list[Tensor], embedding: Tensor) -> list[Tensor]:
        """Layers on one plane after the other, then attention over all."""
        planes = [self.layers(block, plane, embedding) for plane in planes]
        joined = attention_with_recompute(block.joint, torch.cat([plane.flatten(2) for plane in planes], -1))
        pieces = joined.split([plane.shape[2] * plane.shape[3] for plane in planes], dim=-1)
        return [piece.reshape(plane.shape) for piece, plane in zip(pieces, planes, strict=True)]

    def layers(self, block: nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
        for layer in block.layers:
            if isinstance(layer, ResBlock):
                x = residual_block(layer, x, embedding)
            else:
                x = attention_with_recompute(layer, x.flatten(2)).reshape(x.shape)
        return x


def cpu_seconds(step: Callable[[], None]) -> float:
    """CPU seconds of the process for one call."""
    start = time.process_time()
    step()
    return time.process_time() - start


def in_turn(a: Callable[[], None], b: Callable[[], None], repeats: int) -> tuple[float, float, float]:
    """Median seconds of A and of B, and the median of A / B over the pairs; of several, after an untimed one."""
    if repeats > 1:
        a(), b()
    pairs = [(cpu_seconds(a), cpu_seconds(b)) for _ in range(repeats)]
    seconds_a, seconds_b = zip(*pairs, strict=True)
    ratio = statistics.median(x / y for x, y in pairs)
    return statistics.median(seconds_a), statistics.median(seconds_b), ratio


def step_of(
    net: nn.Module, call: Callable[[], Tensor], is_training: bool, is_bf16: bool
) -> Callable[[], None]:
    """A forward pass without gradients, or a forward and backward pass."""

    def step() -> None:
        net.zero_grad()
        with torch.set_grad_enabled(is_training), torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            out = call()
        if is_training:
            out.float().square().mean().backward()

    return step


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=64, help="channels of the first level")
    parser.add_argument("--frames", type=int, default=16, help="rows of the planes over time")
    parser.add_argument("--side", type=int, default=32, help="of the spatial plane")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    net = TriplaneUNet(num_frames=options.frames, plane_size=options.side, width=options.width)
    for parameter in net.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.02)
    z, concat = torch.randn(2, options.batch, 4, net.plane_sizes.num_tokens)
    inputs = z, torch.linspace(10, 900, options.batch), Condition(concat=concat)
    reference = Reference(net)
    with torch.no_grad():
        out = net(*inputs)
        difference = ((reference(*inputs) - out).abs().max() / out.std()).item()
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), width {options.width}, z {list(z.shape)}\n"
        f"largest difference of the outputs over their spread: {difference:.1e}\n"
    )
    if difference > 1e-4:
        raise SystemExit("the two disagree: no comparison")

    print("| measure (precision of reference/ours) | reference, CPU s | ours, CPU s | reference / ours |")
    print("|---|---|---|---|")
    for is_training in (False, True):
        for is_bf16 in (False, True):
            # the published code trains in fp32 only: its recomputation loses autocast
            a = step_of(reference.net, lambda: reference(*inputs), is_training, False)
            b = step_of(net, lambda: net(*inputs), is_training, is_bf16)
            seconds_a, seconds_b, ratio = in_turn(a, b, options.repeats)
            name = f"{'training step' if is_training else 'forward'}, fp32/{'bf16' if is_bf16 else 'fp32'}"
            print(f"| {name} | {seconds_a:.3f} | {seconds_b:.3f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
