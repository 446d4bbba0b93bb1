"""The interface of everything that generates video: one diffusion model, or a pipeline of several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from videodiff.conditioning.asked import continuation
from videodiff.conditioning.request import Request
from videodiff.diffusion import Sampler
from videodiff.diffusion.windows import Window
from videodiff.networks.autoencoder import Autoencoder
from videodiff.networks.latents import Latents
from videodiff.sampling.call import Call, OnWindow
from videodiff.sampling.plans import LongVideo


class VideoModel(ABC):
    """Generates videos; the only interface that evaluation, comparison, cost and the command line use.

    Attributes:
        sampler: the loop over time that draws, where the caller names no other.
        guidance_scale: of classifier-free guidance, where the caller names no other; 1 is none.
        asked: what ``predict`` tells every clip, by the names of the flags (``conditioning/request.py``).
    """

    sampler: Sampler
    guidance_scale: float
    asked: Mapping[str, Any] = MappingProxyType({})

    # --- what it draws ----------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it draws."""

    @property
    @abstractmethod
    def video_shape(self) -> tuple[int, int, int, int]:
        """Shape ``(3, T, H, W)`` of a clip: the video that is drawn where no length is asked for."""

    @property
    @abstractmethod
    def num_classes(self) -> int | None:
        """Number of classes; None = unconditional."""

    @property
    @abstractmethod
    def answers(self) -> frozenset[str]:
        """Fields of :class:`Request` that it makes use of."""

    @abstractmethod
    def is_long(self, num_frames: int) -> bool:
        """Whether a video of so many frames takes more than one window."""

    @abstractmethod
    def check_request(self, request: Request, num_frames: int) -> None:
        """Refuse what it cannot do, before anything is drawn.

        Raises:
            ValueError: in one line.
        """

    # --- drawing ----------------------------------------------------------------------------------------------

    def generate(
        self,
        num_videos: int,
        num_frames: int | None = None,
        seed: int = 0,
        request: Request | None = None,
        **options: Any,
    ) -> Tensor:
        """Draw videos ``[num_videos, 3, num_frames, H, W]`` in [-1, 1], as fp32 on the model's device.

        Args:
            num_videos: how many, in one batch.
            num_frames: length; longer than a clip means several windows. None is the request's, or one clip.
            seed: of all noise.
            request: what is known of them: class, frames, a small version. None is nothing.
            options: see :meth:`draw_latent`.
        """
        if num_frames is None and request is not None:
            num_frames = request.num_frames
        num_frames = self.video_shape[1] if num_frames is None else num_frames
        latent = self.draw_latent(num_videos, num_frames, seed, request, **options)
        return torch.cat(list(self.decode_frames(latent, num_frames)), dim=2)

    @torch.no_grad()
    def draw_latent(
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
        drawn: tuple[Tensor, int] | None = None,
        on_window: OnWindow | None = None,
    ) -> Tensor:
        """Draw what :meth:`decode_frames` makes video of, one tensor ``[num_videos, ...]``, fp32 on the model's device.

        A video depends on the seed, its index and its own request, not on the videos beside it.

        Args:
            num_videos: how many, in one batch.
            num_frames: length of the video in frames.
            seed: of all noise.
            request: what is known of them.
            indices: index of each video, for work that is split over batches or processes; 0, 1, ... if None.
            sampler: in place of the model's own.
            later_sampler: for every window after the first; None is what :meth:`later_sampler` says.
            guidance_scale: in place of the model's own.
            progress: called as ``progress(done, total)`` after each sampler step.
            drawn: latent and number of windows done of an earlier call with the same arguments, to go on from.
            on_window: called as ``on_window(latent, windows_done)`` after each window.

        Raises:
            ValueError: if a count is below 1, a known frame lies outside the video, or the model cannot do what is
                asked.
        """
        request = (request or Request()).to(self.device)
        indices = range(num_videos) if indices is None else indices
        check_counts(num_videos, num_frames, indices)
        self.check_request(request, num_frames)
        guidance_scale = request.guidance if guidance_scale is None else guidance_scale
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
                drawn,
                on_window,
                self.device,
            )
        )

    @abstractmethod
    def generate_windows(self, call: Call) -> Tensor:
        """All windows of a call, one after another: what :meth:`draw_latent` returns."""

    @abstractmethod
    def decode_frames(self, latent: Tensor, num_frames: int) -> Iterator[Tensor]:
        """The first ``num_frames`` frames of a latent in order, as pieces ``[B, 3, t, H, W]`` fp32 in [-1, 1]."""

    def later_sampler(self, sampler: Sampler) -> Sampler:
        """The sampler of every window after the first, given that of the first."""
        return sampler

    # --- what it is -------------------------------------------------------------------------------------------

    @property
    def drawing_options(self) -> Mapping[str, Any]:
        """Options beside sampler and guidance scale that shape a generated video, if not the default; for records."""
        return {}

    def describe(self, sampler: Sampler | None = None, guidance_scale: float | None = None) -> dict[str, Any]:
        """How it draws, for records: ``class``, ``sampler``, ``steps``, ``guidance`` and the sampler's options.

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

    def drawing_record(self, num_frames: int, guidance_scale: float | None = None) -> dict[str, Any]:
        """Everything that shapes a generated video of so many frames, beside the weights; for records.

        Args:
            num_frames: of the video.
            guidance_scale: in place of the model's own.
        """
        found = self.describe(None, guidance_scale)
        return {key: value for key, value in found.items() if key != "class"} | dict(self.drawing_options)

    @property
    def models(self) -> list[VideoModel]:
        """The models that draw, one after another, each with options of its own: this one alone."""
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
        """The autoencoder whose latents it draws; None for pixels."""


class StageModel(VideoModel):
    """Generates a video as windows of one latent, so that it may be a stage of a pipeline.

    Attributes:
        plan: which windows.
    """

    plan: LongVideo

    @property
    @abstractmethod
    def latents(self) -> Latents:
        """Videos as latents of any length."""

    @property
    @abstractmethod
    def frames_each(self) -> int:
        """Frames that it draws for each frame of the low-resolution video that it is told."""

    @abstractmethod
    def total_units(self, num_frames: int) -> int:
        """Units of the latent of a video."""

    @abstractmethod
    def known_units(self, positions: Sequence[int]) -> tuple[int, ...]:
        """Units that known frames at these positions fill before anything is drawn.

        Raises:
            ValueError: for frames that are not whole units.
        """

    @abstractmethod
    def check_told(self, request: Request, num_frames: int) -> None:
        """Refuse what none of its conditioners makes use of, whichever model draws the windows.

        Raises:
            ValueError: in one line.
        """

    @abstractmethod
    def check_windows(self, windows: Sequence[Window]) -> None:
        """Refuse windows that it was not trained for.

        Raises:
            ValueError: in one line.
        """

    @abstractmethod
    def blank(self, num_videos: int, units: int, request: Request) -> Tensor:
        """A latent ``[num_videos, C, units, *S]`` that is yet to be drawn, known units in their places."""

    @abstractmethod
    def sample_window(
        self,
        latent: Tensor,
        window: Window,
        request: Request,
        noise: list[torch.Generator],
        sampler: Sampler,
        guidance_scale: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Draw one window of ``latent`` ``[B, C, U, *S]`` in place; units in its context are left as they are."""

    @abstractmethod
    def check_data(self, data: Any) -> None:
        """Refuse data whose clips or classes are not what the model learns.

        Raises:
            ValueError: naming the option of the data.
        """

    @abstractmethod
    def log_losses(
        self, batch: dict[str, Any], split: str, module: pl.LightningModule | None = None, name: str = "loss"
    ) -> None:
        """Log the mean loss over a set of clips as ``split/name``.

        Args:
            batch: of the data.
            split: val or test.
            module: that the trainer runs, where it is not this one.
            name: of the loss.
        """


