"""Given frames or a low-resolution video by reconstruction guidance, without training for them."""

from __future__ import annotations

import math
from typing import Literal

from videodiff.conditioning.base import Conditioner, View
from videodiff.diffusion import Denoiser, KnownFrames, LowResolution, ReconstructionGuidance, Replacement


class Reconstruction(Conditioner):
    """The unconditional model of pixels, steered while it samples (Ho et al. 2022, section 3.1).

    Prediction, interpolation, extension and super-resolution are all of it; nothing is trained.

    Args:
        weight: w_r of eq. 7, for the sum of squared errors; the paper uses 50 (BAIR) and 9 (Kinetics).
        way: reconstruction guidance, or the replacement baseline that it is compared with.

    Raises:
        ValueError: if the weight is negative or not finite.
    """

    answers = ("frames", "low_resolution")

    def __init__(
        self, weight: float = 9.0, way: Literal["reconstruction", "replacement"] = "reconstruction"
    ) -> None:
        super().__init__()
        if not 0 <= weight < math.inf:
            raise ValueError(f"reconstruction_weight must be at least 0 and finite, got {weight}")
        self.weight, self.way = weight, way

    def around(self, denoiser: Denoiser, view: View) -> Denoiser:
        low, noise = view.request.low_resolution, view.noise
        if view.sees_units and self.way == "replacement" and low is None:
            return Replacement(denoiser, view.schedule, view.known, view.mask, noise)
        observations: list[KnownFrames | LowResolution] = []
        if view.sees_units:
            observations.append(KnownFrames(view.known, view.mask, self.weight))
        if low is not None:
            last = low.shape[2] - 1
            observations.append(LowResolution(low[:, :, [min(u, last) for u in view.units]], self.weight))
        if not observations:
            return denoiser
        return ReconstructionGuidance(denoiser, view.schedule, observations, noise)
