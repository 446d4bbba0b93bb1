"""The factorised space-time U-Net of Video Diffusion Models (Ho et al. 2022, section 3 and appendix A).

LVDM (He et al. 2022) uses the same network on latents; what its published weights have of their own are options.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..diffusion.condition import Condition
from ..frame_size import FrameSize, Resolution
from .attention import SpatialAttention, TemporalAttention, TemporalPosition, image_mask
from .blocks import ConvResample, FrameNorm, Resample, ResBlock, resampler, set_norm_groups, zero_init
from .compilation import modules_of
from .context import Context, ContextBy, FrameContextAttention, context_layers
from .embeddings import RotaryTables, TimeEmbedding, without_autocast
from .network import Network
from .resized import OwnSizes, Resized, more_inputs


class Frames(NamedTuple):
    """What the blocks know about the frames folded into their batch: count, visibility, rotary angles."""

    num_frames: int
    mask: Tensor | None
    table: Tensor | None


class SpaceTimeBlock(nn.Module):
    """A residual block, then attention over space, to a text and over time, as far as it has them."""

    def __init__(
        self,
        res: ResBlock,
        spatial: SpatialAttention | None = None,
        temporal: TemporalAttention | None = None,
        context: FrameContextAttention | None = None,
    ) -> None:
        super().__init__()
        self.res = res
        self.spatial = spatial
        self.temporal = temporal
        self.context = context

    def forward(self, x: Tensor, embedding: Tensor, frames: Frames, context: Context | None = None) -> Tensor:
        """``[(T B), C, H, W]`` and an embedding as of :class:`ResBlock` -> ``[(T B), C_out, H, W]``."""
        x = self.res(x, embedding)
        if self.spatial is not None and self.temporal is not None:
            x = self.spatial(x)
            if self.context is not None and context is not None:
                x = self.context(x, context)
            x = self.temporal(x, *frames)
        return x


class UNet3D(OwnSizes, Network):
    """A 2-D U-Net over frames in which temporal attention, and nothing else, connects them (Ho et al. 2022).

    Each level has ``num_blocks`` residual blocks on the way down and one more on the way up; at the listed resolutions
    each is followed by spatial and temporal attention, as is the first of the two in the middle. All residual branches
    and the last convolution start at zero, so an untrained network returns exactly zero. What the paper leaves open
    (order inside a block, resampling) is as in Dhariwal & Nichol 2021; group norm is per frame.

    Defaults are a small model; the paper's are in ``configs``. Parameters grow with ``width`` squared.

    Args:
        channels: channels of ``z``.
        out_channels: channels of the output; None is as ``channels``.
        resolution: height and width it is made for, one number for a square; the first level has this size over
            ``patch_size``.
        patch_size: side of the squares of pixels that the first level sees as one place, their values as its channels
            (Hoogeboom et al. 2023, "simple diffusion", section 3.3): the arithmetic falls with its square, and
            attention comes nearer to the pixels. 1 is the paper's.
        num_frames: frames of a video, the most it takes (still images of joint training come on top).
        width: channels of the first level, even and at least 4.
        channel_multipliers: channels of each level over ``width``; each level halves the size.
        num_blocks: residual blocks per level.
        attention_resolutions: sizes at which attention is used. Each must be the size of a level, which is the shorter
            of its height and width.
        head_dim: width of an attention head.
        heads: number of heads at every level, as in LVDM, in place of a fixed width.
        embedding_dim: width of the time embedding; None is ``4 * width``.
        embedding_layers: linear layers of the time embedding.
        dropout: probability inside residual blocks.
        temporal_position: encoding of the distance between frames: "shaw" (the paper), "rotary", "t5", or "shaw_lvdm",
            Shaw's as LVDM's published weights were trained.
        max_distance: distances beyond it share Shaw's last vector; None is ``num_frames - 1``.
        norm_groups: groups of the norms at most; None is 32, with four channels to a group at least.
        norm: group norm over each "frame", or over each "clip" and, in temporal attention, a pixel's time line (LVDM).
        resample: change of size by residual blocks ("residual") or by one convolution ("conv").
        num_classes: number of classes; None = unconditional.
        vector_dim: width of the vector condition; None = no vector.
        context_dim: width of a text's tokens; None = no text.
        context_by: how the network is told the text: "attention" to its tokens behind each spatial attention, or
            "pooling" into the time embedding (the paper's, of BERT-large).
        concat_channels: channels of a video to condition on, joined to ``z``; its noise level may come with it.
        noise_levels: number of learned vectors that encode that noise level; None = sinusoids.
        is_open: which frequencies the time embedding has (``sinusoidal_embedding``); LVDM's are open.
        recompute: forget the inside of each block in the forward pass and compute it again in the backward pass:
            less memory for a third more arithmetic.
        causal: temporal attention sees no later frame: a frame does not depend on those behind it. Not with norms over
            clips, which would tell of them.

    Raises:
        ValueError: if sizes, heads, attention resolutions or norms do not fit each other.
    """

    takes_images = True
    takes_unit_times = True
    channels: int
    num_frames: int

    def __init__(
        self,
        channels: int = 3,
        out_channels: int | None = None,
        resolution: Resolution = 64,
        patch_size: int = 1,
        num_frames: int = 16,
        width: int = 64,
        channel_multipliers: tuple[int, ...] = (1, 2, 4, 8),
        num_blocks: int = 2,
        attention_resolutions: tuple[int, ...] = (8, 16, 32),
        head_dim: int = 64,
        heads: int | None = None,
        embedding_dim: int | None = None,
        embedding_layers: int = 4,
        dropout: float = 0.0,
        temporal_position: TemporalPosition = "shaw",
        max_distance: int | None = None,
        norm: Literal["frame", "clip"] = "frame",
        norm_groups: int | None = None,
        resample: Resample = "residual",
        num_classes: int | None = None,
        vector_dim: int | None = None,
        context_dim: int | None = None,
        context_by: ContextBy = "attention",
        concat_channels: int = 0,
        noise_levels: int | None = None,
        is_open: bool = False,
        recompute: bool = False,
        causal: bool = False,
    ) -> None:
        super().__init__()
        widths = [width * multiplier for multiplier in channel_multipliers]
        check_counts(
            num_frames=num_frames,
            num_blocks=num_blocks,
            embedding_layers=embedding_layers,
            patch_size=patch_size,
        )
        sizes = level_sizes(resolution, len(widths), patch_size)
        if norm not in ("frame", "clip"):
            raise ValueError(f"norm must be frame or clip, got {norm!r}")
        if causal and norm == "clip":
            raise ValueError(
                "a causal network has norms over frames (norm frame): those over a clip see what follows"
            )
        head_dims = {w: head_dim if heads is None else w // max(heads, 1) for w in widths}
        check_heads(width, widths, sizes, attention_resolutions, head_dims, temporal_position)
        self.channels, self.out_channels = channels, channels if out_channels is None else out_channels
        self.resolution, self.num_frames = FrameSize.of(resolution).written, num_frames
        self.num_classes, self.vector_dim, self.concat_channels = num_classes, vector_dim, concat_channels
        self.context_dim = context_dim
        self.recompute, self.patch_size = recompute, patch_size
        # statistics of a clip tell each frame of the others, and its scales are of all frames alike
        self.takes_unit_times = self.takes_images = norm == "frame"
        self.is_causal = causal
        self.size_factor = patch_size * 2 ** (len(widths) - 1)
        if temporal_position == "rotary" and heads is not None:
            raise ValueError("rotary positions need one head_dim for all levels; leave heads out")
        self.rotary = RotaryTables(head_dim) if temporal_position == "rotary" else None
        over_clip = norm == "clip"
        distance = max(num_frames - 1, 1) if max_distance is None else max_distance
        embedding_dim = 4 * width if embedding_dim is None else embedding_dim
        context_in, pooling = context_layers(context_dim, context_by, embedding_dim)

        def block(i: int, o: int, has_attention: bool) -> SpaceTimeBlock:
            res = ResBlock(i, o, embedding_dim, dropout, over_clip=over_clip)
            if not has_attention:
                return SpaceTimeBlock(res)
            temporal = TemporalAttention(o, head_dims[o], temporal_position, distance, over_clip)
            context = None
            if context_in is not None:
                context = FrameContextAttention(o, embedding_dim, head_dims[o])
            return SpaceTimeBlock(res, SpatialAttention(o, head_dims[o]), temporal, context)

        self.embedding = TimeEmbedding(
            width,
            embedding_dim,
            embedding_layers,
            num_classes,
            vector_dim,
            concat_channels > 0,
            is_open,
            noise_levels,
        )
        self.conv_in = nn.Conv2d((channels + concat_channels) * patch_size**2, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, current = [width], width
        for level, (o, size) in enumerate(zip(widths, sizes, strict=True)):
            for _ in range(num_blocks):
                self.down.append(block(current, o, size in attention_resolutions))
                current = o
                skips.append(current)
            if level < len(widths) - 1:
                self.down.append(resampler(resample, current, embedding_dim, dropout, "down"))
                skips.append(current)
        self.middle = nn.ModuleList([block(current, current, True), block(current, current, False)])
        for level, (o, size) in reversed(list(enumerate(zip(widths, sizes, strict=True)))):
            for _ in range(num_blocks + 1):
                self.up.append(block(current + skips.pop(), o, size in attention_resolutions))
                current = o
            if level > 0:
                self.up.append(resampler(resample, current, embedding_dim, dropout, "up"))
        self.norm_out = FrameNorm(current, over_clip)
        self.conv_out = zero_init(nn.Conv2d(current, self.out_channels * patch_size**2, 3, padding=1))
        self.context_in, self.pooling = context_in, pooling
        set_norm_groups(self, norm_groups)
        self.to(memory_format=torch.channels_last)

    def resized(self, name: str, value: Tensor) -> Resized | None:
        """Channels to condition on that were not there begin at zero."""
        if name != "conv_in.weight":
            return None
        kernel = more_inputs(value, self.conv_in.weight, self.channels * self.patch_size**2)
        return None if kernel is None else Resized(kernel, "inputs kept, joined ones begun at zero")

    def forward(self, z: Tensor, time: Tensor, cond: Condition) -> Tensor:
        """The network's prediction.

        Args:
            z: ``[B, C, T, H, W]``, of whose frames ``cond.images`` are still images of their own. H and W may
                differ from ``resolution`` but must be divisible as it is.
            time: ``[B]``, about 0 to 1000 (``NoiseSchedule.network_time``), or, with norms over frames, ``[B, T]``, a
                time of its own for each frame. Times that are all equal give what one time gives, on a CPU to the bit.
            cond: label, vector, context, concat and concat_time as far as the network was built for them; label, vector
                and context of each sample or, with norms over frames, of each frame.

        Returns:
            ``[B, out_channels, T, H, W]``; fp32 under autocast.

        Raises:
            ValueError: if the shapes do not fit or the condition has a field the network was not built for.
        """
        self.check_input(z, time, cond)
        num_frames = z.shape[2]
        frames = Frames(
            num_frames,
            self.mask(cond.images, num_frames, z.device),
            self.rotary(num_frames, z.device) if self.rotary is not None else None,
        )
        pooled = None if self.pooling is None else self.pooling(cond, z)
        context = None if self.context_in is None else self.context_in(cond, z)
        embedding = F.silu(self.embedding(time, cond.label, cond.vector, cond.concat_time, pooled))
        if embedding.ndim == 3:  # of each frame: b t e -> (t b) e, or t b e
            embedding = embedding.transpose(0, 1)
            embedding = embedding.flatten(0, 1) if time.ndim == 1 else embedding
        x = self.conv_in(self.fold(z, cond.concat))
        skips = [x]
        for layer in self.down:
            x = self.run(layer, x, embedding, frames, context)
            skips.append(x)
        for layer in self.middle:
            x = self.run(layer, x, embedding, frames, context)
        for layer in self.up:
            if isinstance(layer, SpaceTimeBlock):
                x = torch.cat([x, skips.pop()], dim=1)
            x = self.run(layer, x, embedding, frames, context)
        with without_autocast(x.device):
            x = x.to(self.conv_out.weight.dtype)
            x = self.conv_out(self.norm_out(x, num_frames=num_frames, has_silu=True))
        if self.patch_size > 1:
            x = F.pixel_shuffle(x, self.patch_size)
        # (t b) c h w -> b c t h w
        return x.unflatten(0, (num_frames, -1)).permute(1, 2, 0, 3, 4).contiguous()

    def mask(self, images: Sequence[bool], num_frames: int, device: torch.device) -> Tensor | None:
        """Which frames each frame sees, ``[T, T]`` bool; None is all."""
        mask = image_mask(images, device)
        if not self.is_causal:
            return mask
        earlier = torch.ones(num_frames, num_frames, dtype=torch.bool, device=device).tril()
        return earlier if mask is None else mask & earlier

    def fold(self, z: Tensor, concat: Tensor | None) -> Tensor:
        """``z`` and what is joined to it as frames of patches: ``b c t h w -> (t b) c h w``, channels-last."""
        if self.concat_channels > 0:
            missing = z.new_zeros(len(z), self.concat_channels, *z.shape[2:]) if concat is None else concat
            z = torch.cat([z, missing.to(z.dtype)], dim=1)
        x = z.permute(2, 0, 3, 4, 1).contiguous().flatten(0, 1).permute(0, 3, 1, 2)
        if self.patch_size == 1:
            return x
        return F.pixel_unshuffle(x, self.patch_size).contiguous(memory_format=torch.channels_last)

    def run(
        self, layer: nn.Module, x: Tensor, embedding: Tensor, frames: Frames, context: Context | None
    ) -> Tensor:
        """One block, or its forward alone if its inside shall be computed again in the backward pass."""
        inputs = (x, embedding, frames, context) if isinstance(layer, SpaceTimeBlock) else (x, embedding)
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(layer, *inputs, use_reentrant=False)
        return layer(*inputs)

    def blocks(self) -> list[nn.Module]:
        kinds = (ResBlock, ConvResample, SpatialAttention, FrameContextAttention, TemporalAttention)
        return modules_of(self, kinds)

    def check_input(self, z: Tensor, time: Tensor, cond: Condition) -> None:
        """Raise ValueError for what the network cannot take."""
        if z.ndim != 5 or z.shape[1] != self.channels:
            raise ValueError(f"UNet3D takes z of shape [B, {self.channels}, T, H, W], got {list(z.shape)}")
        if time.ndim == 2 and not (self.takes_unit_times and time.shape == (len(z), z.shape[2])):
            raise ValueError(
                f"time must have shape [{len(z)}] or, with norms over frames, [{len(z)}, {z.shape[2]}], got "
                f"{list(time.shape)}{'' if self.takes_unit_times else ' (this network was built with norm clip)'}"
            )
        self.check_condition(z, cond)
        num_images = sum(cond.images)
        num_videos_frames = z.shape[2] - num_images
        if num_videos_frames > self.num_frames:
            raise ValueError(
                f"UNet3D was built for at most {self.num_frames} frames (num_frames), got {num_videos_frames} beside "
                f"{num_images} still images; make longer videos window by window"
            )
        why = "patch_size, and one halving between levels"
        FrameSize(*z.shape[3:]).check_multiple(self.size_factor, why, "size of z")


def level_sizes(resolution: Resolution, num_levels: int, patch_size: int = 1) -> list[int]:
    """The shorter side of each level, the first being ``resolution`` over ``patch_size``, each half of the one before.

    Raises:
        ValueError: if it cannot be halved so often.
    """
    if num_levels < 1:
        raise ValueError("channel_multipliers must name at least one level, got none")
    factor = patch_size * 2 ** (num_levels - 1)
    reason = f"patch_size {patch_size}, {num_levels - 1} halvings, one less than channel_multipliers"
    size = FrameSize.of(resolution)
    size.check_multiple(factor, reason)
    return [min(size) // patch_size >> level for level in range(num_levels)]


def check_heads(
    width: int,
    widths: list[int],
    sizes: list[int],
    attention_resolutions: tuple[int, ...],
    head_dims: dict[int, int],
    position: TemporalPosition,
) -> None:
    """Raise ValueError unless attention fits the levels."""
    if width < 4 or width % 2:
        raise ValueError(f"width must be even and at least 4, got {width}")
    if position not in ("shaw", "rotary", "t5", "shaw_lvdm"):
        raise ValueError(f"temporal_position must be shaw, rotary, t5 or shaw_lvdm, got {position}")
    unreached = sorted(set(attention_resolutions) - set(sizes))
    if unreached:
        raise ValueError(f"attention_resolutions must be sizes of levels, {sizes} here, got {unreached}")
    if position == "rotary" and any(dim % 2 for dim in head_dims.values()):
        raise ValueError(f"rotary positions need an even head_dim, got {min(head_dims.values())}")
    attended = {w for w, size in zip(widths, sizes, strict=True) if size in attention_resolutions} | {
        widths[-1]
    }
    for channels in sorted(attended):
        if head_dims[channels] < 1 or channels % head_dims[channels]:
            raise ValueError(
                f"head_dim must divide the {channels} channels of every level with attention and of the middle, "
                f"got {head_dims[channels]}"
            )


def check_counts(**counts: int) -> None:
    """Raise ValueError for a count below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
