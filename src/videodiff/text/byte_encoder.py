"""ByteEncoder: a small transformer over the bytes of a text, trained with the model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from videodiff.networks.positions import places, sincos

from .blocks import TextBlock, check_sizes
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
        check_sizes(dim, depth, num_heads, max_tokens)
        self.embedding = nn.Embedding(START + 1, dim)
        self.blocks = nn.ModuleList(TextBlock(dim, num_heads) for _ in range(depth))
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
