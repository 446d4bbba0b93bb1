"""A stage of a pipeline: one trained model, and the windows of stages that write one latent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl
from torch import nn

from videodiff.conditioning.request import Request
from videodiff.diffusion.windows import Window
from videodiff.sampling.stage_model import StageModel, stage_model

Takes = Literal["low_resolution", "frames", "latent"]


class Stage(nn.Module):
    """A trained model in its place in a pipeline.

    Args:
        model: the trained model.
        takes: what the video of the stage before is to it: its own at a lower resolution or rate, its known frames, or
            the latent in which it writes what is left (the gaps between key frames). The first stage takes nothing.
        frames_each: of a stage that takes frames: its frames for each of those. How many another draws for each that
            it takes is a part of its training.
        run: what its run is called, in records and errors.
        weights: SHA-256 of its weights, for records.

    Raises:
        ValueError: for a model that cannot be told what it takes, or frames_each without an effect.
    """

    def __init__(
        self,
        model: pl.LightningModule,
        takes: Takes = "low_resolution",
        frames_each: int | None = None,
        run: str = "",
        weights: str | None = None,
    ) -> None:
        super().__init__()
        # a module too: its weights are part of the pipeline's
        self.model = generating = stage_model(model, run or "a stage")
        self.run, self.weights = run, weights
        self.takes: Takes | None = takes
        if takes == "frames" and (frames_each is None or frames_each < 2):
            raise ValueError(
                f"{self} takes frames, and adds others between them: frames_each must be at least 2, got {frames_each}"
            )
        own = generating.frames_each if takes == "low_resolution" else 1
        if takes != "frames" and frames_each not in (None, own):
            raise ValueError(
                f"{self} takes {takes} and generates {own} frames for each: leave out frames_each {frames_each}"
            )
        self.frames_each = frames_each or own

    def record(self) -> dict[str, Any]:
        """Which run it is, for records."""
        return {
            "run": self.run, "weights": self.weights, "model": type(self.model).__name__, "takes": self.takes,
        }  # fmt: skip

    def __str__(self) -> str:
        return f"stage {self.run or type(self.model).__name__}"

    def check_after(self, before: Stage) -> None:
        """Refuse a stage before whose videos or latents this one cannot take.

        Raises:
            ValueError: in one line.
        """
        if self.takes == "latent":
            ours, theirs = self.model.latents.shape(1), before.model.latents.shape(1)
            if ours != theirs:
                raise ValueError(
                    f"the latents {ours} of {self}, which fills gaps, are not those of {before}, {theirs}"
                )
            return
        takes = str(self.takes)
        if takes not in self.model.answers:
            raise ValueError(
                f"{self} cannot take {takes.replace('_', ' ')} of {before}: none of its conditioners makes use of "
                "it; give it another place, or another takes"
            )
        (height, width), (small_height, small_width) = (
            stage.model.video_shape[2:] for stage in (self, before)
        )
        factors = (height / small_height, width / small_width)
        if self.takes == "frames" and factors != (1, 1):
            raise ValueError(
                f"{self} takes frames of {before}, which must be of its own size {height}x{width}, "
                f"got {small_height}x{small_width}"
            )
        if not all(factor >= 1 and factor.is_integer() for factor in factors):
            raise ValueError(
                f"{self} generates {height}x{width}, no multiple of the {small_height}x{small_width} of {before}"
            )


@dataclass(frozen=True)
class Leg:
    """Stages that write one latent, and how they write it.

    Attributes:
        stages: those; the first one's plan is kept to.
        num_frames: length of the video.
        units: of the latent.
        request: what is asked of it, but for what it takes of the leg before.
        positions: of the frames that are known when it is generated.
        windows: each with the stage that generates it, in order.
    """

    stages: list[Stage]
    num_frames: int
    units: int
    request: Request
    positions: tuple[int, ...]
    windows: list[tuple[Stage, Window]]

    @property
    def model(self) -> StageModel:
        """The model that says what the latent is."""
        return self.stages[0].model

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the latent of one video."""
        return self.model.latents.shape(self.units)
