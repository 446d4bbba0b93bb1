"""WordEncoder: a small transformer over the words of a text, trained with the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from zlib import crc32

from torch import Tensor, nn

from videodiff.networks.positions import places, sincos

from .blocks import TextBlock, check_sizes
from .encoder import TextEncoder, Tokens, check_texts, filled_up

# Letters and digits up to 16 of them, so that a script without spaces has tokens too; each other sign is one.
WORD = re.compile(r"\w{1,16}|[^\w\s]")
GRAMS = (3, 4, 5)  # bytes


class WordEncoder(TextEncoder):
    """A transformer over the words of a text, which needs no vocabulary and no file.

    The vector of a word is the sum of a learned one of the whole and of those of each 3 to 5 neighbouring bytes of it,
    found by their hash (Bojanowski et al. 2017, fastText, section 3.2): a word is told from the others from the first
    step on, as a class is, and one that no caption has is like those that it shares letters with. Upper and lower
    case are one. A start token goes before the words, so that an empty text has one too.

    Args:
        dim: width of a token, a multiple of 2 and of ``num_heads``.
        depth: blocks of attention and MLP, at least 1.
        num_heads: of attention.
        max_tokens: words of a text, and the start token; at least 2.
        rows: vectors that hashes share, at least 1. Two words of a text rarely meet in one of 4096.

    Raises:
        ValueError: for a size out of its range.
    """

    def __init__(
        self, dim: int = 128, depth: int = 1, num_heads: int = 4, max_tokens: int = 64, rows: int = 4096
    ) -> None:
        super().__init__(dim, max_tokens)
        check_sizes(dim, depth, num_heads, max_tokens)
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        self.rows = rows
        self.embedding = nn.EmbeddingBag(rows + 1, dim, mode="sum", padding_idx=0)
        self.blocks = nn.ModuleList(TextBlock(dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """As of every encoder, with ``ids [B, L, G]``: the G parts of each word, 0 where it has fewer."""
        check_texts(texts)
        words = [["", *WORD.findall(text.lower())] for text in texts]
        for text, found in zip(texts, words, strict=True):
            if len(found) > self.max_tokens:
                self.note_cut(text, len(found))
                del found[self.max_tokens :]
        each = filled_up([self.parts(word) for found in words for word in found]).ids
        mask = filled_up([[0] * len(found) for found in words]).mask
        ids = each.new_zeros(*mask.shape, each.shape[1])
        ids[mask] = each
        return Tokens(ids, mask)

    def parts(self, word: str) -> list[int]:
        """Rows of a word and of the bytes in it, 1 to ``rows``."""
        whole = f"<{word}>".encode()
        grams = [whole[i : i + n] for n in GRAMS for i in range(len(whole) - n + 1)]
        return [crc32(part) % self.rows + 1 for part in dict.fromkeys([whole, *grams])]

    def forward(self, tokens: Tokens) -> Tensor:
        x = self.embedding(tokens.ids.flatten(0, 1)).unflatten(0, tokens.mask.shape)
        x = x + sincos(places(x.shape[1], x.device), self.dim).to(x.dtype)
        seen = tokens.mask[:, None, None, :]  # [B, heads, query, key]
        for block in self.blocks:
            x = block(x, seen)
        return self.norm(x)
