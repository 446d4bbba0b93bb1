"""Places of a video that are kept while the others are generated: inpainting by replacement (Song et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from videodiff.conditioning.base import Conditioner, View
from videodiff.conditioning.source import kept_pixels
from videodiff.diffusion import Denoiser, Replacement

if TYPE_CHECKING:
    from videodiff.conditioning.request import Request
    from videodiff.networks.latents import Latents


class FillIn(Conditioner):
    """At every step kept places of the latent are those of the source, noised to the step's level.

    Nothing is trained: every model takes it. What is generated sees what is kept, which nothing makes it agree with;
    steps taken several times (``Request.resample``) bring both nearer. A place is kept where all pixels that it stands
    for are.
    """

    answers = ("source", "mask")

    def around(self, denoiser: Denoiser, view: View) -> Denoiser:
        places = kept_places(view.request, view.latents, max(view.units) + 1)
        if places is None or not places.any():
            return denoiser
        latents = view.latents
        here = latents.for_network(places[:, :, list(view.units)])
        return Replacement(denoiser, view.schedule, latents.for_network(view.known), here, view.noise)


def kept_places(request: Request, latents: Latents, units: int) -> Tensor | None:
    """Places of a latent of so many units that are kept, ``[B, 1, U, *S]`` bool; None where nothing was said to be."""
    keep = kept_pixels(request)
    return None if keep is None else latents.known_places(latents.filled(keep, units))


def check_places(request: Request, latents: Latents, units: int) -> None:
    """Refuse kept pixels none of which is a whole place of the latent.

    Raises:
        ValueError: in one line, with what a place stands for.
    """
    keep, places = kept_pixels(request), kept_places(request, latents, units)
    if keep is not None and places is not None and keep.any() and not places.any():
        frames = latents.unit_frames
        raise ValueError(
            f"nothing that is kept is a whole place of this model's latent, which holds {frames} frames at a time; "
            f"keep whole groups of them (0 to {frames - 1}, {frames} to {2 * frames - 1}, ...) and larger areas"
        )
