"""The interface of everything that generates video: one diffusion model, or a pipeline of several."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from videodiff.conditioning.request import Generated, Request
from videodiff.conditioning.source import KnownPixels
from videodiff.diffusion import Sampler
from videodiff.networks.autoencoder import Autoencoder
from videodiff.sampling.call import Call, OnWindow
from videodiff.sampling.continuation import Continuing
from videodiff.say import counted


class VideoModel(Continuing):
    """Generates videos; the only interface that evaluation, comparison, cost and the command line use.

    Attributes:
        sampler: the loop over time, unless the caller names another.
        guidance_scale: of classifier-free guidance, unless the caller names another; 1 is no guidance.
        asked: conditions of every clip in ``predict``, by the names of the flags (``conditioning/request.py``).
    """

    sampler: Sampler
    guidance_scale: float
    asked: Mapping[str, Any] = MappingProxyType({})

    # --- what it generates ----------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device it generates on."""

    @property
    @abstractmethod
    def num_classes(self) -> int | None:
        """Number of classes; None = unconditional."""

    @property
    def generated(self) -> Generated:
        """What its conditions are read by."""
        return Generated(self.video_shape, self.num_classes, "prompt" in self.answers)

    @property
    @abstractmethod
    def answers(self) -> frozenset[str]:
        """Fields of :class:`Request` that it uses."""

    @abstractmethod
    def is_long(self, num_frames: int) -> bool:
        """Whether a video of so many frames takes more than one window."""

    @property
    def takes_guidance(self) -> bool:
        """Whether it takes a condition that guidance can move away from."""
        return True

    def check_guidance(self, request: Request) -> None:
        """Refuse guidance that has no effect on any video of this model.

        Raises:
            ValueError: in one line.
        """
        if request.guidance not in (None, 1) and not self.takes_guidance:
            raise ValueError(
                f"guidance {request.guidance:g} moves away from a video without condition, and this model takes none "
                "that it could be without (no classes, no given frames): leave guidance out"
            )

    # --- generating ----------------------------------------------------------------------------------------------

    def generate(
        self,
        num_videos: int,
        num_frames: int | None = None,
        seed: int = 0,
        request: Request | None = None,
        **options: Any,
    ) -> Tensor:
        """Generate videos ``[num_videos, 3, num_frames, H, W]`` in [-1, 1], as fp32 on the model's device.

        Args:
            num_videos: how many, in one batch.
            num_frames: length; longer than a clip means several windows. None is the request's, or one clip.
            seed: of all noise.
            request: their conditions: class, given frames, low-resolution video; None = unconditional.
            options: see :meth:`generate_latent`.
        """
        if num_frames is None and request is not None:
            num_frames = request.num_frames
        num_frames = self.video_shape[1] if num_frames is None else num_frames
        latent = self.generate_latent(num_videos, num_frames, seed, request, **options)
        known = KnownPixels((request or Request()).to(self.device))
        return torch.cat([known(piece) for piece in self.decode_frames(latent, num_frames)], dim=2)

    @torch.no_grad()
    def generate_latent(
        self,
        num_videos: int,
        num_frames: int,
        seed: int = 0,
        request: Request | None = None,
        *,
        indices: Sequence[int] | None = None,
        sampler: Sampler | None = None,
        later_sampler: Sampler | None = None,
        guidance_scale: float | None = None,
        progress: Callable[[int, int], None] | None = None,
        generated: tuple[Tensor, int] | None = None,
        on_window: OnWindow | None = None,
    ) -> Tensor:
        """Draw what :meth:`decode_frames` makes video of, one tensor ``[num_videos, ...]``, fp32 on the model's device.

        A video depends on the seed, its index and its own request, not on the others of the batch.

        Args:
            num_videos: how many, in one batch.
            num_frames: length of the video in frames.
            seed: of all noise.
            request: their conditions.
            indices: index of each video, for work that is split over batches or processes; 0, 1, ... if None.
            sampler: in place of the model's own.
            later_sampler: for every window after the first; None is what :meth:`later_sampler` says.
            guidance_scale: in place of the model's own.
            progress: called as ``progress(done, total)`` after each sampler step.
            generated: latent and number of windows done of an earlier call with the same arguments, to go on from.
            on_window: called as ``on_window(latent, windows_done)`` after each window.

        Raises:
            ValueError: if a count is below 1, a known frame lies outside the video, or the model cannot do what is
                asked.
        """
        request = (request or Request()).to(self.device)
        indices = range(num_videos) if indices is None else indices
        check_counts(num_videos, num_frames, indices)
        if guidance_scale is not None:
            request = replace(request, guidance=guidance_scale)
        self.check_request(request, num_frames)
        guidance_scale = request.guidance
        return self.generate_windows(
            Call(
                num_frames,
                seed,
                request,
                indices,
                sampler,
                later_sampler,
                guidance_scale,
                progress,
                generated,
                on_window,
                self.device,
            )
        )

    @abstractmethod
    def generate_windows(self, call: Call) -> Tensor:
        """All windows of a call, one after another: what :meth:`generate_latent` returns."""

    @abstractmethod
    def decode_frames(self, latent: Tensor, num_frames: int) -> Iterator[Tensor]:
        """The first ``num_frames`` frames of a latent in order, as pieces ``[B, 3, t, H, W]`` fp32 in [-1, 1]."""

    def later_sampler(self, sampler: Sampler) -> Sampler:
        """The sampler of every window after the first, given that of the first."""
        return sampler

    # --- what it is -------------------------------------------------------------------------------------------

    @property
    def generation_options(self) -> Mapping[str, Any]:
        """Options beside sampler and guidance scale that shape a generated video, if not the default; for records."""
        return {}

    def describe(self, sampler: Sampler | None = None, guidance_scale: float | None = None) -> dict[str, Any]:
        """How it generates, for records: ``class``, ``sampler``, ``steps``, ``guidance`` and the sampler's options.

        Args:
            sampler: in place of the model's own.
            guidance_scale: in place of the model's own.
        """
        sampler = self.sampler if sampler is None else sampler
        return {
            "class": type(self).__name__,
            "sampler": type(sampler).__name__,
            "steps": sampler.num_steps,
            "guidance": self.guidance_scale if guidance_scale is None else guidance_scale,
            **sampler.options(),
        }

    def generation_record(self, num_frames: int, guidance_scale: float | None = None) -> dict[str, Any]:
        """Everything that shapes a generated video of so many frames, beside the weights; for records.

        Args:
            num_frames: of the video.
            guidance_scale: in place of the model's own.
        """
        found = self.describe(None, guidance_scale)
        return {key: value for key, value in found.items() if key != "class"} | dict(self.generation_options)

    @property
    def models(self) -> list[VideoModel]:
        """The models that generate, one after another, each with options of its own; here only this one."""
        return [self]

    def training_loss(self, batch: dict[str, Any]) -> Tensor | None:
        """The loss of a training batch, a scalar; None for what is not trained as a whole."""
        return None

    @abstractmethod
    def parts(self) -> Mapping[str, nn.Module]:
        """Its parts with weights, by name."""

    @property
    @abstractmethod
    def first_stage(self) -> Autoencoder | None:
        """The autoencoder whose latents it generates; None for pixels."""


def check_counts(num_videos: int, num_frames: int, indices: Sequence[int]) -> None:
    """Refuse counts below one, and indices that are not one for each video.

    Raises:
        ValueError: naming the numbers.
    """
    if num_videos < 1 or num_frames < 1:
        raise ValueError(f"num_videos and num_frames must be at least 1, got {num_videos} and {num_frames}")
    if len(indices) != num_videos:
        raise ValueError(f"{counted(len(indices), 'index', 'indices')} given for {num_videos} videos")


def generates_video(model: object) -> bool:
    """Whether the model of a run generates video; an autoencoder does not."""
    return isinstance(model, VideoModel)


def video_model(model: object, what: str = "the model") -> VideoModel:
    """The model of a run as one that generates video.

    Raises:
        ValueError: for one that generates none, beginning with `what`.
    """
    if isinstance(model, VideoModel):
        return model
    raise ValueError(f"{what} is a {type(model).__name__}, which generates no videos")
