"""One call of ``generate``: the request, the noise, and the progress callback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from videodiff.conditioning.request import Request
from videodiff.diffusion import Sampler
from videodiff.seeding import generator

OnWindow = Callable[[Tensor, int], None]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of :meth:`VideoModel.generate_latent`, which documents its fields; checked, the request on the device.

    A sampler or guidance that is None is the model's own.
    """

    num_frames: int
    seed: int
    request: Request
    indices: Sequence[int]
    sampler: Sampler | None
    later_sampler: Sampler | None
    guidance_scale: float | None
    progress: Callable[[int, int], None] | None
    generated: tuple[Tensor, int] | None
    on_window: OnWindow | None
    device: torch.device

    def noise(self, window: int) -> list[torch.Generator]:
        """The randomness of one window, a generator for each video."""
        return [generator(self.seed, "sample", index, window, device=self.device) for index in self.indices]

    def report(self, window: int, windows: int) -> Callable[[int, int], None]:
        """How the steps of one of so many windows are reported."""

        def steps_done(done: int, steps: int) -> None:
            if self.progress is not None:
                self.progress(window * steps + done, windows * steps)

        return steps_done

    def finish(self, latent: Tensor, windows_done: int) -> None:
        """Say that a window is done."""
        if self.on_window is not None:
            self.on_window(latent, windows_done)