def check_counts(num_videos: int, num_frames: int, indices: Sequence[int]) -> None:
    """Refuse counts below one, and indices that are not one for each video.

    Raises:
        ValueError: naming the numbers.
    """
    if num_videos < 1 or num_frames < 1:
        raise ValueError(f"num_videos and num_frames must be at least 1, got {num_videos} and {num_frames}")
    if len(indices) != num_videos:
        raise ValueError(f"{len(indices)} indices were given for {num_videos} videos")


def continued(model: VideoModel, batch: dict[str, Any], seed: int) -> dict[str, Any]:
    """Each clip of a batch continued from its first quarter (at least one frame), or as ``asked`` says: a prediction.

    Returns:
        ``video``: the clips with their continuation, ``truth``: the clips themselves, both ``[B, 3, F, H, W]`` in
        [-1, 1]; ``given``: how many leading frames were given; ``sample``: indices ``[B]``.
    """
    request = continuation(model.asked, model.video_shape, batch["video"])
    truth, given = batch["video"][:, :, : request.num_frames], len(request.positions)
    video = model.generate(len(truth), None, seed, request, indices=batch["sample"].tolist())
    return {"video": video, "truth": truth, "given": given, "sample": batch["sample"]}


def stage_model(model: object, what: str) -> StageModel:
    """A model as a stage of a pipeline.

    Raises:
        ValueError: for one that cannot be one, beginning with `what`.
    """
    if isinstance(model, StageModel):
        return model
    raise ValueError(f"{what} is a {type(model).__name__}, which generates no videos by itself")


def draws_video(model: object) -> bool:
    """Whether the model of a run generates video; an autoencoder does not."""
    return isinstance(model, VideoModel)


def video_model(model: object, what: str = "the model") -> VideoModel:
    """The model of a run as one that generates video.

    Raises:
        ValueError: for one that draws none, beginning with `what`.
    """
    if isinstance(model, VideoModel):
        return model
    raise ValueError(f"{what} is a {type(model).__name__}, which generates no videos")
