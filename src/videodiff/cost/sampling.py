"""FLOP of generating one clip: the denoiser as often as the sampler calls it, and decoding."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .counter import Counter
from .group_norm import remembered
from .meta_model import MetaModel


@dataclass(frozen=True)
class SamplingCost:
    """What one clip takes.

    Attributes:
        calls: of the denoiser.
        call_flop: of each, guidance included.
        decode_flop: from latent to pixels.
    """

    calls: int
    call_flop: int
    decode_flop: int

    @property
    def flop(self) -> int:
        """All of it."""
        return self.calls * self.call_flop + self.decode_flop


def sampling_cost(meta: MetaModel, calls: int) -> SamplingCost:
    """Count one call of the denoiser for one clip, and decoding one."""
    model, counter = meta.model, Counter()
    model.eval()
    with counter, remembered(counter), torch.no_grad():
        latent = torch.empty(1, *model.latents.shape(model.latents.clip_units), device=meta.device)
        model.forward_once(meta.device)
        call = counter.flop
        for _ in model.decode_frames(latent, model.video_shape[1]):
            pass
    guided = 1 if model.guidance_scale == 1 else 2
    return SamplingCost(calls, guided * call, counter.flop - call)


def forward_flop(meta: MetaModel) -> int:
    """Floating-point operations of one forward pass of the denoiser or trained autoencoder, two per multiply-add."""
    model, counter = meta.model, Counter()
    model.eval()
    with counter, remembered(counter), torch.no_grad():
        model.forward_once(meta.device)
    return counter.flop
