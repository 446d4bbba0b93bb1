"""UNet3D with LVDM's options against a plain build of the same network, with the same weights.

The plain build is what one writes first, and what YingqingHe/LVDM has: 1x3x3 ``Conv3d`` layers on contiguous
``[B, C, T, H, W]``, attention written out (two products of matrices and a softmax in fp32 between them) over contiguous
copies of the tokens, relative positions as two einsums. Both keep their activations. They run in turn in one process
on one thread; the ratio of their CPU times is taken pair by pair. The script stops if their outputs differ.

    python benchmarks/unet_latent.py                 # latents 4 x 4 x 32 x 32, width 64 (a quarter), batch 2
    python benchmarks/unet_latent.py --width 128 --batch 1 --repeats 3

A training step is forward, mean square and backward, without an optimizer.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from unet_triplane import in_turn, step_of

from videodiff.diffusion.condition import Condition
from videodiff.networks import ResBlock, SpatialAttention, TemporalAttention, UNet3D

SMALLEST = ("--width", "16", "--side", "8", "--frames", "2", "--batch", "1", "--repeats", "1")


def norm(layer: nn.GroupNorm, x: Tensor) -> Tensor:
    return F.group_norm(x, layer.num_groups, layer.weight, layer.bias, layer.eps)


def heads_of(qkv: Tensor, dim: int) -> tuple[Tensor, ...]:
    """``[N, heads 3 D, L]`` -> q, k, v ``[N heads, D, L]``."""
    return qkv.reshape(-1, 3 * dim, qkv.shape[-1]).split(dim, dim=1)


def conv1d(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.conv1d(x, layer.weight[..., None], layer.bias)


def spatial_attention(layer: SpatialAttention, x: Tensor) -> Tensor:
    """``[N, C, L]``, N frames of L pixels."""
    q, k, v = heads_of(conv1d(layer.qkv, norm(layer.norm, x)), layer.head_dim)
    logits = torch.einsum("bct,bcs->bts", q, k) * layer.head_dim**-0.5
    weights = logits.float().softmax(-1).to(v.dtype)
    return x + conv1d(layer.out, torch.einsum("bts,bcs->bct", weights, v).reshape(x.shape))


def temporal_attention(layer: TemporalAttention, x: Tensor) -> Tensor:
    """``[N, C, T]``, N pixels over T frames, relative positions of Shaw et al. 2018."""
    q, k, v = heads_of(conv1d(layer.qkv, norm(layer.norm, x)), layer.head_dim)
    keys, values = layer.shaw(x.shape[-1])  # [T, T, D]
    logits = torch.einsum("bct,bcs->bts", q, k) + torch.einsum("bct,tsc->bts", q, keys)
    weights = (logits * layer.head_dim**-0.5).float().softmax(-1).to(v.dtype)
    out = torch.einsum("bts,bcs->bct", weights, v) + torch.einsum("bts,tsc->bct", weights, values)
    return x + conv1d(layer.out, out.reshape(x.shape))


class PlainConv(nn.Module):
    """A 1x3x3 (or 1x1x1) Conv3d with the weights of a 2-D layer, or a change of size by one."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, enlarge: bool = False) -> None:
        super().__init__()
        is_linear = isinstance(layer, nn.Linear)
        weight = layer.weight[..., None, None] if is_linear else layer.weight
        stride, padding = (1, 0) if is_linear else (layer.stride[0], 1)
        kernel = weight.shape[-1]
        self.enlarge = enlarge
        self.conv = nn.Conv3d(
            weight.shape[1], weight.shape[0], (1, kernel, kernel), (1, stride, stride), (0, padding, padding)
        )
        with torch.no_grad():
            self.conv.weight.copy_(weight[:, :, None])
            self.conv.bias.copy_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T, H, W]``."""
        return self.conv(F.interpolate(x, scale_factor=(1, 2, 2), mode="nearest") if self.enlarge else x)


class PlainBlock(nn.Module):
    """A residual block, then attention over space and over time if the original has it."""

    def __init__(
        self, res: ResBlock, spatial: SpatialAttention | None, temporal: TemporalAttention | None
    ) -> None:
        super().__init__()
        self.res, self.spatial, self.temporal = res, spatial, temporal
        self.conv_in, self.conv_out = PlainConv(res.conv_in), PlainConv(res.conv_out)
        self.skip = nn.Identity() if isinstance(res.skip, nn.Identity) else PlainConv(res.skip)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``[B, C, T, H, W]``."""
        y = self.conv_in(F.silu(norm(self.res.norm_in, x)))
        scale, shift = self.res.embedding(embedding)[..., None, None, None].chunk(2, dim=1)
        x = self.skip(x) + self.conv_out(F.silu(norm(self.res.norm_out, y) * (1 + scale) + shift))
        if self.spatial is None:
            return x
        batch, channels, frames, height, width = x.shape
        y = x.permute(0, 2, 1, 3, 4).reshape(batch * frames, channels, height * width)
        y = spatial_attention(self.spatial, y).reshape(batch, frames, channels, height, width)
        y = y.permute(0, 3, 4, 2, 1).reshape(-1, channels, frames)
        y = temporal_attention(self.temporal, y).reshape(batch, height, width, channels, frames)
        return y.permute(0, 3, 4, 1, 2).contiguous()


