"""The block of a diffusion transformer: attention and MLP whose norms, scales and gates the condition sets.

Adaptive layer norm that begins at zero (adaLN-Zero; Peebles & Xie 2023, section 3.2, figure 3):

    x <- x + g_1 Attention(LN(x) (1 + s_1) + b_1),  x <- x + g_2 MLP(LN(x) (1 + s_2) + b_2)

with (b, s, g) linear in the condition and zero at first, so that an untrained block is the identity. Norms are of each
token, so that nothing passes between tokens but by attention.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import attend_fused
from .context import Context, ContextAttention
from .positions import turned

NORM_EPS = 1e-6


class Sequences(NamedTuple):
    """Which tokens of ``[B, G, L, D]`` attend to each other.

    Attributes:
        joined: those of all G groups, as one sequence of G L tokens; else those of each group.
        table: rotary angles of a sequence's tokens, ``[2, L, head_dim / 2]``, or None.
        mask: ``[L, L]`` bool, True where the row's token sees the column's, or None.
        groups: number of groups at the front that are a video; those behind attend within themselves, when ``joined``.
    """

    joined: bool = False
    table: Tensor | None = None
    mask: Tensor | None = None
    groups: int | None = None


def of_one(x: Tensor, vector: Tensor) -> bool:
    """Whether a modulation ``[B, ?, ?, D]`` is one vector for all tokens, so that weights can take it up.

    Scaling a layer's small weights is then less work than scaling its input or output, and its gradient is no sum over
    tokens; on a GPU, where one call is to serve the whole batch, it is not.
    """
    return x.device.type == "cpu" and vector.shape[:-1].numel() == 1 and x.shape[:-1].numel() > x.shape[-1]


def modulated(linear: nn.Linear, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``linear(LN(x) (1 + scale) + shift)`` with vectors that broadcast to ``x [B, G, L, D]``."""
    y = F.layer_norm(x, x.shape[-1:], eps=NORM_EPS)
    if of_one(x, shift):
        return F.linear(y, *behind_norm(linear, shift, scale))
    return linear(torch.addcmul(shift.to(y), y, 1 + scale.to(y)))


def behind_norm(linear: nn.Linear, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer that takes up the one vector by which its input is scaled, and that added to it."""
    return linear.weight * (1 + scale.flatten()), linear.bias + linear.weight @ shift.flatten()


def gated(x: Tensor, gate: Tensor, linear: nn.Linear, y: Tensor) -> Tensor:
    """``x + gate linear(y)`` with a gate that broadcasts to ``x [B, G, L, D]``."""
    return torch.addcmul(x, gate.to(x), linear(y).to(x))


class DiTAttention(nn.Module):
    """Multi-head self-attention between modulated norm and gate.

    Args:
        width: D, a multiple of ``num_heads``.
        num_heads: of attention.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)  # features in the order head, (q, k, v), D
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, modulation: tuple[Tensor, Tensor, Tensor], among: Sequences) -> Tensor:
        """``[B, G, L, D]`` -> the same.

        Args:
            x: the tokens.
            modulation: shift, scale and gate, which broadcast to ``x``.
            among: which of them attend to each other.
        """
        shift, scale, gate = modulation
        y = self.attended(modulated(self.qkv, x, shift, scale), among)
        return gated(x, gate, self.out, y)

    def attended(self, qkv: Tensor, among: Sequences) -> Tensor:
        """Queries, keys and values ``[B, G, L, 3 D]`` -> what each token has gathered, ``[B, G, L, D]``."""
        batch, groups, length, _ = qkv.shape
        qkv = qkv.unflatten(-1, (self.num_heads, 3, -1))
        if not among.joined:
            return attend(qkv.flatten(0, 1), among.table, among.mask).unflatten(0, (batch, groups))
        count, parts = groups if among.groups is None else among.groups, []
        if count:
            video = attend(qkv[:, :count].flatten(1, 2), among.table, among.mask)
            parts.append(video.unflatten(1, (count, length)))
        if count < groups:  # pictures of their own, which lie where a first frame does
            table = None if among.table is None else among.table[:, :length]
            still = attend(qkv[:, count:].flatten(0, 1), table, None)
            parts.append(still.unflatten(0, (batch, -1)))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def attend(qkv: Tensor, table: Tensor | None, mask: Tensor | None) -> Tensor:
    """Attention within sequences ``[N, L, heads, 3, D]`` -> ``[N, L, heads D]``, turned by rotary angles before."""
    if table is not None:
        qkv = torch.cat([turned(qkv[..., :2, :], table), qkv[..., 2:, :]], dim=-2)
    return attend_fused(qkv, mask)


