"""The clips that a model generates to be measured: the same noise for every model, bytes as a protocol rounds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videodiff.conditioning.request import Request
from videodiff.data.pixels import to_uint8
from videodiff.diffusion import Sampler
from videodiff.evaluation.plan import Batch
from videodiff.precision import autocast, default_precision


class NonFiniteClipsError(RuntimeError):
    """A model that generated something that is not a number."""


class GeneratedClips:
    """Clips of one model, generated batch by batch; clip i depends on the seed and i alone.

    Args:
        model: that generates video, on its device, in evaluation mode.
        frames: of each clip.
        indices: of the clips.
        seed: of the noise.
        batch_size: clips generated at once.
        request: what is asked of one clip, told to each; its class, if it has one, goes before `labels`.
        actions: numbers of clips -> what is done at each of their frames, ``[B, T, D]``; None leaves it to the request.
        captions: numbers of clips -> what they show, in words; None leaves it to the request.
        labels: clip i is of class ``labels[i % len(labels)]``; None leaves it to the request.
        rounding: of pixels in [-1, 1] to uint8.
        sampler: for every window of a video; None is the model's own.
        guidance: scale, or None for the request's or the model's own.
        precision: what the model computes in; None is the usual one of its device.
        progress: called with the number of clips generated.

    Attributes:
        seconds: of each batch so far, by clip.
    """

    def __init__(
        self,
        model: Any,
        frames: int,
        indices: Sequence[int],
        seed: int,
        batch_size: int,
        request: Request | None = None,
        labels: list[int] | None = None,
        rounding: str = "round",
        sampler: Sampler | None = None,
        guidance: float | None = None,
        precision: Callable[[], AbstractContextManager] | None = None,
        progress: Callable[[int], None] | None = None,
        actions: Callable[[Sequence[int]], Tensor] | None = None,
        captions: Callable[[Sequence[int]], list[str]] | None = None,
    ) -> None:
        self.model, self.sampler, self.frames, self.indices, self.seed = model, sampler, frames, indices, seed
        self.batch_size, self.guidance, self.labels = batch_size, guidance, labels
        self.rounding, self.progress, self.request = rounding, progress, request or Request()
        self.precision, self.actions, self.captions = precision or self.usual_precision, actions, captions
        self.seconds: list[float] = []

    @property
    def batches(self) -> list[Sequence[int]]:
        """Indices of the clips that are generated at once."""
        starts = range(0, len(self.indices), self.batch_size)
        return [self.indices[start : start + self.batch_size] for start in starts]

    def usual_precision(self) -> AbstractContextManager:
        """What a model is computed in where nobody says it."""
        device = self.model.device.type
        return autocast(device, default_precision(device))

    def __iter__(self) -> Iterator[Batch]:
        """Batches of uint8 clips ``[B, T, H, W, 3]`` on the CPU.

        Raises:
            NonFiniteClipsError: for clips that are not numbers.
        """
        done = 0
        for indices in self.batches:
            began = time.perf_counter()
            clips = self.clips(indices)
            self.seconds.append((time.perf_counter() - began) / len(indices))
            yield Batch(list(indices), clips)
            done += len(indices)
            if self.progress is not None:
                self.progress(done)

    def clips(self, indices: Sequence[int], sampler: Sampler | None = None) -> Tensor:
        """The clips of these indices, uint8 ``[B, T, H, W, 3]``; with another sampler if one is given."""
        sampler = sampler or self.sampler
        with torch.no_grad(), self.precision():
            videos = self.model.generate(
                len(indices), self.frames, self.seed, self.request_of(indices), indices=self.noise_of(indices),
                sampler=sampler, later_sampler=sampler, guidance_scale=self.guidance,
            )  # fmt: skip
        return as_clips(videos, self.rounding)

    def request_of(self, indices: Sequence[int]) -> Request:
        """What is asked of the clips of these indices."""
        request = self.request.of_videos(indices)
        if self.actions is not None and request.actions is None:
            request = replace(request, actions=self.actions(indices))
        if self.captions is not None and not request.prompt:
            request = replace(request, prompt=tuple(self.captions(indices)))
        if self.labels is None or request.label is not None:
            return request
        return replace(request, label=torch.tensor([self.labels[i % len(self.labels)] for i in indices]))

    def classes_of(self, indices: Sequence[int]) -> np.ndarray | None:
        """The class that each of these clips is told, -1 where it is none, ``[N]``; None if no class is told."""
        told = self.request.label
        numbers = self.labels if told is None else told.tolist()
        if numbers is None or guided_away(self.guidance, self.request):
            return None
        found = np.array([numbers[i % len(numbers)] for i in map(self.told_as, indices)])
        return found if (found >= 0).any() else None

    @property
    def tells_captions(self) -> bool:
        """Whether these clips are told the captions of the real ones."""
        is_told = self.captions is not None and not self.request.prompt
        return is_told and not guided_away(self.guidance, self.request)

    def words_of(self, indices: Sequence[int]) -> list[str] | None:
        """The prompt of each of these clips; None where they are told no words."""
        places = [self.told_as(index) for index in indices]
        if guided_away(self.guidance, self.request):
            return None
        if self.request.prompt:
            return list(self.request.of_videos(places).prompt)
        return None if self.captions is None else self.captions(places)

    def told_as(self, index: int) -> int:
        """Which of the classes in turn, or of the captions, a clip takes."""
        return index

    def noise_of(self, indices: Sequence[int]) -> list[int]:
        """By which indices the model seeds the noise of these clips."""
        return list(indices)

    @property
    def seconds_per_video(self) -> float | None:
        """Median over batches; the first, which warms up, is left out where there are others."""
        return median(self.seconds[1:] or self.seconds) if self.seconds else None


def guided_away(scale: float | None, request: Request) -> bool:
    """Whether guidance leaves nothing of the conditions: a scale of 0 is the unconditional estimate alone."""
    return (request.guidance if scale is None else scale) == 0


def as_clips(videos: Tensor, rounding: str = "round") -> Tensor:
    """Generated videos ``[B, 3, T, H, W]`` in [-1, 1] as clips uint8 ``[B, T, H, W, 3]`` on the CPU.

    Args:
        videos: of a model.
        rounding: ``round``, or ``truncate`` as ``(127.5 (x + 1))`` cast to integers does.

    Raises:
        NonFiniteClipsError: for values that are not numbers.
    """
    if not bool(torch.isfinite(videos).all()):
        raise NonFiniteClipsError("the model generated non-finite values; is the checkpoint trained?")
    if rounding == "round":
        pixels = to_uint8(videos)
    else:
        pixels = videos.float().add(1).mul(127.5).clamp(0, 255).floor().to(torch.uint8)
    return pixels.permute(0, 2, 3, 4, 1).contiguous().cpu()
