"""The transformer block of the encoders that are trained with a model."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from videodiff.networks.attention import attend_fused


def check_sizes(dim: int, depth: int, num_heads: int, max_tokens: int) -> None:
    """Refuse sizes that an encoder of such blocks cannot have.

    Raises:
        ValueError: naming the first.
    """
    for name, value, least in (
        ("dim", dim, 2), ("depth", depth, 1), ("num_heads", num_heads, 1), ("max_tokens", max_tokens, 2)
    ):  # fmt: skip
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if dim % 2 or dim % num_heads:
        raise ValueError(f"dim must be a multiple of 2 and of num_heads {num_heads}, got {dim}")


class TextBlock(nn.Module):
    """Self-attention, then an MLP of four times the width, each behind a layer norm and added to its input.

    Args:
        dim: D, a multiple of ``num_heads``.
        num_heads: of attention.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)  # features in the order head, (q, k, v), D / heads
        self.out = nn.Linear(dim, dim)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp_in = nn.Linear(dim, 4 * dim)
        self.mlp_out = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """``[B, L, D]`` -> the same; ``seen [B, 1, 1, L]`` bool says which tokens are attended to."""
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (self.num_heads, 3, -1))
        x = x + self.out(attend_fused(qkv, seen))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))
