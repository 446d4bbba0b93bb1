"""Autoencoder3D: the 3-D convolutional first stage of LVDM (He et al. 2022, arXiv 2211.13221, section 3.1).

Architecture of the published code (YingqingHe/LVDM:lvdm/models/modules/autoencoder_modules.py), which follows TATS
(Ge et al. 2022): strided 4x4x4 convolutions with one residual block a level on the way down, transposed ones with two
on the way up, group norm over whole clips, replicated borders, no attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..frame_size import FrameSize, Resolution
from .autoencoder import Autoencoder, LatentScale
from .block_cosines import block_cosines
from .blocks import FrameNorm, set_norm_groups, zero_init

Size3 = tuple[int, int, int]
NormOver = Literal["clip", "frame"]
LAYOUT = torch.channels_last_3d  # of activations and weights, from the first layer to the last


def same_padding(kernel: Sequence[int], stride: Size3) -> list[int]:
    """Padding for ``F.pad`` (last axis first) that makes a convolution return size / stride; the odd one goes left."""
    totals = [k - s for k, s in zip(kernel, stride, strict=True)]
    return [side for total in reversed(totals) for side in (total - total // 2, total // 2)]


class SamePadConv3d(nn.Conv3d):
    """A convolution whose borders repeat the outermost values; output size = input size / stride."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: Size3 = (1, 1, 1)) -> None:
        super().__init__(channels, out_channels, kernel, stride)
        self.pad = same_padding(self.kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.pad, mode="replicate") if any(self.pad) else x)


