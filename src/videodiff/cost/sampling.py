"""FLOP of generating one clip: the denoiser as often as the sampler calls it, its prompt once, and decoding."""

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
        text_flop: of its prompt and the empty one, which are encoded once.
    """

    calls: int
    call_flop: int
    decode_flop: int
    text_flop: int = 0

    @property
    def flop(self) -> int:
        """All of it."""
        return self.calls * self.call_flop + self.decode_flop + self.text_flop


def sampling_cost(meta: MetaModel, calls: int) -> SamplingCost:
    """FLOP of one clip: so many calls of the denoiser, each a forward pass, and decoding, which is counted."""
    model, counter, call = meta.model, Counter(), forward_flop(meta)
    model.eval()
    with counter, remembered(counter), torch.no_grad():
        latent = torch.empty(1, *model.latents.shape(model.latents.clip_units), device=meta.device)
        for _ in model.decode_frames(latent, model.video_shape[1]):
            pass
        decoding, counter.flop = counter.flop, 0
        model.compute_once()
    guided = 1 if model.guidance_scale == 1 else 2
    return SamplingCost(calls, guided * call, decoding, counter.flop)


def forward_flop(meta: MetaModel) -> int:
    """Floating-point operations of one forward pass of the denoiser or trained autoencoder, two per multiply-add.

    Counted the first time that it is asked for.
    """
    if meta.forward_flop is None:
        model, counter = meta.model, Counter()
        model.eval()
        with counter, remembered(counter), torch.no_grad():
            model.forward_once(meta.device)
        meta.forward_flop = counter.flop
    return meta.forward_flop
