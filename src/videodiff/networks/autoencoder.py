"""The interface of a first stage, and the one that does nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from torch import Tensor, nn


class Autoencoder(nn.Module, ABC):
    """Video to latent and back. A latent is one tensor ``[B, C, *S]``, scaled to about unit variance."""

    @abstractmethod
    def encode(self, video: Tensor) -> Tensor:
        """``[B, 3, T, H, W]`` in [-1, 1] -> ``[B, C, *S]``."""

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """``[B, C, *S]`` -> ``[B, 3, T, H, W]``, about [-1, 1]; whoever shows it clips it."""

    def decode_stream(self, latent: Tensor) -> Iterator[Tensor]:
        """The video of a latent of any length, in pieces ``[B, 3, t, H, W]`` from the first frame to the last.

        Memory grows with the longest piece only. All in one piece here; a first stage over time overrides it.
        """
        yield self.decode(latent)

    @abstractmethod
    def latent_shape(self, video_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape ``(C, *S)`` of the latent of a video of shape ``(3, T, H, W)``, both without the batch."""


class PixelSpace(Autoencoder):
    """The identity: diffusion on pixels (Ho et al. 2022)."""

    def encode(self, video: Tensor) -> Tensor:
        return video

    def decode(self, latent: Tensor) -> Tensor:
        return latent

    def latent_shape(self, video_shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(video_shape)
