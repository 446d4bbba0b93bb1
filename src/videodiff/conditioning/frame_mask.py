"""Some units are given, slightly noised, and marked by a mask channel (He et al. 2022, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from videodiff.conditioning.base import Conditioner, Example, Keys, View
from videodiff.diffusion import Condition, Denoiser, GivenUnits, KnownUnits, Window, normal_like
from videodiff.networks.latents import Latents
from videodiff.networks.network import Network
from videodiff.seeding import send


class FrameMask(Conditioner):
    """The first units, both ends, or nothing is given; the network sees them in their places, and where they are.

    A network without a mask channel (``concat_channels: 0``) learns single clips, and is given nothing.

    Args:
        prediction_share: share of the training samples whose first units are given.
        interpolation_share: share of the training samples whose first and last unit are given.
        given_counts: how many first units may be given to a prediction; each sample draws one of them.
        max_given_noise: given units are noised to a time drawn from 0 to this (s_max / T = 0.25).
        given_noise: time that given units are noised to in sampling (0.1 in the published script).
        loss_on_given: count the denoising of the given units in the loss too, as the published code does.

    Raises:
        ValueError: for shares, counts or times out of their range; from ``attach``, if they do not fit the network.
    """

    fields = ("concat", "concat_time")
    answers = ("frames",)

    def __init__(
        self,
        prediction_share: float = 0.0,
        interpolation_share: float = 0.0,
        given_counts: tuple[int, ...] = (1,),
        max_given_noise: float = 0.25,
        given_noise: float = 0.1,
        loss_on_given: bool = False,
    ) -> None:
        super().__init__()
        if min(prediction_share, interpolation_share) < 0 or prediction_share + interpolation_share > 1:
            raise ValueError(
                "prediction_share and interpolation_share must be at least 0 and at most 1 together, "
                f"got {prediction_share} and {interpolation_share}"
            )
        if not 0 <= max_given_noise < 1 or not 0 <= given_noise < 1:
            raise ValueError(
                f"max_given_noise and given_noise must lie in [0, 1), got {max_given_noise} and {given_noise}"
            )
        self.prediction_share, self.interpolation_share = prediction_share, interpolation_share
        self.given_counts, self.loss_on_given = tuple(given_counts), loss_on_given
        self.max_given_noise, self.given_noise = max_given_noise, given_noise
        self.has_channel = False

    def attach(self, net: Network, latents: Latents) -> None:
        channels, units = net.concat_channels, latents.clip_units
        if units < 2:
            raise ValueError(
                "a model that may be given some of a clip takes clips of 2 latent frames or more "
                f"(--model.net.num_frames 2), got {units}; single frames are learnt by VDM"
            )
        if not self.given_counts or min(self.given_counts) < 1 or max(self.given_counts) >= units:
            raise ValueError(
                f"given_counts must lie between 1 and {units - 1} (num_frames - 1), got {self.given_counts}"
            )
        if self.interpolation_share > 0 and units < 3:
            raise ValueError(f"interpolation needs a network of at least 3 latent frames, got {units}")
        if self.prediction_share + self.interpolation_share > 0 and channels != 1:
            raise ValueError(
                "a network that is given frames takes a mask channel: --model.net.concat_channels 1, "
                f"got {channels}"
            )
        self.has_channel = channels > 0

    @property
    def is_used(self) -> bool:
        return self.has_channel

    @property
    def null_share(self) -> float:
        return 1 - self.prediction_share - self.interpolation_share

    def check_windows(self, windows: Sequence[Window]) -> None:
        if not self.has_channel and any(window.context for window in windows):
            raise ValueError(
                "this model was not trained with given frames: it generates single clips (train one with "
                "--model.net.concat_channels 1 and --model.prediction_share above 0)"
            )

    def draw_mask(self, units: int, keys: Keys) -> Tensor:
        """Which units are given, ``[B, U]`` bool, by each sample's own coins."""
        mask = torch.zeros(len(keys.positions), units, dtype=torch.bool)
        for row, coin, u in zip(
            mask, keys.coins("task").tolist(), keys.coins("given count").tolist(), strict=True
        ):
            if coin < self.interpolation_share:
                row[[0, -1]] = True
            elif coin < self.interpolation_share + self.prediction_share:
                row[: self.given_counts[int(u * len(self.given_counts))]] = True
        return send(mask, keys.device)

    def learn(self, example: Example) -> Example:
        if not self.has_channel:
            return example
        x, keys = example.x, example.keys
        mask = self.draw_mask(x.shape[2], keys)
        # A sample that is given nothing is the unconditional one: no mask, no noise level.
        level = self.max_given_noise * keys.uniforms(keys.split, "given time") * mask.any(1)
        noise = keys.normals(keys.split, "given noise", shape=tuple(x.shape[1:]))
        mask = mask.view(len(mask), 1, -1, *[1] * (x.ndim - 3))
        cond = replace(example.cond, concat=mask.float().expand(-1, -1, *x.shape[2:]), concat_time=level)
        return replace(example, target=x, cond=cond, known=KnownUnits(mask, noise, level, self.loss_on_given))

    def tell(self, cond: Condition, view: View) -> Condition:
        if not view.sees_units:
            return cond
        known = view.known
        channel = view.mask.float().view(1, 1, -1, *[1] * (known.ndim - 3))
        channel = channel.expand(len(known), 1, *known.shape[2:])
        return replace(cond, concat=channel, concat_time=self._level(known))

    def within(self, denoiser: Denoiser, view: View) -> Denoiser:
        """Given units are noised once for the whole window."""
        if not view.sees_units:
            return denoiser
        noise = normal_like(view.known, view.noise)
        return GivenUnits(denoiser, view.schedule.add_noise(view.known, noise, self._level(view.known)))

    def _level(self, known: Tensor) -> Tensor:
        return torch.full((len(known),), self.given_noise, device=known.device)