class SamePadConvTranspose3d(nn.ConvTranspose3d):
    """A transposed convolution over an input with repeated borders; output size = input size * stride."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: Size3) -> None:
        super().__init__(channels, out_channels, kernel, stride, padding=kernel - 1)
        self.pad = same_padding(self.kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # the stride alone says how large it becomes
        return super().forward(F.pad(x, self.pad, mode="replicate"))


class ClipNorm(FrameNorm):
    """Group norm of ``[B, C, T, H, W]``, in fp32 and in the layout of the input.

    Args:
        channels: C.
        over: "clip" takes statistics over a group's T, H and W, "frame" over its H and W.
    """

    def __init__(self, channels: int, over: NormOver) -> None:
        super().__init__(channels)
        self.eps, self.over = 1e-6, over

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # nothing is folded in
        if self.over == "clip":
            return super().forward(x.flatten(3)).view_as(x)  # [B, C, T, H W]
        frames = x.transpose(1, 2).flatten(0, 1)  # [B T, C, H, W]
        return super().forward(frames).unflatten(0, (len(x), -1)).transpose(1, 2)


class Residual(nn.Module):
    """Norm, SiLU, 3x3x3 convolution, twice; plus the input."""

    def __init__(self, channels: int, over: NormOver) -> None:
        super().__init__()
        self.norm_in, self.conv_in = ClipNorm(channels, over), SamePadConv3d(channels, channels, 3)
        self.norm_out, self.conv_out = ClipNorm(channels, over), SamePadConv3d(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_in(F.silu(self.norm_in(x)))
        return x + self.conv_out(F.silu(self.norm_out(y)))


class Encoder3D(nn.Module):
    """Video -> features ``[B, 2 Z, T / f_t, H / f_h, W / f_w]``; a stage is a strided convolution and a block."""

    def __init__(self, width: int, strides: list[Size3], out_channels: int, over: NormOver) -> None:
        super().__init__()
        self.conv_in = SamePadConv3d(3, width, 3)
        self.stages = nn.ModuleList(
            nn.Sequential(
                SamePadConv3d(width * 2**i, width * 2 ** (i + 1), 4, stride),
                Residual(width * 2 ** (i + 1), over),
            )
            for i, stride in enumerate(strides)
        )
        channels = width * 2 ** len(strides)
        self.norm_out, self.conv_out = ClipNorm(channels, over), SamePadConv3d(channels, out_channels, 3)
        self.recompute = False

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for stage in self.stages:
            x = run(stage, x, self.recompute)
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder3D(nn.Module):
    """Latent ``[B, Z, T', H', W']`` -> video; a stage is a transposed convolution and two blocks."""

    def __init__(self, width: int, strides: list[Size3], latent_channels: int, over: NormOver) -> None:
        super().__init__()
        stages, channels = [], latent_channels
        for i, stride in enumerate(strides):
            out = width * 2 ** (len(strides) - i)
            up = SamePadConvTranspose3d(channels, out, 4, stride)
            stages.append(nn.Sequential(up, Residual(out, over), Residual(out, over)))
            channels = out
        self.stages = nn.ModuleList(stages)
        self.conv_out = SamePadConv3d(channels, 3, 3)  # the published one has no norm before it
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
        self.encoder = Encoder3D(width, strides, 2 * latent_channels, norm_over)
        self.decoder = Decoder3D(width, strides, latent_channels, norm_over)
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
        if frames % self.downsample[0] or frames < self.downsample[0]:
            raise ValueError(
                f"num_frames must be a multiple of {self.downsample[0]} (downsample), got {frames}"
            )
        FrameSize(height, width).check_multiple(self.size_factor, "downsample", "size of a video")
        return (
            self.latent_channels,
            *(n // f for n, f in zip(video_shape[1:], self.downsample, strict=True)),
        )

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
            mean = mean + self.linear_in(video / self.linear_in.weight[0].numel()).float()
        return mean, logvar.clamp(-30, 20)

    def encode(self, video: Tensor) -> Tensor:
        return self.latent_scale(self.moments(video)[0])

    def decode(self, latent: Tensor) -> Tensor:
        return self.decode_raw(self.latent_scale.inverse(latent))

    def decode_raw(self, latent: Tensor) -> Tensor:
        """Raw latent ``[B, C, T', H', W']`` -> video, fp32."""
        latent = latent.to(self.from_latent.weight.dtype).contiguous(memory_format=LAYOUT)
        video = self.decoder(self.from_latent(latent)).float()
        return video + self.linear_out(latent).float() if self.linear_path else video

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


@torch.no_grad()
def decode_windows(
    decode: Callable[[Tensor], Tensor], latent: Tensor, window: int, overlap: int = 2
) -> Iterator[Tensor]:
    """Decode a long latent window by window and cross-fade between neighbours.

    A window's border knows nothing of what lies beyond, and its norms have statistics of their own. So a third of the
    overlap (rounded down) is dropped at either border, and over the rest one window fades into the next. The last
    window ends with the latent, so that all have one size. A latent no longer than a window is decoded whole.

    Args:
        decode: latent -> video, a whole number of frames per unit.
        latent: ``[B, C, U, H', W']``.
        window: units decoded at once.
        overlap: units that neighbouring windows share.

    Yields:
        Videos ``[B, 3, t, H, W]`` which, joined on axis 2, are the whole; each is finished when it is given out.

    Raises:
        ValueError: unless 1 <= overlap < window.
    """
    if not 1 <= overlap < window:
        raise ValueError(f"decoding windows must overlap: 1 <= overlap < window, got {overlap} and {window}")
    units, margin = latent.shape[2], overlap // 3
    last = max(units - window, 0)
    starts = [*range(0, last, window - overlap), last]
    tail = None  # what is known of the frames from this window's first trusted one on
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        part = latent[:, :, start : start + window]
        video = decode(part)
        rate = video.shape[2] // part.shape[2]
        if tail is not None:
            video = video[:, :, margin * rate :]
            shared = tail.shape[2]
            weight = (torch.arange(shared, device=video.device) + 0.5) / shared
            video[:, :, :shared] = torch.lerp(tail, video[:, :, :shared], weight.to(video)[:, None, None])
        if following is None:
            yield video
            return
        begin = start + (margin if tail is not None else 0)
        done = (following + margin - begin) * rate
        yield video[:, :, :done]
        tail = video[:, :, done : video.shape[2] - margin * rate].clone()
