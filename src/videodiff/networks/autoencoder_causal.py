"""CausalAutoencoder3D: the 3-D autoencoder in which no frame sees a later one, so that a still image is a clip."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..frame_size import Resolution
from .autoencoder import all_known, check_no_overlap
from .autoencoder3d import Autoencoder3D
from .decoding import in_pieces
from .latents import CausalLatents, Latents
from .network import Network

AT_LEAST = 4  # latent frames that are decoded at once; pieces of any length give the same frames


class CausalAutoencoder3D(Autoencoder3D):
    """:class:`Autoencoder3D` with causal convolutions over time and norms of each frame.

    It takes clips of 1 + n frames for every n that the time factor divides. The first latent frame is the first frame
    alone, each further one stands for as many frames as the factor says, and no later frame changes an earlier latent
    by a bit. So a still image is a clip of one frame, and may be learnt with clips; and a long latent is decoded piece
    by piece to what it is as a whole. Convolutions over 1 + n frames are those of MAGVIT-v2 (Yu et al. 2024, section
    3.2) with the first frame repeated in front.

    Args:
        num_frames: frames of a training clip.
        resolution: height and width of its frames in pixels, one number for a square.
        width: channels of the first layer; they double at every halving.
        downsample: how many times fewer frames (after the first), rows and columns the latent has; powers of two.
        latent_channels: channels of the latent.
        norm_groups: groups of the norms at most; None is 32 with four channels to a group at least.
        linear_path: see :class:`Autoencoder3D`.
        recompute: keep no activations inside stages, compute them again in the backward pass.

    Raises:
        ValueError: for factors that are no powers of two or do not divide the clip.
    """

    temporal = "causal"

    def __init__(
        self,
        num_frames: int = 17,
        resolution: Resolution = 256,
        width: int = 32,
        downsample: tuple[int, int, int] = (4, 8, 8),
        latent_channels: int = 4,
        norm_groups: int | None = None,
        linear_path: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__(
            num_frames,
            resolution,
            width,
            downsample,
            latent_channels,
            "frame",
            norm_groups,
            linear_path,
            recompute,
        )

    def latent_frames(self, num_frames: int) -> int:
        each = self.downsample[0]
        if num_frames < 1 or (num_frames - 1) % each:
            raise ValueError(f"num_frames must be 1 and a multiple of {each} (downsample), got {num_frames}")
        return 1 + (num_frames - 1) // each

    def latents(self, net: Network, overlap_frames: int = 0) -> Latents:
        check_no_overlap(overlap_frames)
        units, each = net.num_frames or self.latent_frames(self.video_shape[1]), self.downsample[0]
        return CausalLatents(self, (3, 1 + (units - 1) * each, *self.video_shape[2:]), each)

    def in_blocks(self, video: Tensor) -> Tensor:
        """The clip behind its first frame repeated, so that a block is that frame alone."""
        more = self.downsample[0] - 1
        return F.pad(video, (0, 0, 0, 0, more, 0), mode="replicate") if more else video

    def known_places(self, known: Tensor) -> Tensor:
        """The first frame is a block of its own."""
        _, units, height, width = self.latent_shape((3, *known.shape[2:]))
        first = known[:, :, :1].expand(-1, -1, self.downsample[0] - 1, -1, -1)
        return all_known(torch.cat([first, known], dim=2), (units, height, width))

    def decode_stream(self, latent: Tensor) -> Iterator[Tensor]:
        """Pieces of the length of a training clip, each going on where the one before ended."""
        size = max(self.latent_frames(self.video_shape[1]), AT_LEAST)
        return in_pieces(self.decoder, self.decode, latent, size)
