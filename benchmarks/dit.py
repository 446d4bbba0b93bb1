"""SpacetimeDiT against Latte as it is published: the same function with the same weights.

The published network is built here in plain layers from the names of its weights (Vchitect/Latte:models/latte.py):
frames and places moved by rearranging, attention written out, modulation as it is. Both run in turn in one process on
one thread, and the ratio of their CPU times is taken pair by pair. The script stops if their outputs differ.

    python benchmarks/dit.py                                             # Latte-S/2, 16 latents of 4x32x32, batch 2
    MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 python benchmarks/dit.py

A training step is forward, mean square and backward, without an optimizer. The last two columns are the share of the
time that the products of the linear layers take by themselves, measured beside it.
"""

from __future__ import annotations

import argparse
import math
import statistics

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn
from unet_triplane import cpu_seconds, in_turn, step_of

from videodiff.checkpoints.published import load
from videodiff.cost.real_run import counted
from videodiff.diffusion.condition import Condition
from videodiff.networks import SpacetimeDiT
from videodiff.networks.dit_sizes import SIZES
from videodiff.networks.positions import grid_coordinates, places, sincos, sincos_in_space

SMALLEST = ("--depth", "2", "--frames", "2", "--side", "8", "--batch", "1", "--repeats", "1")
CHANNELS, PATCH, CLASSES = 4, 2, 101


class Attention(nn.Module):
    """Self-attention with its weights written out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).contiguous()
        q, k, v = qkv.unbind(0)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, length, width))


class Mlp(nn.Module):
    """Two layers with GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """A norm's output scaled and shifted, by a vector for each sequence."""
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


def modulation(width: int, count: int) -> nn.Sequential:
    """Vectors out of the condition."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, count * width))


class Block(nn.Module):
    """Attention and MLP with adaptive norms."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.mlp = Mlp(width)
        self.adaLN_modulation = modulation(width, 6)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        a, b, g, d, e, h = self.adaLN_modulation(c).chunk(6, dim=1)
        x = x + g.unsqueeze(1) * self.attn(modulate(self.norm1(x), a, b))
        return x + h.unsqueeze(1) * self.mlp(modulate(self.norm2(x), d, e))


class FinalLayer(nn.Module):
    """From tokens to the values of their patches."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, values)
        self.adaLN_modulation = modulation(width, 2)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.linear(modulate(self.norm_final(x), *self.adaLN_modulation(c).chunk(2, dim=1)))


class Latte(nn.Module):
    """The published network under its published names; ``x [B, F, C, H, W]``."""

    def __init__(self, depth: int, width: int, heads: int, frames: int, side: int) -> None:
        super().__init__()
        grid, cpu = side // PATCH, torch.device("cpu")
        self.x_embedder = nn.ModuleDict({"proj": nn.Conv2d(CHANNELS, width, PATCH, stride=PATCH)})
        self.t_embedder = nn.ModuleDict(
            {"mlp": nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))}
        )
        self.y_embedder = nn.ModuleDict({"embedding_table": nn.Embedding(CLASSES + 1, width)})
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.final_layer = FinalLayer(width, PATCH**2 * 2 * CHANNELS)
        space = sincos_in_space(grid_coordinates(1, grid, grid, cpu), width, columns_first=True)
        self.register_buffer("pos_embed", space.float()[None])
        self.register_buffer("temp_embed", sincos(places(frames, cpu), width).float()[None])

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        batch, frames, side = x.shape[0], x.shape[1], x.shape[-1] // PATCH
        x = self.x_embedder["proj"](rearrange(x, "b f c h w -> (b f) c h w"))
        x = rearrange(x, "n d h w -> n (h w) d") + self.pos_embed
        angles = t[:, None].float() * torch.exp(-math.log(10_000) * torch.arange(128) / 128)
        t = self.t_embedder["mlp"](torch.cat([angles.cos(), angles.sin()], dim=-1))
        c = t + self.y_embedder["embedding_table"](y)
        of_frames = repeat(c, "n d -> (n f) d", f=frames)
        of_places = repeat(c, "n d -> (n p) d", p=side**2)
        for i in range(0, len(self.blocks), 2):
            x = self.blocks[i](x, of_frames)
            x = rearrange(x, "(b f) p d -> (b p) f d", b=batch)
            x = self.blocks[i + 1](x + self.temp_embed if i == 0 else x, of_places)
            x = rearrange(x, "(b p) f d -> (b f) p d", b=batch)
        x = self.final_layer(x, of_frames)
        form = "(b f) (h w) (p q c) -> b f c (h p) (w q)"
        return rearrange(x, form, b=batch, h=side, w=side, p=PATCH, q=PATCH)


def seconds_of_products(depth: int, width: int, tokens: int, repeats: int) -> float:
    """CPU seconds of a forward pass's matrix products by themselves, those of the blocks' linear layers."""
    x, hidden = torch.randn(tokens, width), torch.randn(tokens, 4 * width)
    weights = [torch.randn(width, count * width) for count in (3, 1, 4)]
    last = torch.randn(4 * width, width)

    def products() -> None:
        for weight in weights:
            x @ weight
        hidden @ last

    products()
    return depth * statistics.median(cpu_seconds(products) for _ in range(3 * repeats))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="S")
    parser.add_argument("--depth", type=int, help="blocks, in place of the size's")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--side", type=int, default=32, help="of the latent")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    depth, width, heads = SIZES[options.size]
    depth = options.depth or depth
    peer = Latte(depth, width, heads, options.frames, options.side)
    ours = load("latte", peer.state_dict(), num_heads=heads)
    assert isinstance(ours, SpacetimeDiT)
    z = torch.randn(options.batch, CHANNELS, options.frames, options.side, options.side)
    steps, label = torch.linspace(10, 900, options.batch), torch.arange(options.batch)
    theirs, cond = z.transpose(1, 2).contiguous(), Condition(label=label)
    calls = {"peer": lambda: peer(theirs, steps, label), "ours": lambda: ours(z, steps, cond)}
    with torch.no_grad():
        difference = (calls["peer"]().transpose(1, 2) - calls["ours"]()).abs().max().item()
        gflop = counted(calls["ours"]) / 1e9
    name = f"Latte-{options.size}/2, depth {depth}, z {list(z.shape)}"
    print(f"torch {torch.__version__}, {options.threads} thread(s), {name}")
    print(f"largest difference of the outputs: {difference:.1e}; forward {gflop:.1f} GFLOP\n")
    if difference > 1e-4:
        raise SystemExit("SpacetimeDiT and the published network disagree: no comparison")
    print(
        "| measure, fp32 | published, CPU s | ours, CPU s | published / ours | matrix products, published | ours |"
    )
    print("|---|---|---|---|---|---|")
    tokens = options.frames * (options.side // PATCH) ** 2
    for is_training in (False, True):
        a = step_of(peer, calls["peer"], is_training, False)
        b = step_of(ours, calls["ours"], is_training, False)
        seconds_a, seconds_b, ratio = in_turn(a, b, options.repeats)
        products = (
            (3 if is_training else 1)
            * options.batch
            * seconds_of_products(depth, width, tokens, options.repeats)
        )
        shares = " | ".join(f"{products / seconds:.0%}" for seconds in (seconds_a, seconds_b))
        name = "training step" if is_training else "forward"
        print(f"| {name} | {seconds_a:.3f} | {seconds_b:.3f} | {ratio:.2f} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
