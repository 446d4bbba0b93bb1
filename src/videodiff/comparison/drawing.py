"""Drawing the clips of a model: the same noise for every model, seconds by batch, bytes as a protocol rounds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import Tensor

from videodiff.conditioning.request import Request
from videodiff.diffusion import Sampler
from videodiff.evaluation.of_run import as_bytes
from videodiff.evaluation.sampling import Batch
from videodiff.precision import autocast, default_precision

Progress = Callable[[str, int, int], None]


class NonFiniteDrawError(RuntimeError):
    """A model that drew something that is not a number."""


class Draws:
    """Clips of one model, drawn batch by batch; sample i depends on the seed and i alone.

    Args:
        model: on its device, in evaluation mode.
        sampler: for every window of a video.
        frames: of each video.
        count: of videos.
        seed: of the noise.
        batch_size: videos drawn at once.
        guidance: scale, or None for the model's own.
        labels: class of each video, or None.
        request: what is asked of one video, told to each; its class, if it has one, goes before `labels`.
        rounding: of pixels in [-1, 1] to uint8.
        progress: called with the number of videos drawn.

    Attributes:
        seconds: of each batch so far, by video.
    """

    def __init__(
        self,
        model: Any,
        sampler: Sampler,
        frames: int,
        count: int,
        seed: int,
        batch_size: int,
        guidance: float | None = None,
        labels: list[int] | None = None,
        rounding: str = "round",
        progress: Callable[[int], None] | None = None,
        request: Request | None = None,
    ) -> None:
        self.model, self.sampler, self.frames, self.count, self.seed = model, sampler, frames, count, seed
        self.batch_size, self.guidance, self.labels = batch_size, guidance, labels
        self.rounding, self.progress, self.request = rounding, progress, request or Request()
        self.seconds: list[float] = []

    def __iter__(self) -> Iterator[Batch]:
        """Batches of uint8 clips ``[B, T, H, W, 3]`` on the CPU.

        Raises:
            NonFiniteDrawError: for clips that are not numbers.
        """
        for start in range(0, self.count, self.batch_size):
            indices = list(range(start, min(start + self.batch_size, self.count)))
            began = time.perf_counter()
            clips = self.clips(indices)
            self.seconds.append((time.perf_counter() - began) / len(indices))
            yield Batch(indices, clips)
            if self.progress is not None:
                self.progress(indices[-1] + 1)

    def clips(self, indices: list[int], sampler: Sampler | None = None) -> Tensor:
        """The clips of these indices, uint8 ``[B, T, H, W, 3]``."""
        sampler = sampler or self.sampler
        device = self.model.device.type
        request = self.request.expand(len(indices))
        if self.labels is not None and request.label is None:
            label = torch.tensor([self.labels[i % len(self.labels)] for i in indices])
            request = replace(request, label=label)
        with torch.no_grad(), autocast(device, default_precision(device)):
            videos = self.model.generate(
                len(indices), self.frames, self.seed, request, indices=indices, sampler=sampler,
                later_sampler=sampler, guidance_scale=self.guidance,
            )  # fmt: skip
        if not bool(torch.isfinite(videos).all()):
            raise NonFiniteDrawError("it drew values that are not finite; is the checkpoint trained?")
        return as_bytes(videos, self.rounding).permute(0, 2, 3, 4, 1).contiguous().cpu()

    @property
    def seconds_per_video(self) -> float | None:
        """Median over batches; the first, which warms up, is left out where there are others."""
        return median(self.seconds[1:] or self.seconds) if self.seconds else None
