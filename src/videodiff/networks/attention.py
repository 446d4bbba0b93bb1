"""Attention over the pixels of a frame and over the frames of a pixel.

Frames are folded into the batch with the frame axis outermost, ``[(T B), C, H, W]`` in channels-last memory. The query
of frame ``t``, head ``n`` is then ``q[t, n]`` of a view ``[T, N, D]``, N = B H W heads: temporal attention needs no
transposed copy of its input, and what depends on a pair of frames alone (Shaw's vectors) is a product batched over T.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..seeding import send
from .blocks import FrameNorm, from_tokens, tokens, zero_init
from .embeddings import BucketBias, ShawPositions, rotate, without_autocast
from .norms import modulated_group_norm

TemporalPosition = Literal["shaw", "rotary", "t5", "shaw_lvdm"]

MAX_SEQUENCES = 65_535  # the y and z extent of a CUDA grid: no batched kernel is asked for more sequences
CPU_HEAD_DIM = 16  # a vector register of fp32; narrower heads leave part of it empty in the fused kernel
CPU_PIECE = 2**21  # numbers of the widest intermediate that a CPU works on at once: they stay in its cache


def image_mask(images: Sequence[bool], device: torch.device | str = "cpu") -> Tensor | None:
    """Who sees whom when some frames are still images of their own (Ho et al. 2022, section 3.1).

    Args:
        images: of each frame whether it is one.
        device: of the mask.

    Returns:
        ``[T, T]`` bool, True where the row's frame sees the column's: the videos' frames all see each other, an image
        sees itself. None if there is no image.
    """
    if not any(images):
        return None
    is_video = ~send(torch.tensor(images), device)
    return (is_video[:, None] & is_video[None, :]) | torch.eye(len(images), dtype=torch.bool, device=device)


def in_pieces(function: Callable[[Tensor], Tensor], x: Tensor, features: int, sequences: int = 1) -> Tensor:
    """``function(x)`` piece by piece along the second axis, for functions that treat its entries independently.

    On a CPU the pieces are small: an intermediate many times wider than ``x`` then stays in the cache, and the
    allocator hands out memory it has touched before. Elsewhere they are as large as a grid may be.

    Args:
        function: ``[T, n, C]`` -> ``[T, n, C']`` for any n.
        x: ``[T, N, C]``.
        features: width of its widest intermediate.
        sequences: batch entries of its batched kernels for each of the N.
    """
    size = CPU_PIECE // (len(x) * features) if x.device.type == "cpu" else MAX_SEQUENCES // sequences
    return function(x) if size >= x.shape[1] else piecewise(function, x, max(size, 1))


def piecewise(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """``function(x)`` for ``size`` entries of the second axis at a time."""
    return torch.cat([function(piece) for piece in x.split(size, dim=1)], dim=1)


def attend_over_frames(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    vectors: tuple[Tensor, Tensor] | None,
    as_lvdm: bool = False,
) -> Tensor:
    """Attention over the first axis, explicit: sequences are short and many, which fused kernels are slow at.

    ``e_ij = (q_i . (k_j + a_ij)) / sqrt(D) + bias_ij`` and ``o_i = sum_j softmax(e)_ij (v_j + b_ij)`` (Shaw et al.
    2018, eq. 3 and 4), the parts with ``a`` and ``b`` as one product per frame over all sequences. Softmax is fp32.

    Args:
        q: ``[T, N, D]``, N sequences; a view with any strides.
        k: as ``q``.
        v: as ``q``.
        bias: ``[heads, T, T]`` or ``[1, T, T]``, heads being the fastest axis of N; -inf hides. Or None.
        vectors: ``a`` and ``b``, two of ``[T, T, D]``, or None.
        as_lvdm: the part with ``a`` as LVDM's published weights were trained (YingqingHe/LVDM:lvdm/models/modules):
            ``q_j . a_ji`` over the fourth root of D, which is another term at another scale.

    Returns:
        ``[T, N, D]`` in the dtype of ``q``.
    """
    scale = q.shape[-1] ** -0.5
    with without_autocast(q.device):
        queries, keys = q.transpose(0, 1), k.permute(1, 2, 0)  # [N, T, D], [N, D, T]
        if vectors is None:
            start = q.new_empty(1, 1, 1).expand(queries.shape[0], len(q), len(k))  # not read: beta is 0
            logits = torch.baddbmm(start, queries, keys, beta=0, alpha=scale)
        else:
            a, b = (vector.to(q.dtype) for vector in vectors)
            pairs = torch.bmm(q, a.mT).transpose(0, 1)  # [N, T, T], q_i . a_ij
            if as_lvdm:
                logits = torch.baddbmm(pairs.mT, queries, keys, beta=scale**0.5, alpha=scale)
            else:
                logits = torch.baddbmm(pairs, queries, keys, beta=scale, alpha=scale)
        if bias is not None:
            logits.unflatten(0, (-1, len(bias))).add_(bias)
        weights = logits.softmax(-1, dtype=torch.float32).to(q.dtype)  # [N, T, T]
        out = torch.bmm(weights, v.transpose(0, 1)).transpose(0, 1)
        return out if vectors is None else torch.bmm(weights.transpose(0, 1), b) + out


def turned_weights(weight: Tensor, bias: Tensor | None, table: Tensor) -> tuple[Tensor, Tensor | None]:
    """The projection of each frame, its queries and keys turned by the frame's rotary angle.

    Turning is linear: T copies of a small matrix are turned in place of the largest tensor of the network, and rotary
    positions cost nothing in the pass over it.

    Args:
        weight: ``[heads 3 D, C]``, rows in the order head, (q, k, v), D.
        bias: ``[heads 3 D]`` or None.
        table: ``[2, T, D / 2]``, fp32.

    Returns:
        ``[T, C, heads 3 D]`` and ``[T, 1, heads 3 D]`` or None.
    """
    columns = weight.float().mT.unflatten(1, (-1, 3, 2 * table.shape[-1]))  # [C, heads, 3, D]
    if bias is not None:
        columns = torch.cat([columns, bias.float().view(1, *columns.shape[1:])])
    columns = columns.expand(table.shape[1], *columns.shape)
    turned = (
        torch.cat([rotate(columns[..., :2, :], table), columns[..., 2:, :]], dim=-2)
        .flatten(2)
        .to(weight.dtype)
    )
    return (turned, None) if bias is None else (turned[:, :-1], turned[:, -1:])


def project_frames(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x [T, N, C]`` through a linear layer for each frame: ``[T, C, E]`` and ``[T, 1, E]`` -> ``[T, N, E]``."""
    return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias, x, weight)


