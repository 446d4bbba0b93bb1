"""Clips of frames that are further apart: key frames (He et al. 2022, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from videodiff.conditioning.base import Conditioner, Example, View
from videodiff.diffusion import Condition, Window
from videodiff.networks.latents import Latents
from videodiff.networks.network import Network
from videodiff.seeding import send


class Strides(Conditioner):
    """Every k-th unit of a longer latent; the network is conditioned on log2 k as a vector of one number.

    Args:
        strides: distances k that a training sample draws from; 1 is neighbours.
        drop: share of training samples without the distance, for classifier-free guidance.

    Raises:
        ValueError: for distances below 1; from ``attach``, if the network cannot be conditioned on several.
    """

    fields = ("vector",)
    is_guided = False
    sets_frames = True

    def __init__(self, strides: tuple[int, ...] = (1,), drop: float = 0.0) -> None:
        super().__init__()
        self.strides, self.drop = tuple(sorted(strides)), drop
        if not self.strides or self.strides[0] < 1:
            raise ValueError(f"strides must be at least 1, got {self.strides}")
        self.is_conditioned, self.count = False, 1

    def attach(self, net: Network, latents: Latents) -> None:
        told = net.vector_dim
        if len(self.strides) > 1 and told != 1:
            raise ValueError(f"several strides need --model.net.vector_dim 1, got {told}")
        self.is_conditioned, self.count = told is not None, latents.clip_units

    def sample_frames(self, latents: Latents) -> int:
        return latents.frames((self.count - 1) * self.strides[-1] + 1)

    def check_frames(self, num_frames: int, latents: Latents) -> None:
        unit, span = latents.unit_frames, self.sample_frames(latents)
        if latents.frames(1) != unit:  # a first latent frame that stands nowhere else
            if num_frames != span or self.strides != (1,):
                raise ValueError(
                    f"latents of a causal first stage are learnt as whole clips: data.num_frames must be {span} and "
                    f"strides [1], got {num_frames} and {list(self.strides)}"
                )
            return
        if num_frames < span or num_frames % unit:
            raise ValueError(
                f"data.num_frames must be a multiple of {unit} and at least {span} ({self.count} latent frames of "
                f"{unit}, {self.strides[-1]} apart), got {num_frames}"
            )

    def check_windows(self, windows: Sequence[Window]) -> None:
        for window in windows:
            if window.stride is not None and window.stride not in self.strides:
                raise ValueError(
                    f"this model was trained on latent frames {' and '.join(map(str, self.strides))} apart, not "
                    f"{window.stride}"
                    + ("; give one that did with --interpolator RUN" if window.stride == 1 else "")
                )

    def learn(self, example: Example) -> Example:
        latent, keys, count = example.latent, example.keys, self.count
        strides = [self.strides[int(u * len(self.strides))] for u in keys.coins("stride").tolist()]
        rows, firsts = [], []
        for row, stride, u in zip(latent, strides, keys.coins("first unit").tolist(), strict=True):
            first = int(u * (latent.shape[2] - (count - 1) * stride))
            rows.append(row[:, first : first + (count - 1) * stride + 1 : stride])
            firsts.append(first * example.latents.unit_frames)
        target = torch.stack(rows)
        example = example.of_frames(firsts, example.latents.video_shape[1], strides)
        return replace(example, target=target, cond=self._told(example.cond, strides, target))

    def tell(self, cond: Condition, view: View) -> Condition:
        stride = view.window.stride or 1
        return self._told(cond, [stride] * len(view.known), view.known)

    def _told(self, cond: Condition, strides: Sequence[int], like: Tensor) -> Condition:
        if not self.is_conditioned:
            return cond
        return replace(cond, vector=send(torch.tensor([[math.log2(s)] for s in strides]), like.device))