class TableModulation(nn.Module):
    """Modulation that all blocks of a network share, less a table of the block's own (Chen et al. 2023, adaLN-single).

    Args:
        count: vectors that it makes.
        width: D of each.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(count, width))

    def forward(self, shared: Tensor) -> Tensor:
        """``[..., count D]``, or one vector for all, ``[..., D]``, -> ``[..., count D]``."""
        return (shared.unflatten(-1, (-1, self.table.shape[1])) + self.table.to(shared)).flatten(-2)


class DiTBlock(nn.Module):
    """Attention, attention to a text where there is one, then an MLP.

    Args:
        width: D.
        num_heads: of attention.
        mlp_ratio: width of the MLP over D.
        factorised: attend twice, within each frame and then over time, each with norm and gate of its own.
        has_context: attend to a text behind the attention within a frame. As published (Chen et al. 2023, PixArt), it
            has neither norm nor gate.
        shares_modulation: add a table to a modulation that all blocks share, which ``condition`` then is.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_ratio: float,
        factorised: bool = False,
        has_context: bool = False,
        shares_modulation: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        count = 9 if factorised else 6
        self.modulation: nn.Module = (
            TableModulation(count, width) if shares_modulation else nn.Linear(width, count * width)
        )
        self.attention = DiTAttention(width, num_heads)
        self.attention_over_time = DiTAttention(width, num_heads) if factorised else None
        self.context = ContextAttention(width, width, width // num_heads) if has_context else None
        self.mlp_in = nn.Linear(width, int(width * mlp_ratio))
        self.mlp_out = nn.Linear(int(width * mlp_ratio), width)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        among: Sequences,
        over_time: Sequences | None = None,
        context: Context | None = None,
    ) -> Tensor:
        """``[B, G, L, D]`` -> the same.

        Args:
            x: the tokens.
            condition: ``[B, G or 1, L or 1, D]``, behind its SiLU, or the modulation that the blocks share.
            among: which tokens attend to each other; for a factorised block, those of a frame.
            over_time: for a factorised block, those of a place, ``groups`` of which are frames of a video.
            context: the texts, of the G groups as frames.
        """
        shift, scale, gate, *more, mlp_shift, mlp_scale, mlp_gate = self.modulation(condition).split(
            self.width, -1
        )
        x = self.attention(x, (shift, scale, gate), among)
        if self.context is not None and context is not None:
            x = x + self.context(x, context).to(x)
        if self.attention_over_time is not None and over_time is not None:
            count = x.shape[1] if over_time.groups is None else over_time.groups
            of_places = [m[:, :count].transpose(1, 2) for m in more]
            video = self.attention_over_time(
                x[:, :count].transpose(1, 2).contiguous(),
                (of_places[0], of_places[1], of_places[2]),
                over_time,
            ).transpose(1, 2)
            x = video.contiguous() if count == x.shape[1] else torch.cat([video, x[:, count:]], dim=1)
        hidden = F.gelu(modulated(self.mlp_in, x, mlp_shift, mlp_scale), approximate="tanh")
        return gated(x, mlp_gate, self.mlp_out, hidden)
