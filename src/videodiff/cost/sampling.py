"""FLOP of drawing one clip: the denoiser as often as the sampler calls it, and decoding."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .counter import Ledger
from .functions import remembered
from .meta_model import Shadow


@dataclass(frozen=True)
class Drawing:
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


def drawing_of(shadow: Shadow, calls: int) -> Drawing:
    """Count one call of the denoiser for one clip, and decoding one."""
    model, ledger = shadow.model, Ledger()
    model.eval()
    with ledger, remembered(ledger), torch.no_grad():
        latent = torch.empty(1, *model.latents.shape(model.latents.clip_units), device=shadow.device)
        model.forward_once(shadow.device)
        call = ledger.flop
        for _ in model.decode_frames(latent, model.video_shape[1]):
            pass
    guided = 1 if model.guidance_scale == 1 else 2
    return Drawing(calls, guided * call, ledger.flop - call)


def forward_flop(shadow: Shadow) -> int:
    """Floating-point operations of one forward pass of the denoiser or trained autoencoder, two per multiply-add."""
    model, ledger = shadow.model, Ledger()
    model.eval()
    with ledger, remembered(ledger), torch.no_grad():
        model.forward_once(shadow.device)
    return ledger.flop
