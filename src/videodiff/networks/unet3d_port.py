"""The 3-D U-Net of the PyPI package video-diffusion-pytorch (``Unet3D`` by Phil Wang), in another layout.

Levels of two residual blocks, linear attention over pixels and attention over frames; RMS norms over channels; rotary
angles and T5 buckets together for the frames' positions. Its checkpoints load through ``load_published``.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from rotary_embedding_torch import RotaryEmbedding
from torch import Tensor, nn

from ..diffusion.condition import Condition
from ..frame_size import FrameSize, Resolution
from .attention import attend_over_frames, image_mask, in_pieces, project_frames, turned_weights
from .blocks import PointwiseConv, from_tokens, tokens
from .embeddings import BucketBias, rotary_table, sinusoidal_embedding
from .network import Network

SPATIAL_HEAD_DIM = 32


class ChannelNorm(nn.Module):
    """RMS norm over channels without epsilon in the mean: ``x / max(|x|, 1e-12) * sqrt(C) * gamma``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """``[N, C, H, W]`` -> the same, times ``gain``, which broadcasts over ``[N, H W, C]``."""
        y = tokens(x)
        length = torch.linalg.vector_norm(y, dim=-1, keepdim=True, dtype=torch.float32).clamp(min=1e-12)
        factor = (y.shape[-1] ** 0.5 / length).to(y.dtype)
        return from_tokens(y * factor * (self.gamma * gain).to(y.dtype), x.shape[2])


