"""The first stage of projected latent video diffusion: a clip as three planes (Yu et al. 2023, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from einops import rearrange
from torch import Tensor, nn

from ..frame_size import FrameSize, Resolution
from .autoencoder import Autoencoder, all_known
from .latents import ClipLatents
from .network import Network
from .plane_tools import plane_sheet
from .planes import PlaneSizes, join_planes, split_planes
from .timesformer import TimeRotary, TimeSformer
from .triplane_projection import PlaneProjection, Readout

Output = Literal["sigmoid", "linear"]


class PatchesToPixels(nn.ConvTranspose2d):
    """A transposed convolution whose stride is its kernel, as one product of matrices on the tokens."""

    bias: nn.Parameter

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # the kernel alone says how large it becomes
        """``[S, B, H', W', D]`` -> ``[B, 3, S, p H', p W']``."""
        y = x @ self.weight.flatten(1)  # [S, B, H', W', 3 p p]
        p, q = self.kernel_size
        return rearrange(y, "s b h w (c p q) -> b c s (h p) (w q)", p=p, q=q) + self.bias.view(-1, 1, 1, 1)


class TriplaneAutoencoder(Autoencoder):
    """Clip to three planes and back: TimeSformer encoder, one projection per plane, TimeSformer decoder.

    The spatial plane keeps height and width, what a clip looks like; two planes keep time with one of them each, how it
    moves. A latent is all three, one behind the other, ``[B, C, H' W' + S W' + S H']`` in (-1, 1): no posterior, no
    scale. The decoder adds, at every frame and place, what the three planes have there.

    The defaults are the paper's: 62,064,399 parameters, 2,048 numbers in each of 4 channels for 16 frames of 256 x 256.
    A clip that stands still has time planes that are constant over time, and such planes decode to a still clip,
    whatever the weights: attention over equal values returns the value.

    Args:
        num_frames: S, frames of a clip.
        resolution: height and width of a frame in pixels, multiples of ``patch_size``; one number for a square.
        patch_size: side of the square of pixels that becomes a token.
        latent_channels: C.
        width: D, features of a token, a multiple of 8.
        depth: blocks of the encoder and of the decoder.
        heads: attention heads in them.
        head_dim: width of such a head, a multiple of 4.
        projection_depth: layers of each projection to a plane.
        readout: what a projection returns: its token, or the first feature of the line as the published code does.
        time_rotary: rotary positions of frames: correct, or as PVDM's published weights were trained.
        output: sigmoid, as published, or linear. A sigmoid reaches black and white only at infinity; where much of a
            video is either, linear with ``AutoencoderModule(clamp_loss=True)`` gets there in a fraction of the steps.
        recompute: keep no activations inside blocks, compute them again in the backward pass.

    Raises:
        ValueError: if the resolution is no multiple of the patch size or heads and widths do not fit.
    """

    def __init__(
        self,
        num_frames: int = 16,
        resolution: Resolution = 256,
        patch_size: int = 8,
        latent_channels: int = 4,
        width: int = 384,
        depth: int = 8,
        heads: int = 8,
        head_dim: int = 64,
        projection_depth: int = 4,
        readout: Readout = "token",
        time_rotary: TimeRotary = "correct",
        output: Output = "sigmoid",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if output not in ("sigmoid", "linear"):
            raise ValueError(f"output must be sigmoid or linear, got {output!r}")
        if num_frames < 1 or patch_size < 1 or latent_channels < 1 or depth < 1:
            raise ValueError(
                "num_frames, patch_size, latent_channels and depth must be at least 1, "
                f"got {num_frames}, {patch_size}, {latent_channels} and {depth}"
            )
        size, self.size_factor = FrameSize.of(resolution), patch_size
        size.check_multiple(patch_size, "patch_size")
        if width < 8 or width % 8:
            raise ValueError(f"width must be a multiple of 8, got {width}")
        self.video_shape = (3, num_frames, *size)
        self.patch_size, self.latent_channels, self.output = patch_size, latent_channels, output
        self.plane_sizes = PlaneSizes(num_frames, size.height // patch_size, size.width // patch_size)
        s, h, w = self.plane_sizes
        self.from_pixels = nn.Linear(3 * patch_size**2, width)
        self.encoder = TimeSformer(width, depth, heads, head_dim, time_rotary, recompute)
        self.projections = nn.ModuleList(
            PlaneProjection(width, length, projection_depth, readout=readout) for length in (s, h, w)
        )
        self.to_planes = nn.ModuleList(nn.Linear(width, latent_channels) for _ in range(3))
        self.from_planes = nn.ModuleList(nn.Linear(latent_channels, width) for _ in range(3))
        self.decoder = TimeSformer(width, depth, heads, head_dim, time_rotary, recompute)
        self.to_pixels = PatchesToPixels(width, 3, patch_size, patch_size)

    def latent_shape(self, video_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape ``(C, N)``.

        Raises:
            ValueError: for a clip that the autoencoder was not made for.
        """
        if tuple(video_shape) != self.video_shape:
            raise ValueError(
                f"this autoencoder is made for clips {self.video_shape} (3, num_frames, height, width), "
                f"got {tuple(video_shape)}"
            )
        return (self.latent_channels, self.plane_sizes.num_tokens)

    def network_sizes(self) -> dict[str, Any]:
        frames, height, width = self.plane_sizes
        return {"num_frames": frames, "plane_size": FrameSize(height, width).written}

    def known_places(self, known: Tensor) -> Tensor:
        """A place of a plane stands for its patch along the whole axis that the plane pools."""
        s, h, w = self.plane_sizes
        return join_planes(
            [
                all_known(known, (1, h, w)).flatten(2, 3),
                all_known(known, (s, 1, w)).squeeze(3),
                all_known(known, (s, h, 1)).squeeze(4),
            ]
        )

    def latents(self, net: Network, overlap_frames: int = 0) -> ClipLatents:
        """A unit is a clip."""
        return ClipLatents(self, overlap_frames)

    def encode(self, video: Tensor) -> Tensor:
        """``[B, 3, T, H, W]`` in [-1, 1] -> ``[B, C, N]`` in (-1, 1), fp32."""
        self.latent_shape(tuple(video.shape[1:]))
        p = self.patch_size
        x = rearrange(video, "b c s (h p) (w q) -> s b h w (p q c)", p=p, q=p)
        x = self.encoder(self.from_pixels(x))  # [S, B, H', W', D]
        lines = (
            rearrange(x, "s b h w d -> s (b h w) d"),
            rearrange(x, "s b h w d -> h (b s w) d"),
            rearrange(x, "s b h w d -> w (b s h) d"),
        )
        planes = [
            rearrange(head(projection(line)).float().tanh(), "(b i j) c -> b c i j", i=i, j=j)
            for projection, head, line, (i, j) in zip(
                self.projections, self.to_planes, lines, self.plane_sizes.shapes, strict=True
            )
        ]
        return join_planes(planes)

    def decode(self, latent: Tensor) -> Tensor:
        """``[B, C, N]`` -> ``[B, 3, T, H, W]``, fp32; in (-1, 1), or about that if `output` is linear."""
        spatial, by_width, by_height = (
            layer(plane.permute(0, 2, 3, 1))  # [B, i, j, D]
            for layer, plane in zip(self.from_planes, self.planes(latent), strict=True)
        )
        moving = by_width[:, :, None] + by_height[:, :, :, None]  # [B, S, H', W', D]
        x = self.decoder((moving + spatial[:, None]).transpose(0, 1).contiguous())
        pixels = self.to_pixels(x).float()
        return 2 * pixels.sigmoid() - 1 if self.output == "sigmoid" else pixels

    def planes(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The planes of a latent ``[B, C, N]`` as pictures.

        Returns:
            The spatial plane ``[B, C, H', W']`` and the planes of time and width ``[B, C, S, W']`` and of time and
            height ``[B, C, S, H']``, views of the latent.
        """
        return split_planes(latent, self.plane_sizes)

    def join(self, planes: Sequence[Tensor]) -> Tensor:
        """The latent ``[B, C, N]`` of three planes; the reverse of ``planes``."""
        latent = join_planes(planes)
        self.plane_sizes.check(latent)
        return latent

    def picture(self, latent: Tensor) -> Tensor:
        """The planes of latents ``[B, C, N]``, a row for each: uint8 grey ``[height, width]`` on the CPU."""
        return plane_sheet(latent, self.plane_sizes)

    @property
    def last_layer(self) -> Tensor:
        return self.to_pixels.weight
