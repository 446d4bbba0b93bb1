"""Autoencoder3D: the 3-D convolutional first stage of LVDM (He et al. 2022, arXiv 2211.13221, section 3.1).

Architecture of the published code (YingqingHe/LVDM:lvdm/models/modules/autoencoder_modules.py), which follows TATS
(Ge et al. 2022): strided 4x4x4 convolutions with one residual block a level on the way down, transposed ones with two
on the way up, group norm over whole clips, replicated borders, no attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..frame_size import FrameSize, Resolution
from .autoencoder import Autoencoder, LatentScale
from .block_cosines import block_cosines
from .blocks import set_norm_groups, zero_init
from .decoding import decode_windows
from .layers3d import LAYOUT, Layers, NormOver, Residual, SamePadConv3d, Size3, Temporal


class Encoder3D(nn.Module):
    """Video -> features ``[B, 2 Z, T / f_t, H / f_h, W / f_w]``; a stage is a strided convolution and a block."""

    def __init__(self, width: int, strides: list[Size3], out_channels: int, layers: Layers) -> None:
        super().__init__()
        self.conv_in = layers.conv(3, width, 3)
        self.stages = nn.ModuleList(
            nn.Sequential(
                layers.conv(width * 2**i, width * 2 ** (i + 1), 4, stride),
                Residual(width * 2 ** (i + 1), layers),
            )
            for i, stride in enumerate(strides)
        )
        channels = width * 2 ** len(strides)
        self.norm_out, self.conv_out = layers.norm(channels), layers.conv(channels, out_channels, 3)
        self.recompute = False

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for stage in self.stages:
            x = run(stage, x, self.recompute)
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder3D(nn.Module):
    """Latent ``[B, Z, T', H', W']`` -> video; a stage is a transposed convolution and two blocks."""

    def __init__(self, width: int, strides: list[Size3], latent_channels: int, layers: Layers) -> None:
        super().__init__()
        stages, channels = [], latent_channels
        for i, stride in enumerate(strides):
            out = width * 2 ** (len(strides) - i)
            up = layers.up(channels, out, 4, stride)
            stages.append(nn.Sequential(up, Residual(out, layers), Residual(out, layers)))
            channels = out
        self.stages = nn.ModuleList(stages)
        self.conv_out = layers.conv(channels, 3, 3)  # the published one has no norm before it
        self.recompute = False

    def forward(self, z: Tensor) -> Tensor:
        for stage in self.stages:
            z = run(stage, z, self.recompute)
        return self.conv_out(z)


def run(stage: nn.Module, x: Tensor, recompute: bool) -> Tensor:
    """The stage's output; with ``recompute`` its activations are computed again in the backward pass."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(stage, x, use_reentrant=False)
    return stage(x)


def stage_strides(downsample: Size3) -> list[Size3]:
    """Strides of each stage: every axis is halved from the first stage on until its factor is reached.

    Raises:
        ValueError: for a factor that is no power of two, or when nothing is left to halve.
    """
    halvings = [factor.bit_length() - 1 for factor in downsample]
    if any(factor != 1 << n for factor, n in zip(downsample, halvings, strict=True)) or max(halvings) < 1:
        raise ValueError(
            f"downsample must be three powers of two (time, height, width), one of them at least 2, got {downsample}"
        )
    time, height, width = halvings
    return [
        (2 if i < time else 1, 2 if i < height else 1, 2 if i < width else 1) for i in range(max(halvings))
    ]


class Autoencoder3D(Autoencoder):
    """The 3-D convolutional autoencoder of LVDM; 19,446,759 parameters at the paper's size, which is the default.

    It has no fixed size: any clip whose T, H and W are multiples of ``downsample`` can be encoded. ``num_frames`` and
    ``resolution`` say which ones it is trained on.

    Args:
        num_frames: frames of a training clip.
        resolution: height and width of its frames in pixels, one number for a square.
        width: channels of the first layer; they double at every halving.
        downsample: how many times fewer frames, rows and columns the latent has; powers of two.
        latent_channels: channels of the latent.
        norm_over: statistics of the norms, over clips as published, or over each frame. With frames a long latent
            decoded in windows is what it would be decoded whole.
        norm_groups: groups of the norms at most, 32 as published; None is 32 with four channels to a group at least:
            for a smaller ``width``.
        linear_path: add a linear map of each block of pixels to the latent's mean, and one of each latent place to the
            reconstruction, beside the two networks. The networks' norms discard brightness and contrast, which a
            network trained on few clips then guesses from them; a linear code of blocks knows it from the first steps
            on. Not published.
        recompute: keep no activations inside stages, compute them again in the backward pass.

    Raises:
        ValueError: for factors that are no powers of two or do not divide the clip.
    """

    temporal: Temporal = "centred"
    """Which frames a convolution sees: those before and behind, its own alone, or its own and those before."""

    def __init__(
        self,
        num_frames: int = 16,
        resolution: Resolution = 256,
        width: int = 32,
        downsample: tuple[int, int, int] = (4, 8, 8),
        latent_channels: int = 4,
        norm_over: NormOver = "clip",
        norm_groups: int | None = 32,
        linear_path: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if norm_over not in ("clip", "frame"):
            raise ValueError(f"norm_over must be clip or frame, got {norm_over!r}")
        size = FrameSize.of(resolution)
        self.video_shape = (3, num_frames, *size)
        self.downsample: Size3 = cast(Size3, tuple(downsample))  # from YAML it may be a list
        self.latent_channels = latent_channels
        strides = stage_strides(self.downsample)
        self.size_factor: tuple[int, int] = self.downsample[1:]
        size.check_multiple(self.size_factor, "downsample")
        self.latent_shape(self.video_shape)
        layers = Layers(norm_over, self.temporal)
        self.encoder = Encoder3D(width, strides, 2 * latent_channels, layers)
        self.decoder = Decoder3D(width, strides, latent_channels, layers)
        self.encoder.recompute = self.decoder.recompute = recompute
        self.to_moments = SamePadConv3d(2 * latent_channels, 2 * latent_channels, 1)
        self.from_latent = SamePadConv3d(latent_channels, latent_channels, 1)
        if linear_path:
            self.linear_in = nn.Conv3d(3, latent_channels, self.downsample, self.downsample)
            self.linear_out = nn.ConvTranspose3d(latent_channels, 3, self.downsample, self.downsample)
            for layer in (self.linear_in, self.linear_out):
                zero_init(layer)
                layer.weight.data.copy_(block_cosines(latent_channels, self.downsample))
            zero_init(self.to_moments)  # the networks begin by adding nothing to it
            zero_init(self.decoder.conv_out)
        self.linear_path = linear_path
        self.latent_scale = LatentScale()
        set_norm_groups(self, norm_groups)
        self.to(memory_format=LAYOUT)

    def latent_shape(self, video_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape ``(C, T / f_t, H / f_h, W / f_w)``.

        Raises:
            ValueError: for a size that is no multiple of its factor.
        """
        _, frames, height, width = video_shape
        size = FrameSize(height, width)
        units = self.latent_frames(frames)
        size.check_multiple(self.size_factor, "downsample", "size of a video")
        return (self.latent_channels, units, *(n // f for n, f in zip(size, self.size_factor, strict=True)))

    def latent_frames(self, num_frames: int) -> int:
        """Latent frames of a clip.

        Raises:
            ValueError: for a length that is no whole number of them.
        """
        each = self.downsample[0]
        if num_frames % each or num_frames < each:
            raise ValueError(f"num_frames must be a multiple of {each} (downsample), got {num_frames}")
        return num_frames // each

    @property
    def scale_and_shift(self) -> tuple[float, float]:
        return float(self.latent_scale.scale), float(self.latent_scale.shift)

    def network_sizes(self) -> dict[str, Any]:
        _, _, height, width = self.latent_shape(self.video_shape)
        return {"resolution": FrameSize(height, width).written}

    def moments(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance ``[B, C, T', H', W']`` fp32 of the posterior of the raw (unscaled) latent."""
        self.latent_shape(tuple(video.shape[1:]))
        video = video.contiguous(memory_format=LAYOUT)
        mean, logvar = self.to_moments(self.encoder(video)).float().chunk(2, dim=1)
        if self.linear_path:
            whole = video / self.linear_in.weight[0].numel()
            mean = mean + self.linear_in(self.in_blocks(whole)).float()
        return mean, logvar.clamp(-30, 20)

    def encode(self, video: Tensor) -> Tensor:
        return self.latent_scale(self.moments(video)[0])

    def decode(self, latent: Tensor) -> Tensor:
        return self.decode_raw(self.latent_scale.inverse(latent))

    def decode_raw(self, latent: Tensor) -> Tensor:
        """Raw latent ``[B, C, T', H', W']`` -> video, fp32."""
        latent = latent.to(self.from_latent.weight.dtype).contiguous(memory_format=LAYOUT)
        video = self.decoder(self.from_latent(latent)).float()
        # The last frames, as many as there are: a causal one makes less of its first block.
        return video + self.linear_out(latent).float()[:, :, -video.shape[2] :] if self.linear_path else video

    def in_blocks(self, video: Tensor) -> Tensor:
        """The clip as blocks of as many frames as a latent frame stands for."""
        return video

    def forward(self, video: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, logvar = self.moments(video)
        if self.training:
            self.latent_scale.update(mean)
        latent = mean if noise is None else mean + (0.5 * logvar).exp() * noise
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1)
        return self.decode_raw(latent), kl

    @property
    def last_layer(self) -> Tensor:
        return self.decoder.conv_out.weight

    def decode_stream(self, latent: Tensor) -> Iterator[Tensor]:
        """Windows as long as training clips, each half of them shared with the next."""
        window = max(self.video_shape[1] // self.downsample[0], 2)
        return self.decode_long(latent, window, window // 2)

    def decode_long(self, latent: Tensor, window: int, overlap: int = 2) -> Iterator[Tensor]:
        """Decode any length in memory that does not grow with it; see :func:`decode_windows`."""
        return decode_windows(self.decode, latent, window, overlap)
