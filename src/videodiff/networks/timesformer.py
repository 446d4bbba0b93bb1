"""TimeSformer with rotary positions: attention over time, then over space, then an MLP (Bertasius et al. 2021).

Tokens are ``[S, N, n, D]``: S frames outermost, then N clips, n places of a frame, D features. A frame's queries are
then a view ``q[s]`` of all sequences over time, and attention over time copies nothing.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import attend_over_frames, in_pieces

TimeRotary = Literal["correct", "published"]


def time_angles(length: int, head_dim: int, rotary: TimeRotary = "correct") -> Tensor:
    """Angle of every feature of a head at every frame, ``[length, head_dim]`` fp64 (Su et al. 2021).

    Features ``2 i`` and ``2 i + 1`` are a pair that is turned by ``position * 10000^(-2 i / head_dim)``. The published
    PVDM gives the two of a pair different angles (frequencies ``f`` written ``[f, f]`` for a rotation of neighbours),
    so that it is no rotation: lengths change and a product of query and key depends on more than their distance.
    """
    frequencies = 10_000.0 ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    features = (
        frequencies.repeat(2) if rotary == "published" else frequencies.repeat_interleave(2)
    )  # [head_dim]
    return torch.arange(length, dtype=torch.float64)[:, None] * features


def space_angles(height: int, width: int, head_dim: int) -> Tensor:
    """Angle of every feature of a head at every place, ``[height * width, head_dim]`` fp64.

    Half of the pairs turn with the row and half with the column, both running from -pi to pi over the frame, times
    ``head_dim / 4`` factors from 1 to 5 in equal ratios (axial rotary positions of PVDM's autoencoder).
    """
    factors = 2 ** torch.linspace(0, math.log2(5), head_dim // 4, dtype=torch.float64)
    rows, columns = (
        math.pi * torch.linspace(-1, 1, size, dtype=torch.float64)[:, None] * factors
        for size in (height, width)
    )
    shape = (height, width, head_dim // 4)
    angles = torch.cat([rows[:, None].expand(shape), columns[None].expand(shape)], dim=-1)
    return angles.flatten(0, 1).repeat_interleave(2, dim=-1)


def turn_table(angles: Tensor) -> Tensor:
    """Cosines, and sines with the sign of the pair's first feature negative: ``[L, D]`` -> ``[2, L, D]`` fp32."""
    signs = torch.tensor([-1.0, 1.0], dtype=angles.dtype, device=angles.device).repeat(angles.shape[-1] // 2)
    return torch.stack([angles.cos(), signs * angles.sin()]).float()


def turn(x: Tensor, table: Tensor) -> Tensor:
    """Rotate pairs of neighbouring features.

    Args:
        x: ``[..., L, *K, D]``, any number K of further axes.
        table: ``[2, L, *ones, D]``, as many ones as K.
    """
    cos, sin = table.to(x.dtype)
    return torch.addcmul(x * cos, x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2), sin)


class TurnTables:
    """Rotary tables built once per size and device and kept.

    Not a module: the tables are constants, which must not be rounded by ``.to(bfloat16)`` nor stand in a checkpoint.
    """

    def __init__(self, head_dim: int, rotary: TimeRotary) -> None:
        self.head_dim, self.rotary = head_dim, rotary
        self.tables: dict[tuple[int, int, int, torch.device], tuple[Tensor, Tensor]] = {}

    def __call__(
        self, num_frames: int, height: int, width: int, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Tables of time ``[2, S, D]`` and of space ``[2, H W, D]``, fp32."""
        key = (num_frames, height, width, device)
        if key not in self.tables:
            with (
                torch.inference_mode(False),
                torch.no_grad(),
            ):  # an inference tensor could not be trained with
                time = time_angles(num_frames, self.head_dim, self.rotary)
                space = space_angles(height, width, self.head_dim)
                self.tables[key] = turn_table(time).to(device), turn_table(space).to(device)
        return self.tables[key]


class NormedAttention(nn.Module):
    """What attention is made of here: a norm before it, queries, keys and values in one projection, and the way out.

    Args:
        dim: D.
        heads: number of heads.
        head_dim: width of a head; together they may be wider or narrower than D.
    """

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.norm = nn.LayerNorm(dim)
        # Features in the order head, (q, k, v), D
        self.qkv = nn.Linear(dim, 3 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, dim)


class TimeAttention(NormedAttention):
    """Self-attention over the first axis of ``[S, N, D]``, with a norm before it; explicit, for short sequences."""

    def forward(self, x: Tensor, table: Tensor | None = None, read: slice = slice(None)) -> Tensor:
        """What is to be added to ``x[read]``: ``[S, N, D]`` -> ``[S', N, D]``.

        Args:
            x: the sequences.
            table: ``[2, S, head_dim]``, rotary angles of the frames, or None.
            read: which frames are asked for; all of them answer.
        """
        qkv = self.qkv(self.norm(x)).unflatten(-1, (self.heads, 3, self.head_dim))  # [S, N, heads, 3, d]
        if table is None:
            q, k = qkv[..., 0, :], qkv[..., 1, :]
        else:
            q, k = turn(qkv[..., :2, :], table[:, :, None, None, None]).unbind(-2)
        q, k, v = (part.flatten(1, 2) for part in (q[read], k, qkv[..., 2, :]))  # views [S, N heads, d]
        return self.out(attend_over_frames(q, k, v, None, None).unflatten(1, (-1, self.heads)).flatten(2))


class SpaceAttention(NormedAttention):
    """Self-attention over the places of each frame of ``[S, N, n, D]``, with a norm before it; fused."""

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """What is to be added to ``x [S, N, n, D]``; ``table [2, n, head_dim]`` are the angles of the places."""
        qkv = self.qkv(self.norm(x)).flatten(0, 1).unflatten(-1, (self.heads, 3, self.head_dim))
        q, k = turn(qkv[..., :2, :], table[:, :, None, None]).unbind(-2)  # 2 x [S N, n, heads, d]
        q, k, v = (part.transpose(1, 2) for part in (q, k, qkv[..., 2, :]))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.out(y).view_as(x)


class GatedMLP(nn.Module):
    """Norm, ``Linear``, its first half times GELU of its second, ``Linear`` (GEGLU, Shazeer 2020)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.rise = nn.Linear(dim, 2 * hidden)
        self.fall = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """What is to be added to ``x [..., D]``."""
        value, gate = self.rise(self.norm(x)).chunk(2, dim=-1)
        return self.fall(value * F.gelu(gate))


class TimeSformerBlock(nn.Module):
    """Attention over time, attention over space, gated MLP four times as wide; each added to its input."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.time = TimeAttention(dim, heads, head_dim)
        self.space = SpaceAttention(dim, heads, head_dim)
        self.mlp = GatedMLP(dim, 4 * dim)

    def forward(self, x: Tensor, time_table: Tensor, space_table: Tensor) -> Tensor:
        """``[S, N, n, D]`` -> the same."""
        shape, inner = x.shape, self.time.heads * self.time.head_dim

        def over_time(y: Tensor) -> Tensor:
            return y + self.time(y, time_table)

        def mixed(y: Tensor) -> Tensor:
            return y + self.mlp(y)

        x = in_pieces(over_time, x.flatten(1, 2), 3 * inner, self.time.heads).view(shape)
        x = x + self.space(x, space_table)
        return in_pieces(mixed, x.flatten(1, 2), 2 * self.mlp.fall.in_features).view(shape)


class TimeSformer(nn.Module):
    """A stack of blocks of divided space-time attention, without class token and without a last norm.

    Args:
        dim: features of a token.
        depth: blocks.
        heads: attention heads.
        head_dim: width of a head, a multiple of 4; ``heads * head_dim`` need not be ``dim``.
        time_rotary: rotary positions of frames, correct or as PVDM's published weights were trained.
        recompute: keep no activations inside blocks, compute them again in the backward pass.

    Raises:
        ValueError: if ``head_dim`` is not a multiple of 4.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        head_dim: int,
        time_rotary: TimeRotary = "correct",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if head_dim < 4 or head_dim % 4:
            raise ValueError(
                f"head_dim must be a multiple of 4 (pairs for rows and for columns), got {head_dim}"
            )
        if time_rotary not in ("correct", "published"):
            raise ValueError(f"time_rotary must be correct or published, got {time_rotary}")
        self.blocks = nn.ModuleList(TimeSformerBlock(dim, heads, head_dim) for _ in range(depth))
        self.tables = TurnTables(head_dim, time_rotary)
        self.recompute = recompute

    def forward(self, x: Tensor) -> Tensor:
        """``[S, N, H', W', D]`` -> the same; any S, H' and W'."""
        time_table, space_table = self.tables(x.shape[0], x.shape[2], x.shape[3], x.device)
        y = x.flatten(2, 3)
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                y = checkpoint(block, y, time_table, space_table, use_reentrant=False)
            else:
                y = block(y, time_table, space_table)
        return y.view_as(x)
