"""The interface of every text encoder: texts -> tokens -> a vector for each token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from videodiff.say import say
from videodiff.seeding import send

from .kept import Keeping, KeptTexts, Remembered

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

    How many other texts there are, and how long, changes no text's vectors. One that is frozen calls
    :meth:`look_up` when its weights are in place: from then on each text is encoded once.

    Args:
        dim: width of a vector.
        max_tokens: the most tokens of a text; a longer one is cut, which is said once.
    """

    is_frozen: bool = False
    """Whether its weights are those it came with: not trained, not stored in checkpoints."""

    kept_in: str | None = None
    """The folder that training keeps vectors in; None is the cache."""

    def __init__(self, dim: int, max_tokens: int) -> None:
        super().__init__()
        self.dim, self.max_tokens = dim, max_tokens
        self._has_said_cut = False
        self._kept: KeptTexts | None = None

    @property
    def keeps_vectors(self) -> bool:
        """Whether a text is encoded once, or each time, because training changes its vectors."""
        return self._kept is not None

    @property
    def kept(self) -> KeptTexts:
        """Its vectors that lie in files.

        Raises:
            RuntimeError: of an encoder that keeps none.
        """
        if self._kept is None:
            raise RuntimeError(f"{self.called} is trained: its vectors change and are not kept")
        return self._kept

    @property
    def called(self) -> str:
        """What messages call it."""
        return type(self).__name__

    def look_up(self, digest: str) -> None:
        """Look the vectors of texts up from now on, in files and in memory, before they are encoded.

        Args:
            digest: of all that vectors depend on, hexadecimal; names the files.
        """
        self._kept, self._remembered = KeptTexts(digest, self.dim, self.max_tokens), Remembered()

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
        """The vectors of some texts, on the device of the module: looked up where they do not change, or encoded.

        Raises:
            ValueError: as :meth:`tokenize`.
        """
        if not self.keeps_vectors or self.device.type == "meta":
            return self.encode(texts)
        check_texts(texts)
        rows = [self.vectors(text) for text in texts]
        tokens = torch.zeros(len(rows), max(map(len, rows), default=1), self.dim)
        mask = torch.zeros(tokens.shape[:2], dtype=torch.bool)
        for place, row in enumerate(rows):
            tokens[place, : len(row)], mask[place, : len(row)] = row, True
        return TextEmbedding(send(tokens, self.device), send(mask, self.device))

    def encode(self, texts: Sequence[str]) -> TextEmbedding:
        """The vectors of some texts, encoded at once."""
        tokens = self.tokenize(texts)
        tokens = Tokens(send(tokens.ids, self.device), send(tokens.mask, self.device))
        vectors = self(tokens).float()
        return TextEmbedding(vectors.masked_fill(~tokens.mask[..., None], 0), tokens.mask)

    @torch.no_grad()
    def encode_alike(self, texts: Sequence[str]) -> Tensor:
        """Vectors ``[N, L, dim]`` of texts of L tokens each, without gradient."""
        return self.encode(texts).tokens

    def vectors(self, text: str) -> Tensor:
        """Vectors ``[L, dim]`` of one text, on the host: looked up, remembered, or encoded by itself.

        By itself, because the last bits of a text's vectors depend on the batch that it is encoded in, and a run that
        is resumed has other batches of texts it has not seen.
        """
        if (found := self.kept.find(text)) is not None:
            return found
        if (found := self._remembered.find(text)) is None:
            found = self.encode_alike([text])[0].cpu()
            self._remembered.add(text, found)
        return found

    def keep(self, texts: Iterable[str], folder: Path, dtype: str = "fp16") -> Keeping:
        """What is to be written for those of some texts that are not kept yet; nothing is encoded.

        Args:
            texts: of the data.
            folder: of kept vectors, which exists; those in it are known from now on.
            dtype: fp16 or fp32.

        Raises:
            RuntimeError: of an encoder that keeps none.
            ValueError: in one line, for a damaged file, or a text with bytes that are no UTF-8.
        """
        self.kept.add(folder)
        new = [text for text in dict.fromkeys(texts) if text not in self.kept]
        return Keeping(self.kept, new, [self.tokenize([text]).mask.shape[1] for text in new], dtype)

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


def keeping_encoders(model: nn.Module) -> list[TextEncoder]:
    """The text encoders in a model whose vectors do not change and can be kept."""
    return [part for part in model.modules() if isinstance(part, TextEncoder) and part.keeps_vectors]


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
