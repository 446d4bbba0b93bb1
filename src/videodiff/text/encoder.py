"""The interface of every text encoder: texts -> tokens -> a vector for each token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from videodiff.say import say
from videodiff.seeding import send

SHOWN = 60  # characters of a text in a message


class Tokens(NamedTuple):
    """Texts as numbers, filled up to the longest of them.

    Attributes:
        ids: ``[B, L]`` int64, or ``[B, L, G]`` of the parts of a token.
        mask: ``[B, L]`` bool, True where there is a token.
    """

    ids: Tensor
    mask: Tensor


class TextEmbedding(NamedTuple):
    """Texts as vectors.

    Attributes:
        tokens: ``[B, L, dim]`` fp32, zero where there is no token.
        mask: ``[B, L]`` bool, True where there is one; there is at least one for every text, an empty one too.
    """

    tokens: Tensor
    mask: Tensor


class TextEncoder(nn.Module, ABC):
    """Texts as a vector for each token, which networks attend to or pool.

    How many other texts there are, and how long, changes no text's vectors.

    Args:
        dim: width of a vector.
        max_tokens: the most tokens of a text; a longer one is cut, which is said once.
    """

    is_frozen: bool = False
    """Whether its weights are those it came with: not trained, not stored in checkpoints."""

    def __init__(self, dim: int, max_tokens: int) -> None:
        super().__init__()
        self.dim, self.max_tokens = dim, max_tokens
        self._has_said_cut = False

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """The tokens of some texts, on the host, as long as the longest of these.

        Raises:
            ValueError: in one line, for a text with bytes that are no UTF-8.
        """

    @abstractmethod
    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens -> ``[B, L, dim]``; what stands where there is no token means nothing."""

    def embed(self, texts: Sequence[str]) -> TextEmbedding:
        """The vectors of some texts, on the device of the module.

        Raises:
            ValueError: as :meth:`tokenize`.
        """
        tokens = self.tokenize(texts)
        tokens = Tokens(send(tokens.ids, self.device), send(tokens.mask, self.device))
        vectors = self(tokens).float()
        return TextEmbedding(vectors.masked_fill(~tokens.mask[..., None], 0), tokens.mask)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def note_cut(self, text: str, length: int) -> None:
        """Say, once, that a text of so many tokens is cut."""
        if not self._has_said_cut:
            self._has_said_cut = True
            begins = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
            say(
                f"the text {begins!r} has {length} tokens, and {type(self).__name__} takes {self.max_tokens}: it is "
                "cut there, as every longer one is from now on"
            )


def filled_up(rows: Sequence[Sequence[int]], padding: int = 0) -> Tokens:
    """Texts of numbers as one tensor as wide as the longest."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    ids = torch.full((len(rows), max(map(len, rows), default=1)), padding, dtype=torch.int64)
    for at, row in zip(ids, rows, strict=True):
        at[: len(row)] = torch.tensor(row)
    return Tokens(ids, torch.arange(ids.shape[1]) < lengths[:, None])


def check_texts(texts: Sequence[str]) -> None:
    """Refuse texts with what cannot be written in UTF-8: bytes of a file or command line that were no text.

    Raises:
        ValueError: naming the first.
    """
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the text {text[:SHOWN]!r} holds bytes that are no UTF-8 (the first behind {error.start} characters): "
                "write it in UTF-8"
            ) from error