class Plain(nn.Module):
    """A UNet3D's function, built plainly; its convolutions are copies, the rest are the original's layers.

    Args:
        net: with norms over clips, ``resample="conv"`` and Shaw's positions.
    """

    def __init__(self, net: UNet3D) -> None:
        super().__init__()

        def plain(layer: nn.Module) -> nn.Module:
            if hasattr(layer, "res"):
                return PlainBlock(layer.res, layer.spatial, layer.temporal)
            return PlainConv(layer.conv, layer.is_up)

        self.embedding, self.norm_out = net.embedding, net.norm_out
        self.conv_in, self.conv_out = PlainConv(net.conv_in), PlainConv(net.conv_out)
        self.down, self.middle, self.up = (
            nn.ModuleList(map(plain, part)) for part in (net.down, net.middle, net.up)
        )

    def forward(self, z: Tensor, time: Tensor, cond: Condition) -> Tensor:
        """As UNet3D."""
        embedding = F.silu(self.embedding(time, None, None, cond.concat_time))
        x = self.conv_in(torch.cat([z, cond.concat], dim=1))
        skips = [x]
        for layer in self.down:
            x = layer(x, embedding) if isinstance(layer, PlainBlock) else layer(x)
            skips.append(x)
        for layer in self.middle:
            x = layer(x, embedding)
        for layer in self.up:
            if isinstance(layer, PlainBlock):
                x = layer(torch.cat([x, skips.pop()], dim=1), embedding)
            else:
                x = layer(x)
        return self.conv_out(F.silu(norm(self.norm_out, x)))


def build(width: int, frames: int, side: int) -> UNet3D:
    """LVDM's network at another width, with weights that are not zero anywhere."""
    net = UNet3D(
        channels=4, resolution=side, num_frames=frames, width=width, channel_multipliers=(1, 2, 3, 4), num_blocks=3,
        attention_resolutions=(side // 2, side // 4, side // 8), heads=4, embedding_layers=2, max_distance=frames,
        norm="clip", resample="conv", is_open=True, concat_channels=1,
    )  # fmt: skip
    for parameter in net.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.02)
    return net


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=64, help="channels of the first level; published: 256")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--frames", type=int, default=4, help="latent frames")
    parser.add_argument("--side", type=int, default=32, help="of a latent frame")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    net = build(options.width, options.frames, options.side)
    plain = Plain(net)
    z = torch.randn(options.batch, 4, options.frames, options.side, options.side)
    mask = torch.zeros_like(z[:, :1])
    mask[:, :, 0] = 1
    times = torch.linspace(10, 900, options.batch), torch.full((options.batch,), 0.1)
    inputs = z, times[0], Condition(concat=mask, concat_time=times[1])
    with torch.no_grad():
        out = net(*inputs)
        difference = ((plain(*inputs) - out).abs().max() / out.std()).item()
    millions = sum(p.numel() for p in net.parameters()) / 1e6
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), width {options.width}, {millions:.1f} M parameters, "
        f"z {list(z.shape)}\nlargest difference of the outputs over their spread: {difference:.1e}\n"
    )
    if difference > 1e-4:
        raise SystemExit("the two disagree: no comparison")

    print("| measure | plain, CPU s | ours, CPU s | plain / ours |")
    print("|---|---|---|---|")
    for is_training in (False, True):
        for is_bf16 in (False, True):
            a = step_of(plain, lambda: plain(*inputs), is_training, is_bf16)
            b = step_of(net, lambda: net(*inputs), is_training, is_bf16)
            seconds_a, seconds_b, ratio = in_turn(a, b, options.repeats)
            name = f"{'training step' if is_training else 'forward'}, {'bf16' if is_bf16 else 'fp32'}"
            print(f"| {name} | {seconds_a:.3f} | {seconds_b:.3f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
