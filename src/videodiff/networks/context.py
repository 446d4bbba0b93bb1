"""Text in a network: its tokens attended to by every place of every frame, or pooled into the time embedding.

What begins at zero is the output of either, so that a network that is told a text begins as one that is not. A text of
which no token is there, and one that is not given, is one token of zeros: every parameter has a gradient in every step.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..diffusion.condition import Condition
from .attention import attend_to
from .blocks import FrameNorm, from_tokens, tokens, zero_init
from .embeddings import without_autocast

ContextBy = Literal["attention", "pooling"]

POOLING_HEAD_DIM = 64  # at most


class Context(NamedTuple):
    """The tokens of a batch's texts. Of P texts for G frames the first is of the first G - P + 1, each other of one.

    P = 1 is one text for a whole clip, P = G one for each frame, P = 1 + I one for a clip and for each of I still
    images behind it.

    Attributes:
        tokens: ``[B, P, L, D]``.
        mask: ``[B, P, L]`` bool, True where a token is there, at least one of each text; None is everywhere.
    """

    tokens: Tensor
    mask: Tensor | None

    def of_samples(self, start: int, stop: int) -> Context:
        """The texts of some samples."""
        return Context(self.tokens[start:stop], None if self.mask is None else self.mask[start:stop])


def context_of(cond: Condition, z: Tensor, dim: int) -> Context:
    """The texts of a condition in the dtype of ``z``, as encoded, ``[B, P, L, dim]``."""
    if cond.context is None:
        return Context(z.new_zeros(len(z), 1, 1, dim), None)
    given, mask = cond.context.to(z.dtype), cond.context_mask
    given = given if given.ndim == 4 else given[:, None]
    if mask is None:
        return Context(given, None)
    mask = mask if mask.ndim == 3 else mask[:, None]
    has_any = mask.any(-1, keepdim=True)
    return Context(given.masked_fill(~has_any[..., None], 0), mask | ~has_any)


class ContextEmbedding(nn.Module):
    """Two layers that every token passes once, before the blocks attend to it (Chen et al. 2023, PixArt).

    Args:
        context_dim: width of the tokens as encoded.
        dim: width of the tokens as the blocks see them.
    """

    def __init__(self, context_dim: int, dim: int) -> None:
        super().__init__()
        self.context_dim = context_dim
        self.first, self.second = nn.Linear(context_dim, dim), nn.Linear(dim, dim)

    def forward(self, cond: Condition, z: Tensor) -> Context:
        """The tokens that the blocks of a network on ``z`` attend to."""
        context = context_of(cond, z, self.context_dim)
        return context._replace(tokens=self.second(F.gelu(self.first(context.tokens), approximate="tanh")))


class ContextPooling(nn.Module):
    """A text as one vector: a learned query for each head attends to its tokens (Lee et al. 2019, section 3.2).

    It runs in the dtype of its weights whatever autocast says, as the time embedding does that the vector joins.

    Args:
        context_dim: width of the tokens as encoded.
        dim: width of the vector.
    """

    def __init__(self, context_dim: int, dim: int) -> None:
        super().__init__()
        self.context_dim, head_dim = context_dim, math.gcd(dim, POOLING_HEAD_DIM)
        self.norm = nn.LayerNorm(context_dim)
        self.query = nn.Parameter(torch.randn(dim // head_dim, head_dim))
        self.kv = nn.Linear(context_dim, 2 * dim)
        self.out = zero_init(nn.Linear(dim, dim))

    def forward(self, cond: Condition, z: Tensor) -> Tensor:
        """``[B, dim]``, or ``[B, T, dim]`` where texts differ from frame to frame of ``z``."""
        context, (heads, width) = context_of(cond, z, self.context_dim), self.query.shape
        batch, texts = context.tokens.shape[:2]
        with without_autocast(z.device):
            given = self.norm(context.tokens.to(self.query.dtype))
            kv = self.kv(given).unflatten(-1, (2, heads, width)).flatten(0, 1)  # [B P, L, 2, heads, D]
            mask = None if context.mask is None else context.mask.flatten(0, 1)
            query = self.query.expand(batch * texts, 1, -1, -1)
            pooled = self.out(attend_to(query, kv, mask)[:, 0]).unflatten(0, (batch, texts))
        if texts == 1:
            return pooled[:, 0]
        of_clip = pooled[:, :1].expand(-1, z.shape[2] - texts + 1, -1)
        return torch.cat([of_clip, pooled[:, 1:]], dim=1)


def context_layers(
    context_dim: int | None, by: ContextBy, dim: int
) -> tuple[ContextEmbedding | None, ContextPooling | None]:
    """The layer before attention to a text, or that which pools it, of ``dim`` features; none without a text.

    Raises:
        ValueError: for another way, or a width below 1.
    """
    if by not in ("attention", "pooling"):
        raise ValueError(f"context_by must be attention or pooling, got {by!r}")
    if context_dim is None:
        return None, None
    if context_dim < 1:
        raise ValueError(
            f"context_dim must be at least 1 (none for a network without text), got {context_dim}"
        )
    if by == "pooling":
        return None, ContextPooling(context_dim, dim)
    return ContextEmbedding(context_dim, dim), None


class ContextAttention(nn.Module):
    """Attention of the places of frames to the tokens of their text; the output layer starts at zero.

    Keys and values are computed once for all frames of a text.

    Args:
        channels: of the places, a multiple of ``head_dim``.
        dim: width of the tokens.
        head_dim: width of a head.
    """

    def __init__(self, channels: int, dim: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(dim, 2 * channels)
        self.out = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """``[B, G, N, C]``, N places of each of G frames -> what they gathered, the same shape."""
        q = self.q(x).unflatten(-1, (-1, self.head_dim))  # [B, G, N, heads, D]
        kv = self.kv(context.tokens).unflatten(-1, (2, -1, self.head_dim))  # [B, P, L, 2, heads, D]
        frames, texts = x.shape[1], kv.shape[1]
        shared = frames - texts + 1

        def among(of_frames: slice, of_texts: slice) -> Tensor:
            """Frames that share one text, or have one each."""
            part, told = q[:, of_frames], kv[:, of_texts]
            mask = None if context.mask is None else context.mask[:, of_texts].flatten(0, 1)
            queries = part.unflatten(1, (told.shape[1], -1)).flatten(2, 3).flatten(0, 1)
            return attend_to(queries, told.flatten(0, 1), mask).view(*part.shape[:3], -1)

        if texts in (1, frames):
            return self.out(among(slice(None), slice(None)))
        of_clip, of_images = among(slice(shared), slice(1)), among(slice(shared, None), slice(1, None))
        return self.out(torch.cat([of_clip, of_images], dim=1))


class FrameContextAttention(ContextAttention):
    """The same behind a norm and added to its input, for frames folded into the batch, frame axis outermost."""

    def __init__(self, channels: int, dim: int, head_dim: int) -> None:
        super().__init__(channels, dim, head_dim)
        self.norm = FrameNorm(channels)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """``[(T B), C, H, W]`` -> the same."""
        y = tokens(self.norm(x)).unflatten(0, (-1, len(context.tokens))).transpose(0, 1)  # [B, T, H W, C]
        y = super().forward(y, context).transpose(0, 1).flatten(0, 1)
        return x + from_tokens(y, x.shape[2])
