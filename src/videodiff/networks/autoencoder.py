"""The interface of a first stage, the identity, and the scale of a latent measured on data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..frame_size import FrameSize
from .latents import FrameLatents, Latents
from .network import Network


class Autoencoder(nn.Module, ABC):
    """Video to latent and back. A latent is one tensor ``[B, C, *S]``, scaled to about unit variance.

    A trainable one says two things more: ``video_shape``, the clips it is made for, and ``last_layer``. What a latent
    of another length is, and where a known frame lies in it, its ``latents`` say.
    """

    size_factor: int | tuple[int, int] = 1
    """What height and width of its clips must be multiples of, one number for both."""

    is_identity: bool = False
    """Whether a latent is the video itself."""
    video_shape: tuple[int, int, int, int]
    checkpoint: str | None = None
    """The run that it comes from, trained and frozen; None for one that is none's."""
    size_options: Mapping[str, str] = MappingProxyType({})
    """Options of the command line that change the ``resolution`` of a latent model's clips; a trained one has none."""

    @property
    def digest(self) -> str | None:
        """SHA-256 of its weights, hexadecimal, where it comes from a run."""
        return None

    @property
    def scale_and_shift(self) -> tuple[float, float] | None:
        """What a latent was multiplied by, after what was added to it; None for one that is not scaled."""
        return None

    def network_sizes(self) -> dict[str, Any]:
        """Arguments of our networks that follow from the shape of its latents."""
        return {}

    @abstractmethod
    def encode(self, video: Tensor) -> Tensor:
        """``[B, 3, T, H, W]`` in [-1, 1] -> ``[B, C, *S]``."""

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """``[B, C, *S]`` -> ``[B, 3, T, H, W]``, about [-1, 1]; clamp it for display."""

    def decode_stream(self, latent: Tensor) -> Iterator[Tensor]:
        """The video of a latent of any length, in pieces ``[B, 3, t, H, W]`` from the first frame to the last.

        Memory grows with the longest piece only. All in one piece here; a first stage over time overrides it.
        """
        yield self.decode(latent)

    @abstractmethod
    def latent_shape(self, video_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape ``(C, *S)`` of the latent of a video of shape ``(3, T, H, W)``, both without the batch."""

    def known_places(self, known: Tensor) -> Tensor:
        """Places of the latent that stand for known pixels alone: each for a block of a grid over time and space.

        What a first stage sees beyond a place's own block is not counted; it sees that more weakly.

        Args:
            known: which pixels are, ``[B, 1, T, H, W]`` bool.

        Returns:
            ``[B, 1, *S]`` bool.
        """
        _, *places = self.latent_shape((3, *known.shape[2:]))
        return all_known(known, (places[0], places[1], places[2]))

    def latents(self, net: Network, overlap_frames: int = 0) -> Latents:
        """Latents of video of any length, for a network that makes ``net.num_frames`` of their units at once.

        Args:
            net: the network; where it states no number of units, it makes those of the clips that this was made for.
            overlap_frames: frames that neighbouring clips have in common; only where a clip is a unit.

        Raises:
            ValueError: if frames are to be shared where a clip has units of its own.
        """
        check_no_overlap(overlap_frames)
        shape = self.video_shape
        units = self.latent_shape(shape)[1]
        size = shape[1] // units
        return Latents(self, (3, (net.num_frames or units) * size, *shape[2:]), size)

    def forward(self, video: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What training asks for: the reconstruction of ``video`` and the KL divergence of its latent from N(0, I).

        Args:
            video: ``[B, 3, T, H, W]`` in [-1, 1].
            noise: of the posterior's sample, ``[B, *latent_shape]``; without it the reconstruction is of its mode.

        Returns:
            Reconstruction ``[B, 3, T, H, W]`` and KL ``[B]`` in nats, summed over the latent; a deterministic
            autoencoder has none and returns 0.
        """
        return self.decode(self.encode(video)), video.new_zeros(len(video))

    def picture(self, latent: Tensor) -> Tensor | None:
        """Latents ``[B, C, *S]`` to look at, as one uint8 picture ``[height, width]``; none where there is none."""
        return None

    @property
    def last_layer(self) -> Tensor:
        """The weight through which every reconstruction passes last: where loss terms are balanced."""
        raise TypeError(f"{type(self).__name__} must define last_layer to be trained with an adaptive weight")


class PixelSpace(Autoencoder):
    """The identity: diffusion on pixels (Ho et al. 2022)."""

    is_identity = True

    def encode(self, video: Tensor) -> Tensor:
        return video

    def decode(self, latent: Tensor) -> Tensor:
        return latent

    def latent_shape(self, video_shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(video_shape)

    def latents(self, net: Network, overlap_frames: int = 0) -> Latents:
        """Frames of ``net.resolution``.

        Raises:
            ValueError: too for a network that states no size, where the model states none either.
        """
        check_no_overlap(overlap_frames)
        if net.num_frames is None or net.resolution is None:
            raise ValueError(
                "the network does not state its num_frames and resolution: set --model.num_frames and "
                "--model.resolution to those of the data"
            )
        return FrameLatents(self, (3, net.num_frames, *FrameSize.of(net.resolution)), 1)


def all_known(known: Tensor, places: tuple[int, int, int]) -> Tensor:
    """Whether all of a block is known: ``[B, 1, T, H, W]`` bool -> ``[B, 1, *places]``, blocks of one grid."""
    return F.adaptive_max_pool3d((~known).float(), places) == 0


def check_no_overlap(overlap_frames: int) -> None:
    """Raise ValueError if clips are to share frames that have units of their own."""
    if overlap_frames:
        raise ValueError(
            f"clips of these latents overlap by whole units: overlap_frames must be 0, got {overlap_frames}"
        )


class LatentScale(nn.Module):
    """Makes a latent's mean 0 and its standard deviation 1: ``scale (z + shift)``, two numbers measured on data.

    Rombach et al. 2022, section 4.3.2 and appendix D.1, scale by the deviation of the first batch of a trained
    autoencoder. Here the moments of about the last ``memory`` training clips are kept while the autoencoder trains
    (float64, exponential window), so that every checkpoint has the scale of its own weights.

    All buffers keep their dtype whatever the module is cast to.

    Args:
        memory: clips in the window.

    Raises:
        ValueError: if ``memory`` is below 1.
    """

    scale: Tensor
    shift: Tensor
    sums: Tensor

    def __init__(self, memory: int = 256) -> None:
        super().__init__()
        if memory < 1:
            raise ValueError(f"memory must be at least 1 clip, got {memory}")
        self.memory = memory
        self.register_buffer("scale", torch.ones((), dtype=torch.float32))
        self.register_buffer("shift", torch.zeros((), dtype=torch.float32))
        self.register_buffer("sums", torch.zeros(3, dtype=torch.float64))  # count, sum, sum of squares

    def forward(self, latent: Tensor) -> Tensor:
        """Raw latent, any shape -> scaled, fp32."""
        return self.scale * (latent.float() + self.shift)

    def inverse(self, latent: Tensor) -> Tensor:
        """Scaled latent, any shape -> raw, fp32."""
        return latent.float() / self.scale - self.shift

    @torch.no_grad()
    def update(self, latent: Tensor) -> None:
        """Take raw latents ``[B, ...]`` of training clips into the window; ranks add theirs. NaN is passed over."""
        many = torch.distributed.is_available() and torch.distributed.is_initialized()
        z = latent.detach().double()
        new = torch.stack([torch.full_like(z.sum(), z.numel()), z.sum(), z.square().sum()])
        clips = len(latent)
        if many:
            torch.distributed.all_reduce(new)
            clips *= torch.distributed.get_world_size()
        sums = self.sums * (1 - 1 / self.memory) ** clips + new
        mean = sums[1] / sums[0]
        std = (sums[2] / sums[0] - mean.square()).clamp(min=1e-12).sqrt()
        good = torch.isfinite(sums).all() & torch.isfinite(std)
        self.sums.copy_(torch.where(good, sums, self.sums))
        self.shift.copy_(torch.where(good, -mean.float(), self.shift))
        self.scale.copy_(torch.where(good, (1 / std).float(), self.scale))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        before = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, after in self.named_buffers():
            if after.dtype != before[name].dtype:
                self._buffers[name] = before[name].to(after.device)
        return self
