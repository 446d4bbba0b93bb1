"""Every unit has a noise level of its own, so that what is given is a unit at t = 0 (diffusion forcing)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch

from videodiff.conditioning.base import Conditioner, Example, View
from videodiff.diffusion import (
    Denoiser,
    History,
    HistoryGuidance,
    KnownUnits,
    Stabilised,
    check_stabilisation,
)
from videodiff.networks.latents import Latents
from videodiff.networks.network import Network

LEVELS = ("independent", "uniform_future", "given", "one")


class Forcing(Conditioner):
    """Trains with a time for each unit, and generates from units at any times (Chen et al. 2024, arXiv 2407.01392).

    Nothing is joined to the latent and nothing is dropped: given units are clean ones (t = 0), absent ones are noise
    (t = 1), and both occur in training. The network must take a time for each unit.

    Args:
        levels: noise levels of the units of a training sample. "independent": each its own. "uniform_future": those
            after the first `context` units share one, as they do in sampling all at once (Song et al. 2025). For
            comparison, "given": the first `context` units are clean and not learnt, the others share one time; "one":
            all share it.
        context: first units that are told apart in training, for uniform_future and given.
        stabilise: time that units which are generated already are shown at, from 0, as they are; against the
            accumulation of errors in long video (0.02 in Song et al. 2025).
        stabilise_way: with "fresh" noise at every call, or "scaled" by alpha without noise (Chen et al. 2024).
        histories: guidance by history: which parts of it, at which noise level, count how much; none is conditional
            sampling. See :class:`~videodiff.diffusion.HistoryGuidance`.
        clamp_noise: training noise, and the noise that sampling starts with, is kept in +- this; 6 in Chen et al. 2024.

    Raises:
        ValueError: for a choice that is none, or a number out of its range; from ``attach``, for a network that takes
            one time for all units, or a latent whose unit is the whole clip.
    """

    answers = ("frames",)
    is_guided = False
    has_unit_times = True

    def __init__(
        self,
        levels: Literal["independent", "uniform_future", "given", "one"] = "independent",
        context: int = 0,
        stabilise: float = 0.0,
        stabilise_way: Literal["fresh", "scaled"] = "fresh",
        histories: Sequence[History] = (),
        clamp_noise: float = 6.0,
    ) -> None:
        super().__init__()
        if levels not in LEVELS:
            raise ValueError(f"levels must be {', '.join(LEVELS[:-1])} or {LEVELS[-1]}, got {levels!r}")
        tells_apart = levels in ("uniform_future", "given")
        if tells_apart != (context > 0) or context < 0:
            raise ValueError(
                "context is a number of first units above 0 with levels uniform_future and given, and 0 otherwise; "
                f"got {context} with levels {levels}"
            )
        if not clamp_noise > 0:
            raise ValueError(f"clamp_noise must be above 0, got {clamp_noise}")
        if stabilise:
            check_stabilisation(stabilise, stabilise_way)
        self.levels, self.context, self.noise_limit = levels, context, clamp_noise
        self.stabilise, self.stabilise_way, self.histories = stabilise, stabilise_way, tuple(histories)

    @property
    def is_used(self) -> bool:
        return True

    def attach(self, net: Network, latents: Latents) -> None:
        if not latents.sees_context:
            raise ValueError(
                "the unit of this latent is a whole clip, and a network sees one: nothing in it could have noise "
                "levels of its own; Forcing is for pixels and for latents with a time axis"
            )
        if not net.takes_unit_times:
            raise ValueError(
                "Forcing tells the network a time for each unit, and this one takes a single time (one that does says "
                "takes_unit_times = True, as UNet3D with norm frame)"
            )
        units = latents.clip_units
        if units < 2 or self.context >= units:
            raise ValueError(
                f"Forcing needs clips of 2 units or more, and a context below their number; got {units} and context "
                f"{self.context}"
            )

    def learn(self, example: Example) -> Example:
        x, keys = example.x, example.keys
        times = torch.stack(
            [keys.uniforms(keys.split, "unit time", str(unit)) for unit in range(x.shape[2])], dim=1
        )
        if self.levels != "independent":
            times[:, self.context :] = times[:, self.context : self.context + 1]
        if self.levels != "given":
            return replace(example, target=x, times=times)
        mask = torch.arange(x.shape[2], device=x.device) < self.context
        known = KnownUnits(
            mask.view(1, 1, -1, *[1] * (x.ndim - 3)),
            torch.zeros_like(x),
            torch.zeros(len(x), device=x.device),
        )
        return replace(example, target=x, times=times, known=known)

    def within(self, denoiser: Denoiser, view: View) -> Denoiser:
        if not self.stabilise:
            return denoiser
        return Stabilised(denoiser, view.schedule, self.stabilise, self.stabilise_way, view.noise)

    def around(self, denoiser: Denoiser, view: View) -> Denoiser:
        if not self.histories:
            return denoiser
        return HistoryGuidance(denoiser, view.schedule, self.histories, view.noise)

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.stabilise:
            found |= {"stabilise": self.stabilise, "stabilise_way": self.stabilise_way}
        if self.histories:
            found["histories"] = [
                {"weight": h.weight, "time": h.time, "units": None if h.units is None else list(h.units)}
                for h in self.histories
            ]
        return found
