"""AutoencoderKL: the image autoencoder of Stable Diffusion, applied frame by frame.

Rombach et al. 2022, section 3.1; names and arithmetic of ``AutoencoderKL`` in huggingface/diffusers, so that published
weights load as they are: residual blocks with group norms of each frame (epsilon 1e-6), strided 3x3 convolutions that
are padded on the right and below, nearest-neighbour enlargement, and one block of self-attention in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..frame_size import FrameSize, Resolution
from .autoencoder import Autoencoder
from .blocks import FrameNorm, from_tokens, tokens
from .tiles import in_tiles

LAYOUT = torch.channels_last


class KLNorm(FrameNorm):
    """Group norm of each frame with epsilon 1e-6."""

    def __init__(self, channels: int, num_groups: int) -> None:
        super().__init__(channels)
        if channels % num_groups:
            raise ValueError(
                f"norm_num_groups must divide every width of block_out_channels, got {num_groups} and {channels}"
            )
        self.num_groups, self.eps = num_groups, 1e-6


class KLResnet(nn.Module):
    """Norm, SiLU, 3x3 convolution, twice; plus the input, through a 1x1 convolution where the width changes."""

    def __init__(self, channels: int, out_channels: int, num_groups: int) -> None:
        super().__init__()
        self.norm1 = KLNorm(channels, num_groups)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = KLNorm(out_channels, num_groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if channels != out_channels:
            self.conv_shortcut = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.norm1(x, has_silu=True))
        y = self.conv2(self.norm2(y, has_silu=True))
        return y + (self.conv_shortcut(x) if "conv_shortcut" in self._modules else x)


class KLAttention(nn.Module):
    """Self-attention with one head over the places of a frame; plus the input."""

    def __init__(self, channels: int, num_groups: int) -> None:
        super().__init__()
        self.group_norm = KLNorm(channels, num_groups)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        y = tokens(self.group_norm(x))  # [N, H W, C]
        q, k, v = (layer(y).unsqueeze(1) for layer in (self.to_q, self.to_k, self.to_v))
        y = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        return x + from_tokens(self.to_out[0](y), x.shape[2])


class KLDownsample(nn.Module):
    """A 3x3 convolution with stride 2, padded on the right and below."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class KLUpsample(nn.Module):
    """Nearest-neighbour enlargement to twice the size, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class KLBlock(nn.Module):
    """Residual blocks of one level, and the change to the next size behind them.

    Args:
        channels: of the input.
        out_channels: of the output.
        num_layers: residual blocks.
        num_groups: of the norms.
        resample: name of the list of the resampling layer (``downsamplers``, ``upsamplers``); None for the last level.
    """

    def __init__(
        self, channels: int, out_channels: int, num_layers: int, num_groups: int, resample: str | None
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            KLResnet(channels if i == 0 else out_channels, out_channels, num_groups)
            for i in range(num_layers)
        )
        if resample is not None:
            layer = KLDownsample if resample == "downsamplers" else KLUpsample
            self.add_module(resample, nn.ModuleList([layer(out_channels)]))

    def forward(self, x: Tensor) -> Tensor:
        for layers in self.children():  # the residual blocks, then the resampling
            for layer in layers.children():
                x = layer(x)
        return x


class KLMiddle(nn.Module):
    """A residual block, attention, a residual block."""

    def __init__(self, channels: int, num_groups: int, has_attention: bool) -> None:
        super().__init__()
        if has_attention:
            self.attentions = nn.ModuleList([KLAttention(channels, num_groups)])
        self.resnets = nn.ModuleList(KLResnet(channels, channels, num_groups) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        if "attentions" in self._modules:
            x = self.attentions[0](x)
        return self.resnets[1](x)


class KLEncoder(nn.Module):
    """Frames ``[N, 3, H, W]`` -> ``[N, 2 Z, H / f, W / f]``."""

    def __init__(
        self, widths: Sequence[int], num_layers: int, out_channels: int, num_groups: int, has_attention: bool
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            KLBlock(before, width, num_layers, num_groups, "downsamplers" if i < len(widths) - 1 else None)
            for i, (before, width) in enumerate(zip([widths[0], *widths], widths, strict=False))
        )
        self.mid_block = KLMiddle(widths[-1], num_groups, has_attention)
        self.conv_norm_out = KLNorm(widths[-1], num_groups)
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.middle(self.down(x))

    def down(self, x: Tensor) -> Tensor:
        """The levels, to ``[N, C, H / f, W / f]``."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return x

    def middle(self, x: Tensor) -> Tensor:
        """What is done at the size of the latent."""
        return self.conv_out(self.conv_norm_out(self.mid_block(x), has_silu=True))


