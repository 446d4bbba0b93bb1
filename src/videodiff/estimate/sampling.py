"""FLOP of drawing one clip: the denoiser as often as the sampler calls it, and decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from videodiff.diffusion import Condition
from videodiff.diffusion.denoiser import call_network

from .functions import remembered
from .ledger import Ledger
from .shadow import Shadow


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


def network_calls(model: Any) -> int:
    """How often the model's sampler calls its denoiser for one clip; a Langevin step at t > 0 is one more."""
    sampler, calls = model.sampler, 0
    if hasattr(sampler, "predictor"):
        later = sampler.predictor.times(model.schedule)[1:]
        calls, sampler = int((later > 0).sum()), sampler.predictor
    return calls + len(sampler.times(model.schedule)) - 1


def drawing_of(shadow: Shadow, calls: int) -> Drawing:
    """Count one call of the denoiser for one clip, and decoding one."""
    model, ledger = shadow.model, Ledger()
    model.eval()
    frames = model.video_shape[1]
    with ledger, remembered(ledger), torch.no_grad():
        latent = torch.empty(1, *model.latents.shape(model.latents.clip_units), device=shadow.device)
        planes = model.latents.network_shape(model.latents.clip_units)
        z, cond = torch.empty(1, *planes, device=shadow.device), condition(model, planes, shadow.device)
        call_network(model.net, z, torch.ones(1, device=shadow.device), cond)
        call = ledger.flop
        for _ in model.decode_frames(latent, frames):
            pass
    guided = 1 if model.guidance_scale == 1 else 2
    return Drawing(calls, guided * call, ledger.flop - call)


def forward_flop(shadow: Shadow, video: tuple[int, ...], latent: tuple[int, ...]) -> int:
    """Floating-point operations of one forward pass of the denoiser or trained autoencoder, two per multiply-add.

    Args:
        shadow: the model.
        video: shape ``(3, T, H, W)`` of a clip.
        latent: shape ``(C, *S)`` of what the denoiser sees.
    """
    model, ledger = shadow.model, Ledger()
    model.eval()
    with ledger, remembered(ledger), torch.no_grad():
        if getattr(model, "net", None) is None:
            model.autoencoder(torch.zeros(1, *video, device=shadow.device))
        else:
            z, time = (torch.zeros(1, *axes, device=shadow.device) for axes in (latent, ()))
            model.net(z, time, condition(model, latent, shadow.device))
    return ledger.flop


def condition(model: Any, latent: tuple[int, ...], device: str) -> Condition:
    """Class, vector and joined channels as the network was built for them, of one sample."""
    net = model.net

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(1, *shape, dtype=dtype, device=device)

    return Condition(
        label=empty(dtype=torch.long) if getattr(net, "num_classes", None) is not None else None,
        vector=empty(net.vector_dim) if getattr(net, "vector_dim", None) else None,
        concat=empty(net.concat_channels, *latent[1:]) if getattr(net, "concat_channels", 0) else None,
    )
