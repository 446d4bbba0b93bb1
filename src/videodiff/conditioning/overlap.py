"""Clips that overlap, guided to agree on the overlapping frames."""

from __future__ import annotations

import math

from torch import Tensor

from videodiff.conditioning.base import Conditioner, View
from videodiff.diffusion import Denoiser, MeasurementGuidance
from videodiff.networks.latents import ClipLatents, Latents
from videodiff.networks.network import Network


class OverlapGuidance(Conditioner):
    """The frames that a clip has in common with the one before, by guidance through network and decoder.

    Nothing is trained: each sampler step of a later clip is moved towards the shared frames as the clip before shows
    them (``diffusion/measurement.py``).

    Args:
        weight: how far: 1 is the best step along the gradient, 0 none.

    Raises:
        ValueError: from ``attach`` and ``check_windows``, for a negative weight, or one where nothing is shared.
    """

    def __init__(self, weight: float = 0.0) -> None:
        super().__init__()
        self.weight, self.overlap_frames = weight, 0

    def attach(self, net: Network, latents: Latents) -> None:
        self.overlap_frames = latents.video_shape[1] - latents.unit_frames
        self._check()

    def check_windows(self, windows: object) -> None:
        self._check()  # the weight may have been set since the model was built

    def _check(self) -> None:
        if not 0 <= self.weight < math.inf or (self.weight > 0 and not self.overlap_frames):
            raise ValueError(
                "reconstruction_weight must be at least 0, and needs overlap_frames > 0; got "
                f"{self.weight} with overlap_frames {self.overlap_frames}"
            )

    def around(self, denoiser: Denoiser, view: View) -> Denoiser:
        if not view.sees_units or not self.weight:
            return denoiser
        latents, shared = view.latents, self.overlap_frames
        assert isinstance(latents, ClipLatents)  # no others share frames

        def first_frames(clip: Tensor) -> Tensor:
            return latents.decode_clip(clip)[:, :, :shared]

        shown = latents.decode_clip(view.context[:, :, -1])[:, :, latents.unit_frames :]
        return MeasurementGuidance(denoiser, first_frames, shown, self.weight)
