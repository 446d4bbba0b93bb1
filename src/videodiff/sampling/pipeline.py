"""Pipelines of trained models: each is conditioned on the video of the one before, or continues its latent.

A cascade (small video, then larger), an interpolator of key frames, a model that raises the frame rate and one that
enlarges another's videos are all of it. A :class:`Stage` says how its model stands to the one before; windows, units
and known frames of each are those of its own plan and latents.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from videodiff.conditioning.request import Request
from videodiff.conditioning.source import kept_pixels
from videodiff.diffusion import Sampler
from videodiff.networks.autoencoder import Autoencoder
from videodiff.networks.latents import Latents
from videodiff.sampling.call import Call
from videodiff.sampling.continuation import continued
from videodiff.sampling.stage import Leg, Stage
from videodiff.sampling.stage_model import StageModel
from videodiff.sampling.video_model import VideoModel


class Pipeline(pl.LightningModule, VideoModel):
    """Stages that generate one after another, used as one model; it is not trained.

    A long video is generated stage by stage, each window by window. The input from the stage before is held whole, as
    latents are: a video at its lower resolution, or given frames.

    Args:
        stages: in the order in which they generate.
        seed: of predictions; the command line sets it from ``seed_everything``.

    Raises:
        ValueError: if a stage cannot take the output of the one before.
    """

    def __init__(self, stages: list[Stage], seed: int = 0) -> None:
        super().__init__()
        if not stages:
            raise ValueError("a pipeline has at least one stage")
        for before, stage in pairwise(stages):
            stage.check_after(before)
        stages[0].takes = None
        self.seed = seed
        self.stages = cast("Sequence[Stage]", nn.ModuleList(stages))
        for group in self.groups:
            passes = group[0].model.plan.num_passes
            if len(group) > max(passes, 1):
                raise ValueError(
                    f"{group[passes]} takes the latent of {group[passes - 1]}, whose plan leaves it nothing to do; "
                    "key frames leave gaps (of LVDM: long_video hierarchical, strides above 1)"
                )

    # --- sizes ------------------------------------------------------------------------------------------------

    @property
    def groups(self) -> list[list[Stage]]:
        """The stages, those that write one latent together."""
        groups: list[list[Stage]] = []
        for stage in self.stages:
            if groups and stage.takes == "latent":
                groups[-1].append(stage)
            else:
                groups.append([stage])
        return groups

    @property
    def models(self) -> list[VideoModel]:
        """The models that generate, one after another."""
        return [stage.model for stage in self.stages]

    @property
    def last(self) -> StageModel:
        """The model that says what the finished latent is."""
        return self.groups[-1][0].model

    @property
    def latents(self) -> Latents:
        """Videos as latents, as the last stage has them."""
        return self.last.latents

    @property
    def video_shape(self) -> tuple[int, int, int, int]:
        """Shape ``(3, T, H, W)`` of the last stage's clip."""
        return self.last.video_shape

    @property
    def num_classes(self) -> int | None:
        """Classes that every stage with classes knows; None where none has any."""
        known = [model.num_classes for model in self.models if model.num_classes is not None]
        return min(known, default=None)

    @property
    def answers(self) -> frozenset[str]:
        """Fields of a request that the first stage uses; later stages get those that they use."""
        return self.groups[0][0].model.answers

    @property
    def sampler(self) -> Sampler:  # type: ignore[override]  # it is set on the stage, not here
        """Of the last stage; every stage has its own."""
        return self.last.sampler

    @property
    def guidance_scale(self) -> float:  # type: ignore[override]  # it is set on the stage, not here
        """Of the last stage; every stage has its own."""
        return self.last.guidance_scale

    @property
    def first_stage(self) -> Autoencoder | None:
        """The autoencoder of the last stage; None for pixels."""
        return self.last.first_stage

    def parts(self) -> dict[str, nn.Module]:
        """The parts of every stage, by its number and their names."""
        found: dict[str, nn.Module] = {}
        for number, model in enumerate(self.models, 1):
            found |= {f"stage {number} {name}": part for name, part in model.parts().items()}
        return found

    def is_long(self, num_frames: int) -> bool:
        """Whether there is anything to go on from before a video is done: a stage, or a window."""
        return len(self.stages) > 1 or self.last.is_long(num_frames)

    def lengths(self, num_frames: int) -> list[int]:
        """Frames that each group generates for a video of ``num_frames``."""
        factors = [group[0].frames_each for group in self.groups[1:]]
        return list(
            accumulate(reversed(factors), lambda frames, each: -(-frames // each), initial=num_frames)
        )[::-1]

    # --- under a trainer --------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        if stage == "fit":
            raise ValueError(
                "a pipeline generates with trained runs and is not trained as one; fit each of its runs by itself"
            )
        self.last.check_data(getattr(self.trainer, "datamodule", None))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.last.log_losses(batch, "val", self, "last_stage_loss")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.last.log_losses(batch, "test", self, "last_stage_loss")

    def predict_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Continue each clip from its first frames, see :func:`~videodiff.sampling.continuation.continued`."""
        return continued(self, batch, self.seed)

    # --- what it is, for records ------------------------------------------------------------------------------

    @property
    def generation_options(self) -> dict[str, Any]:
        """Empty: every stage has its own."""
        return {}

    def describe(self, sampler: Sampler | None = None, guidance_scale: float | None = None) -> dict[str, Any]:
        """How the last stage generates, and under ``stages`` all of them, with run and hash of its weights."""
        stages = [
            {
                **stage.record(),
                **stage.model.describe(sampler, guidance_scale),
                **stage.model.generation_options,
            }
            for stage in self.stages
        ]
        return {**self.last.describe(sampler, guidance_scale), "class": type(self).__name__, "stages": stages}

    def generation_record(self, num_frames: int, guidance_scale: float | None = None) -> dict[str, Any]:
        """What shapes a generated video of so many frames, stage by stage."""
        stages = []
        for group, length in zip(self.groups, self.lengths(num_frames), strict=True):
            for stage in group:
                how = stage.model.generation_record(length, guidance_scale)
                stages.append({**stage.record(), "frames": length, **how})
        return {"stages": stages}

    # --- generating ----------------------------------------------------------------------------------------------

    def legs(self, num_frames: int, request: Request) -> list[Leg]:
        """Everything that will be generated, planned beforehand.

        Args:
            num_frames: length of the finished video.
            request: what is known of it.

        Raises:
            ValueError: if a stage cannot do what is asked, or was not trained for a window of its own.
        """
        legs: list[Leg] = []
        lengths = self.lengths(num_frames)
        if request.positions and request.positions[-1] >= num_frames:
            raise ValueError(
                f"given frame {request.positions[-1]} lies outside a video of {num_frames} frames"
            )
        for number, (group, length) in enumerate(zip(self.groups, lengths, strict=True)):
            head = group[0].model
            asked = scaled(request, self.rate(number), head.video_shape[2:])
            if number == 0 and request.positions and not asked.positions:
                raise ValueError(
                    f"{group[0]} generates one frame in {self.rate(0)}, and none of the known frames is among them"
                )
            if number:
                asked = asked.only(head.answers - {str(group[0].takes)})
                # What it takes is not generated yet: its shape stands in for it.
                shape = (1, 3, lengths[number - 1], *legs[-1].model.video_shape[2:])
                full = self.taking(group[0], asked, torch.zeros(()).expand(shape), length)
            else:
                full = asked
            head.check_conditions(full, length)
            positions = full.positions
            units, windows = head.total_units(length), []
            passes = head.plan.passes(units, head.latents.clip_units, head.known_units(positions))
            for i, planned in enumerate(passes):
                stage = group[min(i, len(group) - 1)]
                stage.model.check_windows(planned)
                windows += [(stage, window) for window in planned]
            legs.append(Leg(group, length, units, asked, positions, windows))
        return legs

    @property
    def takes_guidance(self) -> bool:
        return any(stage.model.takes_guidance for stage in self.stages)

    def check_request(self, request: Request, num_frames: int) -> None:
        self.check_guidance(request)
        self.legs(num_frames, request)

    def rate(self, number: int) -> int:
        """Frames of the finished video for each frame of a group."""
        rate = 1
        for group in self.groups[number + 1 :]:
            rate *= group[0].frames_each
        return rate

    def generate_windows(self, call: Call) -> Tensor:
        """The last stage's latents ``[num_videos, C, U, *S]``.

        A sampler or a guidance scale of the call is every stage's. Windows are counted through all stages, and so is
        their noise. What ``on_window`` is given, and ``generated`` takes, has a row for each video: the latent of the
        stage before, whose video is made of it again, then that of the stage at work.
        """
        legs = self.legs(call.num_frames, call.request)
        starts = list(accumulate((len(leg.windows) for leg in legs), initial=0))
        first = 0 if call.generated is None else call.generated[1]
        at = 0 if call.generated is None else bisect_left(starts, first) - 1
        before, latent = self.unpacked(call.generated, legs, at)
        for number, leg in enumerate(legs[at:], at):
            start = starts[number]
            before = latent if number > at else before
            asked = leg.request if before is None else self.condition_of(leg, legs[number - 1], before)
            if latent is None or number > at:
                latent = leg.model.blank(len(call.indices), leg.units, asked)
            for k, (stage, window) in enumerate(leg.windows, start):
                if k < first:
                    continue
                chosen = call.sampler or stage.model.sampler
                if k > start:
                    chosen = call.later_sampler or stage.model.later_sampler(chosen)
                report = call.report(k, starts[-1])
                stage.model.generate_window(
                    latent, window, asked, call.noise(k), chosen, call.guidance_scale, report
                )
                call.finish(packed(before, latent), k + 1)
        assert latent is not None  # a pipeline has a stage
        return latent

    def condition_of(self, leg: Leg, below: Leg, latent: Tensor) -> Request:
        """What is asked of a leg, with what it takes of the one below, whose latent is done."""
        video = torch.cat(list(below.model.decode_frames(latent, below.num_frames)), dim=2)
        return self.taking(leg.stages[0], leg.request, video, leg.num_frames)

    @staticmethod
    def taking(stage: Stage, request: Request, video: Tensor, num_frames: int) -> Request:
        """A request of ``num_frames`` frames with the video of the stage before as what this stage takes it for."""
        if stage.takes == "frames":
            return replace(request, frames=video, positions=tuple(range(0, num_frames, stage.frames_each)))
        return replace(request, low_resolution=video)

    def unpacked(
        self, generated: tuple[Tensor, int] | None, legs: Sequence[Leg], at: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """The latents of the leg before and of the one at work, of the rows that :func:`packed` made."""
        if generated is None:
            return None, None
        rows, found = generated[0].to(self.device), []
        shapes = [leg.shape for leg in legs[max(at - 1, 0) : at + 1]]
        for shape, row in zip(shapes, rows.split([math.prod(shape) for shape in shapes], dim=1), strict=True):
            found.append(row.reshape(-1, *shape))
        return (found[0] if at else None), found[-1]

    def decode_frames(self, latent: Tensor, num_frames: int) -> Iterator[Tensor]:
        """The first ``num_frames`` frames of the last stage's latent in order, as pieces ``[B, 3, t, H, W]``."""
        return self.last.decode_frames(latent, num_frames)


def packed(before: Tensor | None, latent: Tensor) -> Tensor:
    """Latents as one row for each video, ``[B, n]``."""
    return torch.cat([part.flatten(1) for part in (before, latent) if part is not None], dim=1)


def scaled(request: Request, rate: int, size: tuple[int, int]) -> Request:
    """A request of a video at so many times fewer frames, and of another size.

    Known frames between those are left out, the others are averaged over areas; so are those of a source, of which an
    area stays where all of it does.
    """
    request = scaled_source(request, rate, size)
    if request.frames is None:
        return request
    kept = [i for i, position in enumerate(request.positions) if position % rate == 0]
    if not kept:
        return replace(request, frames=None, positions=())
    frames = request.frames[:, :, kept]
    if tuple(frames.shape[-2:]) != tuple(size):
        frames = nn.functional.adaptive_avg_pool3d(frames, (len(kept), *size))
    return replace(request, frames=frames, positions=tuple(request.positions[i] // rate for i in kept))


def scaled_source(request: Request, rate: int, size: tuple[int, int]) -> Request:
    """The same of the source, and of what stays of it, which is a mask then."""
    source, keep = request.source, kept_pixels(request)
    if source is None:
        return request
    source, mask = source[:, :, ::rate], None if keep is None else ~keep[:, :, ::rate]
    if tuple(source.shape[-2:]) != tuple(size):
        shape = (source.shape[2], *size)
        source = nn.functional.adaptive_avg_pool3d(source, shape)
        mask = None if mask is None else nn.functional.adaptive_max_pool3d(mask.float(), shape) > 0
    return replace(request, source=source, mask=mask, kept=())
