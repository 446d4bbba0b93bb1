"""What a model must do besides to be a stage of a pipeline: generate window by window."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from videodiff.conditioning.request import Request
from videodiff.diffusion import Sampler
from videodiff.diffusion.windows import Window
from videodiff.networks.latents import Latents
from videodiff.sampling.plans import LongVideo
from videodiff.sampling.video_model import VideoModel


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
        """Frames that it generates for each frame of the given low-resolution video."""

    @abstractmethod
    def total_units(self, num_frames: int) -> int:
        """Units of the latent of a video."""

    @abstractmethod
    def known_units(self, positions: Sequence[int]) -> tuple[int, ...]:
        """Units that given frames at these positions fill.

        Raises:
            ValueError: for frames that are not whole units.
        """

    @abstractmethod
    def check_conditions(self, request: Request, num_frames: int) -> None:
        """Refuse conditions that none of its conditioners uses, whichever model generates the windows.

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
        """A latent ``[num_videos, C, units, *S]`` that is yet to be generated, given units in their places."""

    @abstractmethod
    def generate_window(
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


def stage_model(model: object, what: str) -> StageModel:
    """A model as a stage of a pipeline.

    Raises:
        ValueError: for one that cannot be one, beginning with `what`.
    """
    if isinstance(model, StageModel):
        return model
    raise ValueError(f"{what} is a {type(model).__name__}, which generates no videos by itself")
