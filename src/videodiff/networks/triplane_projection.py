"""Projects features of a clip onto a plane: a small transformer reads each line along the dropped axis (PVDM)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import in_pieces
from .resized import OwnSizes, Resized, interpolated
from .timesformer import TimeAttention

Readout = Literal["token", "first"]


class ProjectionBlock(nn.Module):
    """Attention over the first axis of ``[L, N, D]`` and an MLP with GELU, norms before both; added to the input."""

    def __init__(self, dim: int, heads: int, head_dim: int, hidden: int) -> None:
        super().__init__()
        self.attention = TimeAttention(dim, heads, head_dim)
        self.norm = nn.LayerNorm(dim)
        self.rise = nn.Linear(dim, hidden)
        self.fall = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, read: slice = slice(None)) -> Tensor:
        """``[L, N, D]`` -> the rows ``read`` of the result; all rows are seen."""
        y = x[read] + self.attention(x, read=read)
        return y + self.fall(F.gelu(self.rise(self.norm(y))))


class PlaneProjection(OwnSizes, nn.Module):
    """Pools one axis of a clip's features by a transformer with a learned token (Yu et al. 2023, section 3.1).

    Each line of ``length`` features along the axis gets the token behind it and a learned position added; where the
    token stands, the last layer's output is the line's summary.

    Args:
        dim: features of a token.
        length: size of the axis.
        depth: layers, at least 1.
        heads: attention heads.
        head_dim: width of a head.
        hidden: width of the MLP.
        readout: "token", the summary as described, or "first": the published code reads the line's first feature.

    Raises:
        ValueError: for an unknown readout or no layers.
    """

    def __init__(
        self,
        dim: int,
        length: int,
        depth: int = 4,
        heads: int = 4,
        head_dim: int | None = None,
        hidden: int = 512,
        readout: Readout = "token",
    ) -> None:
        super().__init__()
        if readout not in ("token", "first"):
            raise ValueError(f"readout must be token or first, got {readout}")
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        head_dim = max(dim // 8, 1) if head_dim is None else head_dim
        self.read = slice(length, None) if readout == "token" else slice(0, 1)
        self.width = max(3 * heads * head_dim, hidden)
        self.heads = heads
        self.token = nn.Parameter(torch.randn(dim))
        self.positions = nn.Parameter(torch.randn(length + 1, dim))
        self.blocks = nn.ModuleList(ProjectionBlock(dim, heads, head_dim, hidden) for _ in range(depth))

    def resized(self, name: str, value: Tensor) -> Resized | None:
        """Positions of another length are interpolated; the token keeps its own."""
        if (
            name != "positions"
            or value.ndim != 2
            or value.shape[1:] != self.positions.shape[1:]
            or len(value) < 2
        ):
            return None
        table = torch.cat([interpolated(value[:-1], len(self.positions) - 1), value[-1:]])
        return Resized(table, "positions interpolated")

    def forward(self, x: Tensor) -> Tensor:
        """``[length, N, D]`` -> ``[N, D]``."""
        return in_pieces(self.lines, x, self.width, self.heads).squeeze(0)

    def lines(self, x: Tensor) -> Tensor:
        """``[length, N, D]`` -> ``[1, N, D]``; only what is read is computed in the last layer."""
        token = self.token.to(x.dtype).expand(1, x.shape[1], -1)
        x = torch.cat([x, token]) + self.positions.to(x.dtype)[:, None]
        for block in self.blocks[:-1]:
            x = block(x)
        return self.blocks[-1](x, self.read)