class KLDecoder(nn.Module):
    """Latents ``[N, Z, H', W']`` -> frames ``[N, 3, H' f, W' f]``; a level has one block more than on the way down."""

    def __init__(
        self,
        widths: Sequence[int],
        num_layers: int,
        latent_channels: int,
        num_groups: int,
        has_attention: bool,
    ) -> None:
        super().__init__()
        up = list(reversed(widths))
        self.conv_in = nn.Conv2d(latent_channels, up[0], 3, padding=1)
        self.up_blocks = nn.ModuleList(
            KLBlock(before, width, num_layers + 1, num_groups, "upsamplers" if i < len(up) - 1 else None)
            for i, (before, width) in enumerate(zip([up[0], *up], up, strict=False))
        )
        self.mid_block = KLMiddle(up[0], num_groups, has_attention)
        self.conv_norm_out = KLNorm(up[-1], num_groups)
        self.conv_out = nn.Conv2d(up[-1], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        return self.up(self.middle(z))

    def middle(self, z: Tensor) -> Tensor:
        """What is done at the size of the latent."""
        return self.mid_block(self.conv_in(z))

    def up(self, x: Tensor) -> Tensor:
        """The levels, from ``[N, C, H', W']`` on."""
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(self.conv_norm_out(x, has_silu=True))


class AutoencoderKL(Autoencoder):
    """The image autoencoder of Stable Diffusion, 83,653,863 parameters at its size, which is the default.

    Frames go through it one by one, so that a unit of its latent ``[B, C, T, H / f, W / f]`` is one frame and any frame
    may be given; f is 2 to the number of halvings. It takes frames of any size that f divides: ``resolution`` and
    ``num_frames`` say which clips a network without sizes of its own is made for. The latent is
    ``scaling_factor (z - shift_factor)``.

    Args:
        block_out_channels: width of each level; sizes are halved between two.
        layers_per_block: residual blocks of a level on the way down; one more on the way up.
        latent_channels: channels of the latent.
        norm_num_groups: groups of every norm.
        use_quant_conv: a 1x1 convolution behind the encoder.
        use_post_quant_conv: a 1x1 convolution in front of the decoder.
        mid_block_add_attention: attention between the two residual blocks in the middle.
        scaling_factor: what the latent is multiplied by; 0.18215 for Stable Diffusion 1 and 2. Weights do not show it.
        shift_factor: what is taken off it before.
        num_frames: frames of a clip.
        resolution: height and width of its frames in pixels, one number for a square.
        frames_at_once: frames in one pass of the encoder or decoder; the result is the same, memory is not. None is all
            of them. On a CPU they go one by one, but in training.
        tile: side in pixels of the squares in which larger frames go through its levels, a quarter of each shared with
            the next and faded over. What is done at the size of the latent, attention above all, still sees the whole
            frame; the norms of the levels see a tile, which changes the result a little everywhere
            (docs/first_stages.md has figures). None is whole frames.

    Raises:
        ValueError: for widths that the groups do not divide, a size that the halvings do not divide, or a tile of
            fewer than four places of the latent.
    """

    def __init__(
        self,
        block_out_channels: Sequence[int] = (128, 256, 512, 512),
        layers_per_block: int = 2,
        latent_channels: int = 4,
        norm_num_groups: int = 32,
        use_quant_conv: bool = True,
        use_post_quant_conv: bool = True,
        mid_block_add_attention: bool = True,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
        num_frames: int = 16,
        resolution: Resolution = 256,
        frames_at_once: int | None = 8,
        tile: int | None = None,
    ) -> None:
        super().__init__()
        widths = list(block_out_channels)
        self.factor = 2 ** (len(widths) - 1)
        self.size_factor = self.factor
        size = FrameSize.of(resolution)
        size.check_multiple(self.factor, "halvings of block_out_channels")
        check_counts(self.factor, scaling_factor, frames_at_once, tile)
        self.video_shape = (3, num_frames, *size)
        self.latent_channels = latent_channels
        self.scaling_factor, self.shift_factor = scaling_factor, shift_factor
        self.frames_at_once, self.tile = frames_at_once, tile
        sizes = (norm_num_groups, mid_block_add_attention)
        self.encoder = KLEncoder(widths, layers_per_block, 2 * latent_channels, *sizes)
        self.decoder = KLDecoder(widths, layers_per_block, latent_channels, *sizes)
        if use_quant_conv:
            self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        if use_post_quant_conv:
            self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)
        self.to(memory_format=LAYOUT)

    def latent_shape(self, video_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape ``(C, T, H / f, W / f)``.

        Raises:
            ValueError: for a size that is no multiple of f.
        """
        _, frames, height, width = video_shape
        FrameSize(height, width).check_multiple(
            self.factor, "halvings of block_out_channels", "size of a video"
        )
        return (self.latent_channels, frames, height // self.factor, width // self.factor)

    @property
    def scale_and_shift(self) -> tuple[float, float]:
        return self.scaling_factor, -self.shift_factor

    def network_sizes(self) -> dict[str, Any]:
        _, _, height, width = self.latent_shape(self.video_shape)
        return {"resolution": FrameSize(height, width).written}

    def moments(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance ``[B, C, T, H', W']`` fp32 of the posterior of the raw (unscaled) latent."""
        self.latent_shape(tuple(video.shape[1:]))
        mean, logvar = self.by_frames(self.frame_moments, video).chunk(2, dim=1)
        return mean, logvar.clamp(-30, 20)

    def encode(self, video: Tensor) -> Tensor:
        return (self.moments(video)[0] - self.shift_factor) * self.scaling_factor

    def decode(self, latent: Tensor) -> Tensor:
        return self.decode_raw(latent.float() / self.scaling_factor + self.shift_factor)

    def decode_raw(self, latent: Tensor) -> Tensor:
        """Raw latent ``[B, C, T, H', W']`` -> video, fp32."""
        return self.by_frames(self.frame_pixels, latent)

    def decode_stream(self, latent: Tensor) -> Iterator[Tensor]:
        """As many frames as go through the decoder at once."""
        for piece in latent.split(self.frames_at_once or latent.shape[2], dim=2):
            yield self.decode(piece)

    def forward(self, video: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, logvar = self.moments(video)
        latent = mean if noise is None else mean + (0.5 * logvar).exp() * noise
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1)
        return self.decode_raw(latent), kl

    @property
    def last_layer(self) -> Tensor:
        return self.decoder.conv_out.weight

    # --- frames -----------------------------------------------------------------------------------------------

    def frame_moments(self, frames: Tensor) -> Tensor:
        """``[N, 3, H, W]`` -> mean and log-variance ``[N, 2 C, H', W']``."""
        moments = self.encoder.middle(self.tiled(self.encoder.down, frames, Fraction(1, self.factor)))
        return self.quant_conv(moments) if "quant_conv" in self._modules else moments

    def frame_pixels(self, latents: Tensor) -> Tensor:
        """Raw ``[N, C, H', W']`` -> ``[N, 3, H, W]``."""
        if "post_quant_conv" in self._modules:
            latents = self.post_quant_conv(latents)
        return self.tiled(self.decoder.up, self.decoder.middle(latents), Fraction(self.factor))

    def tiled(self, levels: Callable[[Tensor], Tensor], x: Tensor, rate: Fraction) -> Tensor:
        """Frames ``[N, C, H, W]`` through the levels of one side, in tiles if they are larger than one."""
        if self.tile is None:
            return levels(x)
        places = self.tile // self.factor
        unit = self.factor if rate < 1 else 1  # of the input to a place of the latent
        side, shared = places * unit, places // 4 * unit
        return in_tiles(levels, x, (side, side), (shared, shared), rate)

    def by_frames(self, network: Callable[[Tensor], Tensor], video: Tensor) -> Tensor:
        """``[B, C, T, H, W]`` through a network of frames ``[N, C, H, W]``, so many at once, fp32."""
        frames = video.transpose(1, 2).flatten(0, 1).to(self.encoder.conv_in.weight.dtype)  # [B T, C, H, W]
        # The convolutions of a CPU choose their algorithm by the batch, and so the last bits of the result.
        at_once = 1 if frames.is_cpu and not self.training else self.frames_at_once or len(frames)
        chunks = frames.contiguous(memory_format=LAYOUT).split(at_once)
        made = torch.cat([network(chunk).float() for chunk in chunks])
        return made.unflatten(0, (len(video), -1)).transpose(1, 2)


def check_counts(factor: int, scaling_factor: float, frames_at_once: int | None, tile: int | None) -> None:
    """Refuse a scale, a chunk or a tile that cannot be.

    Raises:
        ValueError: naming the argument.
    """
    if not 0 < scaling_factor < float("inf"):
        raise ValueError(f"scaling_factor must be above 0 and finite, got {scaling_factor}")
    if frames_at_once is not None and frames_at_once < 1:
        raise ValueError(f"frames_at_once must be at least 1, got {frames_at_once}")
    if tile is not None and (tile < 4 * factor or tile % factor):
        raise ValueError(
            f"tile must be a multiple of {factor} (halvings) and at least {4 * factor}, got {tile}"
        )
