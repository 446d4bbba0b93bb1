"""Decoding of long latents piece by piece, in memory that does not grow with their length."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from .layers3d import Streamed


@torch.no_grad()
def decode_windows(
    decode: Callable[[Tensor], Tensor], latent: Tensor, window: int, overlap: int = 2
) -> Iterator[Tensor]:
    """Decode a long latent window by window and cross-fade between neighbours.

    A window's border knows nothing of what lies beyond, and its norms have statistics of their own. So a third of the
    overlap (rounded down) is dropped at either border, and over the rest one window fades into the next. The last
    window ends with the latent, so that all have one size. A latent no longer than a window is decoded whole.

    Args:
        decode: latent -> video, a whole number of frames per unit.
        latent: ``[B, C, U, H', W']``.
        window: units decoded at once.
        overlap: units that neighbouring windows share.

    Yields:
        Videos ``[B, 3, t, H, W]`` which, joined on axis 2, are the whole; each is finished when it is given out.

    Raises:
        ValueError: unless 1 <= overlap < window.
    """
    if not 1 <= overlap < window:
        raise ValueError(f"decoding windows must overlap: 1 <= overlap < window, got {overlap} and {window}")
    units, margin = latent.shape[2], overlap // 3
    last = max(units - window, 0)
    starts = [*range(0, last, window - overlap), last]
    tail = None  # what is known of the frames from this window's first trusted one on
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        part = latent[:, :, start : start + window]
        video = decode(part)
        rate = video.shape[2] // part.shape[2]
        if tail is not None:
            video = video[:, :, margin * rate :]
            shared = tail.shape[2]
            weight = (torch.arange(shared, device=video.device) + 0.5) / shared
            video[:, :, :shared] = torch.lerp(tail, video[:, :, :shared], weight.to(video)[:, None, None])
        if following is None:
            yield video
            return
        begin = start + (margin if tail is not None else 0)
        done = (following + margin - begin) * rate
        yield video[:, :, :done]
        tail = video[:, :, done : video.shape[2] - margin * rate].clone()


@torch.no_grad()
def in_pieces(network: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Iterator[Tensor]:
    """What a network of causal layers makes of a sequence piece by piece: what it makes of the whole.

    Between two pieces the last frames that each layer saw are kept.

    Args:
        network: whose :class:`~videodiff.networks.layers3d.Streamed` layers see the pieces.
        run: what is made of a piece, by way of the network.
        x: ``[B, C, U, H, W]``.
        size: units of a piece.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, Streamed)]
    pasts: list[Tensor | None] = [None] * len(layers)
    for piece in x.split(size, dim=2):
        # Between pieces the layers are as they were: another sequence may go through them.
        for layer, past in zip(layers, pasts, strict=True):
            layer.past, layer.is_streamed = past, True
        try:
            made = run(piece)
            pasts = [layer.past for layer in layers]
        finally:
            for layer in layers:
                layer.past, layer.is_streamed = None, False
        yield made
