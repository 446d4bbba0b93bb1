"""ImageAutoencoder: the 3-D autoencoder without time, a first stage of single frames to be trained."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ..frame_size import Resolution
from .autoencoder3d import Autoencoder3D

AT_ONCE = 16  # frames that are decoded in one pass at most


class ImageAutoencoder(Autoencoder3D):
    """:class:`Autoencoder3D` with kernels and norms of one frame: each is encoded and decoded by itself.

    A unit of its latent ``[B, C, T, H / f_h, W / f_w]`` is one frame, so that any frame may be given, and still images
    may be learnt with clips.

    Args:
        num_frames: frames of a training clip, which count like as many clips of one.
        resolution: height and width of its frames in pixels, one number for a square.
        width: channels of the first layer; they double at every halving.
        downsample: how many times fewer rows and columns the latent has; powers of two.
        latent_channels: channels of the latent.
        norm_groups: groups of the norms at most; None is 32 with four channels to a group at least.
        linear_path: see :class:`Autoencoder3D`.
        recompute: keep no activations inside stages, compute them again in the backward pass.

    Raises:
        ValueError: for factors that are no powers of two or do not divide a frame.
    """

    temporal = "none"

    def __init__(
        self,
        num_frames: int = 1,
        resolution: Resolution = 256,
        width: int = 32,
        downsample: tuple[int, int] = (8, 8),
        latent_channels: int = 4,
        norm_groups: int | None = None,
        linear_path: bool = False,
        recompute: bool = False,
    ) -> None:
        factors = (1, *downsample)
        super().__init__(
            num_frames,
            resolution,
            width,
            factors,
            latent_channels,
            "frame",
            norm_groups,
            linear_path,
            recompute,
        )

    def decode_stream(self, latent: Tensor) -> Iterator[Tensor]:
        """A few frames at once."""
        for piece in latent.split(AT_ONCE, dim=2):
            yield self.decode(piece)
