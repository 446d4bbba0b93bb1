"""The U-Net of projected latent video diffusion: one 2-D network over three planes (Yu et al. 2023, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..diffusion.condition import Condition
from ..frame_size import FrameSize, Resolution
from ..say import counted
from .attention import SpatialAttention
from .blocks import FrameNorm, ResBlock, from_tokens, set_norm_groups, tokens, zero_init
from .compilation import modules_of
from .context import Context, ContextBy, FrameContextAttention, context_layers
from .embeddings import TimeEmbedding, sinusoidal_embedding, without_autocast
from .network import Network
from .planes import PlaneSizes, join_stacks, reverse_time, split_stacks
from .resized import OwnSizes, Resized, more_inputs

if TYPE_CHECKING:
    from .latents import Latents

Shapes = list[tuple[int, int]]


class TriplaneBlock(nn.Module):
    """Layers that see one plane at a time, then attention over the tokens of all planes, and of these to a text.

    Args:
        layers: residual blocks and spatial attention, shared by the planes.
        joint: attention over the joined tokens.
        context: attention of the joined tokens to a text, or None.
    """

    def __init__(
        self,
        layers: list[nn.Module],
        joint: SpatialAttention,
        context: FrameContextAttention | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.joint = joint
        self.context = context

    def forward(
        self, parts: Sequence[Tensor], embedding: Tensor, shapes: Shapes, context: Context | None = None
    ) -> tuple[Tensor, Shapes]:
        """Tokens of planes of ``shapes`` -> tokens and shapes of the result.

        Args:
            parts: ``[B, L, C_i]``, whose features are joined: what comes from below and what skips.
            embedding: ``[B, E]``.
            shapes: rows and columns of each plane.
            context: the texts, of a network that attends to them.
        """
        stacks = [self.on_planes(stack, embedding) for stack in split_stacks(parts, shapes)]
        x, shapes = join_stacks(stacks, len(parts[0]))
        # a picture one pixel wide: group norm over all planes together, then attention
        picture = self.joint(from_tokens(x, x.shape[1]))
        if self.context is not None and context is not None:
            picture = self.context(picture, context)
        return tokens(picture), shapes

    def on_planes(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``[(P B), C, h, w]`` -> the same with other channels and size."""
        for layer in self.layers:
            x = layer(x, embedding) if isinstance(layer, ResBlock) else layer(x)
        return x


