"""A video that another begins from: noised to a level, then denoised from there (Meng et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from videodiff.conditioning.base import Conditioner, View


class FromSource(Conditioner):
    """The sampler starts at the time ``strength`` with the source at that noise level; at 1 with noise alone.

    Nothing is trained: every model takes it, in its own latents. In a long video each window begins so, from its own
    part of the source.
    """

    answers = ("source",)

    def start(self, noise: Tensor, view: View) -> tuple[Tensor, float]:
        strength = view.request.strength
        if view.request.source is None or strength is None or strength == 1:
            return noise, 1.0
        # What the schedule has no level for is its least noise, as the sampler takes it too.
        time = max(strength, view.schedule.smallest_time)
        t = torch.full((len(noise),), time, dtype=torch.float64, device=noise.device)
        return view.schedule.add_noise(view.latents.for_network(view.known), noise, t).float(), time
