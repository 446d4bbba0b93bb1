"""ByteEncoder: a small transformer over the bytes of a text, trained with the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from videodiff.networks.attention import attend_fused
from videodiff.networks.positions import places, sincos

from .encoder import TextEncoder, Tokens, check_texts, filled_up

START = 256  # behind the 256 bytes


class ByteEncoder(TextEncoder):
    """A transformer over the UTF-8 bytes of a text, which needs no vocabulary and no file (as Xue et al. 2022, ByT5).

    A start token goes before the bytes, so that an empty text has one too. Positions are sines and cosines, computed
    for any length; norms go before attention and MLP, and one behind the last.

    Args:
        dim: width of a token, a multiple of 2 and of ``num_heads``.
        depth: blocks of attention and MLP, at least 1.
        num_heads: of attention.
        max_tokens: bytes of a text, and the start token; at least 2.

    Raises:
        ValueError: for a size out of its range.
    """

    def __init__(self, dim: int = 128, depth: int = 2, num_heads: int = 4, max_tokens: int = 128) -> None:
        super().__init__(dim, max_tokens)
        for name, value, least in (
            ("dim", dim, 2), ("depth", depth, 1), ("num_heads", num_heads, 1), ("max_tokens", max_tokens, 2)
        ):  # fmt: skip
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if dim % 2 or dim % num_heads:
            raise ValueError(f"dim must be a multiple of 2 and of num_heads {num_heads}, got {dim}")
        self.embedding = nn.Embedding(START + 1, dim)
        self.blocks = nn.ModuleList(ByteBlock(dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        check_texts(texts)
        return filled_up([self.numbers(text) for text in texts])

    def numbers(self, text: str) -> list[int]:
        """The start token and the bytes of a text, cut behind a whole character."""
        content = text.encode("utf-8")
        if len(content) >= self.max_tokens:
            self.note_cut(text, len(content) + 1)
            content = content[: self.max_tokens - 1].decode("utf-8", errors="ignore").encode("utf-8")
        return [START, *content]

    def forward(self, tokens: Tokens) -> Tensor:
        x = self.embedding(tokens.ids)
        x = x + sincos(places(tokens.ids.shape[1], x.device), self.dim).to(x.dtype)
        seen = tokens.mask[:, None, None, :]  # [B, heads, query, key]
        for block in self.blocks:
            x = block(x, seen)
        return self.norm(x)


class ByteBlock(nn.Module):
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