class TriplaneUNet(OwnSizes, Network):
    """A 2-D U-Net shared by the three planes of a clip, joined by attention after every block (Yu et al. 2023).

    The blocks are those of Dhariwal & Nichol 2021 (scale-shift norm, resampling by residual blocks, a fixed number of
    heads); at the levels listed, planes attend within themselves too. The published sizes are width 128 (PVDM-S,
    132 million parameters) and 256 (PVDM-L, 528 million) at planes of 32 x 32 and 16 x 32. All residual branches and
    the last convolution start at zero, so an untrained network returns exactly zero.

    Args:
        channels: channels of ``z``.
        num_frames: S, rows of the two planes over time.
        plane_size: H' and W', height and width of the spatial plane; one number for a square.
        width: channels of the first level, even and at least 4.
        channel_multipliers: channels of each level over ``width``; each level halves the planes.
        num_blocks: residual blocks per level.
        attention_levels: levels, from 0, at which each plane attends within itself.
        heads: attention heads, at every level.
        dropout: probability inside residual blocks.
        plane_embedding: add a fixed vector to the features of each plane, which has no parameters. Without it, as
            published, nothing tells the two planes over time apart but what is in them: swapping them in ``z`` swaps
            them in the output, so from pure noise a sampler swaps them in half of its samples, and those decode to
            debris.
        norm_groups: groups of the norms at most; None is 32, with four channels to a group at least.
        num_classes: number of classes; None = unconditional.
        context_dim: width of a text's tokens; None = no text.
        context_by: how the network is told the text: "attention" of the tokens of all planes to those of the text,
            behind each attention among the planes, or "pooling" into the time embedding.
        concat_channels: channels of the previous clip's planes, concatenated to ``z``; 0 = no previous clip.
        concat_reversed: see the planes of ``concat`` backwards in time, so that the last frame of the previous clip
            lies beside the first of the new one; as published it lies at the other end of the plane, further than a
            small network's convolutions reach.
        concat_overlap: frames that the previous clip and the new one have in common; with `concat_reversed` they lie
            beside themselves, and the others backwards behind them.
        recompute: forget the inside of each block in the forward pass and compute it again in the backward pass:
            less memory for a third more arithmetic.

    Raises:
        ValueError: if sizes, heads or levels do not fit each other.
    """

    channels: int
    plane_vectors: Tensor | None

    def __init__(
        self,
        channels: int = 4,
        num_frames: int = 16,
        plane_size: Resolution = 32,
        width: int = 128,
        channel_multipliers: tuple[int, ...] = (1, 2, 4, 4),
        num_blocks: int = 2,
        attention_levels: tuple[int, ...] = (0, 1, 2),
        heads: int = 8,
        dropout: float = 0.0,
        plane_embedding: bool = True,
        norm_groups: int | None = None,
        num_classes: int | None = None,
        context_dim: int | None = None,
        context_by: ContextBy = "attention",
        concat_channels: int = 4,
        concat_reversed: bool = False,
        concat_overlap: int = 0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        widths = [width * multiplier for multiplier in channel_multipliers]
        self.plane_sizes = PlaneSizes(num_frames, *FrameSize.of(plane_size, "plane_size"))
        self.size_factor = 2 ** max(len(widths) - 1, 0)
        check_sizes(self.plane_sizes, width, widths, num_blocks, attention_levels, heads)
        self.channels, self.num_classes, self.concat_channels = channels, num_classes, concat_channels
        self.context_dim, self.num_frames = context_dim, num_frames
        self.concat_reversed, self.concat_overlap, self.recompute = concat_reversed, concat_overlap, recompute
        vectors = sinusoidal_embedding(1000 / 3 * torch.arange(3), width) if plane_embedding else None
        self.register_buffer("plane_vectors", vectors, persistent=False)
        embedding_dim = 4 * width
        context_in, pooling = context_layers(context_dim, context_by, embedding_dim)

        def res(i: int, o: int, resample: Any = None) -> ResBlock:
            return ResBlock(i, o, embedding_dim, dropout, resample)

        def attention(c: int) -> SpatialAttention:
            return SpatialAttention(c, c // heads)

        def joined(layers: list[nn.Module], c: int) -> TriplaneBlock:
            context = None if context_in is None else FrameContextAttention(c, embedding_dim, c // heads)
            return TriplaneBlock(layers, attention(c), context)

        def block(i: int, o: int, level: int, resample: Any = None) -> TriplaneBlock:
            within = [attention(o)] if level in attention_levels else []
            change = [res(o, o, resample)] if resample is not None else []
            return joined([res(i, o), *within, *change], o)

        self.embedding = TimeEmbedding(width, embedding_dim, 2, num_classes, is_open=True)
        self.conv_in = nn.Conv2d(channels + concat_channels, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, current = [width], width
        last = len(widths) - 1
        for level, o in enumerate(widths):
            for _ in range(num_blocks):
                self.down.append(block(current, o, level))
                skips.append(o)
                current = o
            if level < last:
                self.down.append(joined([res(current, current, "down")], current))
                skips.append(current)
        self.middle = joined([res(current, current), attention(current), res(current, current)], current)
        for level, o in reversed(list(enumerate(widths))):
            for i in range(num_blocks + 1):
                resample = "up" if level > 0 and i == num_blocks else None
                self.up.append(block(current + skips.pop(), o, level, resample))
                current = o
        self.norm_out = FrameNorm(current)
        self.conv_out = zero_init(nn.Conv2d(current, channels, 3, padding=1))
        self.context_in, self.pooling = context_in, pooling
        set_norm_groups(self, norm_groups)
        self.to(memory_format=torch.channels_last)

    def resized(self, name: str, value: Tensor) -> Resized | None:
        """Channels to condition on that were not there begin at zero."""
        if name != "conv_in.weight":
            return None
        kernel = more_inputs(value, self.conv_in.weight, self.channels)
        return None if kernel is None else Resized(kernel, "inputs kept, joined ones begun at zero")

    def forward(self, z: Tensor, time: Tensor, cond: Condition) -> Tensor:
        """The network's prediction.

        Args:
            z: ``[B, C, N]``, the three planes one behind the other (``planes.split_planes``).
            time: ``[B]``, about 0 to 1000 (``NoiseSchedule.network_time``).
            cond: label, context and concat as far as the network was built for them; ``concat`` is the previous clip's
                planes ``[B, concat_channels, N]``, and to leave it out is the same as zeros.

        Returns:
            ``[B, C, N]``; fp32 under autocast.

        Raises:
            ValueError: if the shapes do not fit or the condition has a field the network was not built for.
        """
        self.check_input(z, cond)
        pooled = None if self.pooling is None else self.pooling(cond, z)
        context = None if self.context_in is None else self.context_in(cond, z)
        embedding = F.silu(self.embedding(time, cond.label, None, None, pooled))
        parts = [z.mT]
        if self.concat_channels > 0:
            known = z.new_zeros(len(z), self.concat_channels, z.shape[2])
            if cond.concat is not None:
                known = cond.concat.to(z.dtype)
            if self.concat_reversed:
                known = reverse_time(known, self.plane_sizes, self.concat_overlap)
            parts.append(known.mT)
        stacks = split_stacks(parts, self.plane_sizes.shapes)
        x, shapes = join_stacks([self.conv_in(stack) for stack in stacks], len(z))
        if self.plane_vectors is not None:
            tokens_of = [rows * columns for rows, columns in shapes]
            vectors = [
                v.expand(n, -1) for v, n in zip(self.plane_vectors.to(x.dtype), tokens_of, strict=True)
            ]
            x = x + torch.cat(vectors)
        skips = [x]
        for block in self.down:
            x, shapes = self.run(block, [x], embedding, shapes, context)
            skips.append(x)
        x, shapes = self.run(self.middle, [x], embedding, shapes, context)
        for block in self.up:
            x, shapes = self.run(block, [x, skips.pop()], embedding, shapes, context)
        with without_autocast(x.device):
            stacks = split_stacks([x.to(self.conv_out.weight.dtype)], shapes)
            x, _ = join_stacks(
                [self.conv_out(self.norm_out(stack, has_silu=True)) for stack in stacks], len(z)
            )
        return x.mT.contiguous()

    def run(
        self,
        block: nn.Module,
        parts: list[Tensor],
        embedding: Tensor,
        shapes: Shapes,
        context: Context | None,
    ) -> tuple[Tensor, Shapes]:
        """One block, or its forward alone if its inside shall be computed again in the backward pass."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, parts, embedding, shapes, context, use_reentrant=False)
        return block(parts, embedding, shapes, context)

    def blocks(self) -> list[nn.Module]:
        return modules_of(self, (ResBlock, SpatialAttention, FrameContextAttention))

    def check_latents(self, latents: Latents) -> None:
        """Refuse planes whose sizes or overlap are not those the network was built for."""
        if self.concat_reversed and self.concat_overlap != latents.overlap_frames:
            raise ValueError(
                f"concat_overlap of the network must equal overlap_frames of the model, got {self.concat_overlap} and "
                f"{latents.overlap_frames}; set --model.net.concat_overlap and --model.overlap_frames to the same"
            )
        planes, made = (self.channels, self.plane_sizes.num_tokens), latents.network_shape(1)
        if planes != made:
            raise ValueError(
                f"the network is made for planes {planes} (channels, tokens), the autoencoder makes {made}; set "
                "channels, num_frames and plane_size of --model.net"
            )

    def check_input(self, z: Tensor, cond: Condition) -> None:
        """Raise ValueError for what the network cannot take."""
        self.plane_sizes.check(z)
        if z.shape[1] != self.channels:
            raise ValueError(f"TriplaneUNet takes z of {self.channels} channels, got {z.shape[1]}")
        if cond.concat_time is not None:
            raise ValueError("the condition has a concat_time, which TriplaneUNet cannot be built for")
        self.check_condition(z, cond)


def check_sizes(
    planes: PlaneSizes,
    width: int,
    widths: list[int],
    num_blocks: int,
    attention_levels: tuple[int, ...],
    heads: int,
) -> None:
    """Raise ValueError unless planes, levels and heads fit each other."""
    if not widths:
        raise ValueError("channel_multipliers must name at least one level, got none")
    if num_blocks < 1:
        raise ValueError(f"num_blocks must be at least 1, got {num_blocks}")
    if width < 4 or width % 2:
        raise ValueError(f"width must be even and at least 4, got {width}")
    factor, reason = (
        2 ** (len(widths) - 1),
        f"{counted(len(widths) - 1, 'halving')}, one less than channel_multipliers",
    )
    if planes.num_frames < 1 or planes.num_frames % factor:
        raise ValueError(f"num_frames must be divisible by {factor} ({reason}), got {planes.num_frames}")
    FrameSize(planes.height, planes.width).check_multiple(factor, reason, "plane_size")
    unreached = sorted(set(attention_levels) - set(range(len(widths))))
    if unreached:
        raise ValueError(f"attention_levels must lie between 0 and {len(widths) - 1}, got {unreached}")
    for channels in sorted(set(widths)):
        if heads < 1 or channels % heads:
            raise ValueError(f"heads must divide the {channels} channels of every level, got {heads}")