def attend_fused(qkv: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention by the fused kernel, for long sequences.

    On a CPU narrow heads are filled up with zeros, which change no result: at 2,048 tokens and heads of 8 the forward
    pass is 1.3 times as fast and both passes 1.7 times.

    Args:
        qkv: ``[N, L, heads, 3, D]``: queries, keys and values.
        mask: ``[L, L]`` bool, True where the row's token sees the column's, or what spreads to ``[N, heads, L, L]``;
            None is everywhere.

    Returns:
        ``[N, L, heads D]``.
    """
    head_dim = qkv.shape[-1]
    # FLOPs are counted with the fused kernel off, and shall not count zeros; a compiler cannot read that flag
    is_fused = torch.compiler.is_compiling() or torch.backends.cuda.flash_sdp_enabled()
    if is_fused and head_dim < CPU_HEAD_DIM and qkv.device.type == "cpu":
        qkv = F.pad(qkv, (0, CPU_HEAD_DIM - head_dim))
    q, k, v = qkv.permute(3, 0, 2, 1, 4)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=head_dim**-0.5)
    return y.transpose(1, 2)[..., :head_dim].flatten(2)


def attend_to(q: Tensor, kv: Tensor, mask: Tensor | None) -> Tensor:
    """Attention to other tokens by the fused kernel, narrow heads filled up as in :func:`attend_fused`.

    Args:
        q: ``[N, Q, heads, D]``.
        kv: ``[N, L, 2, heads, D]``: keys and values.
        mask: ``[N, L]`` bool, True where a token is seen, at least one of each row; None is everywhere.

    Returns:
        ``[N, Q, heads D]``.
    """
    head_dim = q.shape[-1]
    is_fused = torch.compiler.is_compiling() or torch.backends.cuda.flash_sdp_enabled()
    if is_fused and head_dim < CPU_HEAD_DIM and q.device.type == "cpu":
        q, kv = (F.pad(y, (0, CPU_HEAD_DIM - head_dim)) for y in (q, kv))
    k, v = kv.permute(2, 0, 3, 1, 4)
    seen = None if mask is None else mask[:, None, None]
    y = F.scaled_dot_product_attention(q.transpose(1, 2), k, v, attn_mask=seen, scale=head_dim**-0.5)
    return y.transpose(1, 2)[..., :head_dim].flatten(2)


class SpatialAttention(nn.Module):
    """Self-attention over the pixels of each frame, added to its input; the output layer starts at zero.

    Args:
        channels: a multiple of ``head_dim``.
        head_dim: width of a head.
    """

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.norm = FrameNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)  # features in the order head, (q, k, v), D
        self.out = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> the same."""
        qkv = self.qkv(tokens(self.norm(x))).unflatten(-1, (-1, 3, self.head_dim))  # [N, H W, heads, 3, D]
        return x + from_tokens(self.out(attend_fused(qkv)), x.shape[2])


class TimelineNorm(FrameNorm):
    """Group norm of each pixel's time line by itself, as in the published LVDM: statistics over T and a group."""

    def forward(self, y: Tensor) -> Tensor:  # type: ignore[override]  # nothing is folded in
        """``[T, N, C]``, N pixels, -> the same, in fp32 inside."""
        return modulated_group_norm(y[:, :, None], self, by_moments=y.device.type != "cpu")[:, :, 0]


class TemporalAttention(nn.Module):
    """Self-attention over the frames of each pixel, added to its input; the output layer starts at zero.

    Args:
        channels: a multiple of ``head_dim``.
        head_dim: width of a head.
        position: encoding of the distance between frames: Shaw's vectors, the same as LVDM published them, rotary
            angles or T5's bias per bucket.
        max_distance: distances beyond it share Shaw's last vector.
        over_timeline: norm over each pixel's time line instead of each frame.
    """

    def __init__(
        self,
        channels: int,
        head_dim: int,
        position: TemporalPosition,
        max_distance: int,
        over_timeline: bool = False,
    ) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.as_lvdm = position == "shaw_lvdm"
        self.norm = TimelineNorm(channels) if over_timeline else FrameNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)  # features in the order head, (q, k, v), D
        self.out = zero_init(nn.Linear(channels, channels))
        self.shaw = ShawPositions(head_dim, max_distance) if position.startswith("shaw") else None
        self.bucket_bias = BucketBias(channels // head_dim) if position == "t5" else None

    def forward(
        self, x: Tensor, num_frames: int, mask: Tensor | None = None, table: Tensor | None = None
    ) -> Tensor:
        """``[(T B), C, H, W]`` -> the same.

        Args:
            x: the frames, frame axis outermost.
            num_frames: T.
            mask: ``[T, T]`` bool, True where a frame is seen, or None.
            table: ``[2, T, D / 2]`` rotary angles, or None.
        """
        bias = self.bucket_bias(num_frames) if self.bucket_bias is not None else None
        if mask is not None:
            hidden = torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, -torch.inf)[None]
            bias = hidden if bias is None else bias + hidden
        vectors = self.shaw(num_frames) if self.shaw is not None else None
        turned = turned_weights(self.qkv.weight, self.qkv.bias, table) if table is not None else None

        def attend(y: Tensor) -> Tensor:
            qkv = self.qkv(y) if turned is None else project_frames(y, *turned)
            q, k, v = qkv.reshape(num_frames, -1, 3, self.head_dim).unbind(2)  # [T, (B H W heads), D]
            return self.out(attend_over_frames(q, k, v, bias, vectors, self.as_lvdm).reshape(y.shape))

        channels = x.shape[1]
        if isinstance(self.norm, TimelineNorm):
            y = self.norm(tokens(x).reshape(num_frames, -1, channels))
        else:
            y = tokens(self.norm(x)).reshape(num_frames, -1, channels)
        y = in_pieces(attend, y, 3 * channels, channels // self.head_dim)
        return x + from_tokens(y.view(len(x), -1, channels), x.shape[2])