class PortBlock(nn.Module):
    """3x3 convolution, norm, scale and shift, SiLU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm = ChannelNorm(out_channels)

    def forward(self, x: Tensor, modulation: Tensor | None = None) -> Tensor:
        """``[N, C, H, W]``, ``modulation [N, 2 C_out]`` -> ``[N, C_out, H, W]``."""
        x = self.proj(x)
        if modulation is None:
            return F.silu(self.norm(x))
        scale, shift = modulation.chunk(2, dim=1)
        return F.silu(self.norm(x, 1 + scale[:, None]) + shift[..., None, None].to(x.dtype))


class PortResBlock(nn.Module):
    """Two blocks, the first one conditioned on the time, plus the skip."""

    def __init__(self, channels: int, out_channels: int, embedding_dim: int | None) -> None:
        super().__init__()
        self.mlp = nn.Linear(embedding_dim, 2 * out_channels) if embedding_dim is not None else None
        self.block1 = PortBlock(channels, out_channels)
        self.block2 = PortBlock(out_channels, out_channels)
        self.res_conv = PointwiseConv(channels, out_channels) if channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """``[(T B), C, H, W]``, ``embedding [B, E]`` after its SiLU -> ``[(T B), C_out, H, W]``."""
        modulation = None
        if self.mlp is not None:
            assert embedding is not None  # a block that is told the time
            modulation = self.mlp(embedding).repeat(len(x) // len(embedding), 1)
        return self.res_conv(x) + self.block2(self.block1(x, modulation))


class LinearSpatialAttention(nn.Module):
    """Attention over pixels with softmax on queries and keys apart, linear in the number of pixels; plus its input."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels, bias=False)
        self.to_qkv = nn.Linear(channels, 3 * heads * SPATIAL_HEAD_DIM, bias=False)
        self.to_out = nn.Linear(heads * SPATIAL_HEAD_DIM, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> the same."""
        y = tokens(x)
        features = len(self.to_qkv.weight) * y.shape[1]
        y = in_pieces(lambda frames: self.attend(frames[0])[None], y[None], features, self.heads)[0]
        return x + from_tokens(y, x.shape[2])

    def attend(self, y: Tensor) -> Tensor:
        """``[N, H W, C]`` -> the same, with features before pixels inside: nothing is copied between the products."""
        y = self.norm(y).mT
        q, k, v = (
            torch.bmm(w.expand(len(y), -1, -1), y)
            .unflatten(1, (self.heads, -1))
            .flatten(0, 1)  # [(N heads), D, H W]
            for w in self.to_qkv.weight.chunk(3)
        )
        context = torch.bmm(v, k.softmax(-1).mT) * SPATIAL_HEAD_DIM**-0.5  # [(N heads), D of v, D of k]
        out = torch.bmm(context, q.softmax(-2)).unflatten(0, (-1, self.heads)).flatten(1, 2)
        return F.linear(out.mT, self.to_out.weight, self.to_out.bias)


class FullSpatialAttention(nn.Module):
    """Softmax attention over the pixels of a frame, plus its input."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, bias=False)
        self.to_qkv = nn.Linear(channels, 3 * heads * SPATIAL_HEAD_DIM, bias=False)
        self.to_out = nn.Linear(heads * SPATIAL_HEAD_DIM, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> the same."""
        y = self.to_qkv(self.norm(tokens(x))).unflatten(-1, (3, -1, SPATIAL_HEAD_DIM))
        y = F.scaled_dot_product_attention(*y.permute(2, 0, 3, 1, 4)).transpose(1, 2).flatten(2)
        return x + from_tokens(self.to_out(y), x.shape[2])


class PortTemporalAttention(nn.Module):
    """Attention over the frames of a pixel with rotary angles and a bias per bucket of distance, plus its input."""

    def __init__(self, channels: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.norm = nn.LayerNorm(channels, bias=False)
        # features in the order head, (q, k, v), D
        self.to_qkv = nn.Linear(channels, 3 * heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, channels, bias=False)

    def forward(self, x: Tensor, table: Tensor, bias: Tensor) -> Tensor:
        """``[(T B), C, H, W]`` -> the same; ``table [2, T, D / 2]``, ``bias [heads, T, T]``."""
        num_frames, channels = bias.shape[-1], x.shape[1]
        weight, _ = turned_weights(self.to_qkv.weight, None, table)

        def attend(y: Tensor) -> Tensor:
            qkv = project_frames(self.norm(y), weight, None)
            q, k, v = qkv.reshape(num_frames, -1, 3, self.head_dim).unbind(2)  # [T, (B H W heads), D]
            gathered = attend_over_frames(q, k, v, bias, None)
            return self.to_out(gathered.reshape(num_frames, -1, self.heads * self.head_dim))

        features = len(self.to_qkv.weight)
        y = in_pieces(attend, tokens(x).reshape(num_frames, -1, channels), features, self.heads)
        return x + from_tokens(y.view(len(x), -1, channels), x.shape[2])


class UNet3DPort(Network):
    """``Unet3D`` of video-diffusion-pytorch 0.7.0: equal outputs for equal weights, faster.

    The text of the published network is one vector (the mean of BERT's tokens); no text is a learned vector, which
    stands for a vector of zeros, the null condition here.

    Args:
        width: channels of the first level (``dim`` there); even.
        channel_multipliers: channels of each level over ``width``.
        channels: channels of the video.
        num_frames: frames of a video; it takes others too, to which its positions extend.
        resolution: height and width it is made for, one number for a square.
        heads: of attention (``attn_heads`` there).
        head_dim: width of a head of attention over time (``attn_dim_head`` there), even.
        vector_dim: width of the vector condition (``cond_dim`` there); None = no vector.
        mask_first: hide still images from a clip in the first attention over time as in all others. The published
            network forgets it there, so that a clip sees the images beside it.

    Raises:
        ValueError: if ``resolution`` cannot be halved once less than there are levels.
    """

    takes_images = True
    frequencies: Tensor

    def __init__(
        self,
        width: int = 64,
        channel_multipliers: tuple[int, ...] = (1, 2, 4, 8),
        channels: int = 3,
        num_frames: int = 16,
        resolution: Resolution = 64,
        heads: int = 8,
        head_dim: int = 32,
        vector_dim: int | None = None,
        mask_first: bool = True,
    ) -> None:
        super().__init__()
        factor = 2 ** (len(channel_multipliers) - 1)
        size = FrameSize.of(resolution)
        size.check_multiple(factor, "one halving between levels")
        self.width, self.size_factor = width, factor
        self.channels, self.num_frames, self.resolution = channels, num_frames, size.written
        self.heads, self.vector_dim, self.mask_first = heads, vector_dim, mask_first

        def over_frames(c: int) -> PortTemporalAttention:
            return PortTemporalAttention(c, heads, head_dim)

        dims = [width, *(width * m for m in channel_multipliers)]
        pairs, e = list(pairwise(dims)), 4 * width + (vector_dim or 0)
        self.null_vector = nn.Parameter(torch.randn(1, vector_dim)) if vector_dim else None
        self.time_rel_pos_bias = BucketBias(heads)
        self.register_buffer(
            "frequencies", RotaryEmbedding(min(head_dim, 32), cache_max_seq_len=1).freqs.detach().clone()
        )
        self.init_conv = nn.Conv2d(channels, width, 7, padding=3)
        self.init_temporal_attn = over_frames(width)
        self.time_mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, 4 * width))
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()

        def level(first: int, out: int, resample: nn.Module) -> nn.ModuleList:
            """Two residual blocks, attention over pixels and over frames, the way to the next level."""
            res = [PortResBlock(first, out, e), PortResBlock(out, out, e)]
            return nn.ModuleList([*res, LinearSpatialAttention(out, heads), over_frames(out), resample])

        for i, o in pairs:
            down = nn.Conv2d(o, o, 4, 2, 1) if (i, o) != pairs[-1] else nn.Identity()
            self.downs.append(level(i, o, down))
        mid = dims[-1]
        self.mid_block1, self.mid_block2 = PortResBlock(mid, mid, e), PortResBlock(mid, mid, e)
        self.mid_spatial_attn, self.mid_temporal_attn = FullSpatialAttention(mid, heads), over_frames(mid)
        for rank, (i, o) in enumerate(reversed(pairs)):
            up = nn.ConvTranspose2d(i, i, 4, 2, 1) if rank < len(pairs) - 1 else nn.Identity()
            self.ups.append(level(2 * o, i, up))
        self.final_conv = nn.ModuleList(
            [PortResBlock(2 * width, width, None), PointwiseConv(width, channels)]
        )
        self.to(memory_format=torch.channels_last)

    def forward(self, z: Tensor, time: Tensor, cond: Condition) -> Tensor:
        """``z [B, C, T, H, W]``, ``time [B]`` in steps -> ``[B, C, T, H, W]``.

        Args:
            z: of whose frames ``cond.images`` are still images of their own.
            time: in steps.
            cond: vector, if it was built for one, of each sample or of each frame; zeros are no vector.

        Raises:
            ValueError: for another condition, or a size that cannot be halved.
        """
        self.check_condition(z, cond)
        FrameSize(*z.shape[3:]).check_multiple(self.size_factor, "one halving between levels", "size of z")
        num_frames = z.shape[2]
        table, bias = rotary_table(self.frequencies, num_frames), self.time_rel_pos_bias(num_frames)
        seen, of_all = image_mask(cond.images, z.device), bias
        if seen is not None:
            bias = bias.masked_fill(~seen, -torch.inf)
        positions, first_positions = (table, bias), (table, bias if self.mask_first else of_all)
        embedding = F.silu(self.embedding(time, cond.vector))
        x = (
            z.permute(2, 0, 3, 4, 1).contiguous().flatten(0, 1).permute(0, 3, 1, 2)
        )  # (t b) c h w, channels-last
        x = first = self.init_temporal_attn(self.init_conv(x), *first_positions)
        skips = []
        for level in self.downs:
            res1, res2, spatial, temporal, down = cast(nn.ModuleList, level)
            x = temporal(spatial(res2(res1(x, embedding), embedding)), *positions)
            skips.append(x)
            x = down(x)
        x = self.mid_temporal_attn(self.mid_spatial_attn(self.mid_block1(x, embedding)), *positions)
        x = self.mid_block2(x, embedding)
        for level in self.ups:
            res1, res2, spatial, temporal, up = cast(nn.ModuleList, level)
            x = res2(res1(torch.cat([x, skips.pop()], dim=1), embedding), embedding)
            x = up(temporal(spatial(x), *positions))
        for layer in self.final_conv:
            x = layer(torch.cat([x, first], dim=1) if isinstance(layer, PortResBlock) else x)
        return x.unflatten(0, (num_frames, -1)).permute(1, 2, 0, 3, 4).contiguous()

    def embedding(self, time: Tensor, vector: Tensor | None) -> Tensor:
        """Time and vector, ``[B, E]`` or, where vectors are of frames, ``[(T B), E]``."""
        y = self.time_mlp(sinusoidal_embedding(time, self.width))
        if self.null_vector is None:
            return y
        null = self.null_vector.to(y.dtype).expand(len(y), -1)
        if vector is None:
            return torch.cat([y, null], dim=-1)
        vector = vector.to(y.dtype)
        if vector.ndim == 3:  # b t d -> (t b) d
            frames = vector.shape[1]
            vector, y, null = (
                vector.transpose(0, 1).flatten(0, 1),
                y.repeat(frames, 1),
                null.repeat(frames, 1),
            )
        return torch.cat([y, torch.where((vector == 0).all(-1, keepdim=True), null, vector)], dim=-1)

    def load_published(self, state_dict: dict[str, Tensor]) -> None:
        """Load a state dict of the published ``Unet3D``: its names mapped, its length-one axes dropped.

        Raises:
            RuntimeError: if names or shapes do not fit.
        """
        ours = self.state_dict()
        mapped = {}
        for name, value in state_dict.items():
            name = published_name(name)
            if name.endswith("to_qkv.weight") and is_over_frames(name):
                value = value.unflatten(0, (3, self.heads, -1)).transpose(0, 1).flatten(0, 2)
            mapped[name] = value.reshape(ours[name].shape) if name in ours else value
        self.load_state_dict(mapped)


def is_over_frames(name: str) -> bool:
    """Whether a parameter is of attention over frames, whose packed projection is ordered by head here."""
    return re.search(r"temporal|(downs|ups)\.\d+\.3\.", name) is not None


def published_name(name: str) -> str:
    """Our name of a parameter of the published network."""
    if name.endswith("rotary_emb.freqs"):
        return "frequencies"
    name = (
        name.replace("null_cond_emb", "null_vector")
        .replace("relative_attention_bias", "bias")
        .replace("fn.fn.fn.", "")
        .replace("fn.fn.", "")
    )
    name = name.replace("fn.norm.gamma", "norm.weight")
    name = re.sub(r"^time_mlp\.(\d)", lambda match: f"time_mlp.{int(match[1]) - 1}", name)
    return name.replace("mlp.1.", "mlp.") if not name.startswith("time_mlp") else name
