"""Still images that a clip is trained with."""

from __future__ import annotations

from dataclasses import replace

from videodiff.conditioning.base import Conditioner, Example


class Images(Conditioner):
    """Single images of other videos behind each clip, learnt jointly (Ho et al. 2022, section 3).

    The target is ``[B, C, U + I, *S]``: U units of a clip, then I images, which see neither each other nor the clip. A
    unit of the latents must be able to be one frame: pixels, latents of images, or those of a causal autoencoder.
    """

    takes_images = True

    def learn(self, example: Example) -> Example:
        target, count = example.latent, int(example.batch.get("num_images", 0))
        images = (False,) * (target.shape[2] - count) + (True,) * count if count else ()
        return replace(example, target=target, cond=replace(example.cond, images=images))
