"""Still images that a clip is trained with."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from videodiff.conditioning.base import Conditioner, Example


class Images(Conditioner):
    """Single images of other videos behind each clip, learnt jointly (Ho et al. 2022, section 3).

    The target is ``[B, C, U + I, *S]``: U units of a clip, then I images, which see neither each other nor the clip.
    An image is a unit: a frame of pixels or of a latent of images, the first frame of a causal latent, or a latent
    frame of several over which it stands still. Of a latent of whole clips it is none. What a conditioner before this
    one tells of the clip's units, images are told nothing of: none is given, and where units have times of their own
    each has its own.
    """

    takes_images = True

    def learn(self, example: Example) -> Example:
        target, count = example.x, example.num_images
        if not count:
            return replace(example, target=target)
        units, cond, known, times = target.shape[2], example.cond, example.known, example.times
        images = example.latents.encode_images(example.batch["video"][:, :, -count:])
        target = torch.cat([target, images], dim=2)
        cond = replace(cond, images=(False,) * units + (True,) * count)
        if cond.concat is not None:
            cond = replace(cond, concat=behind(cond.concat, count))
        if known is not None:
            known = replace(known, mask=behind(known.mask, count), eps=behind(known.eps, count))
        if times is not None:
            keys = example.keys
            own = [keys.uniforms(keys.split, "image time", str(number)) for number in range(count)]
            times = torch.cat([times, torch.stack(own, dim=1)], dim=1)
        return replace(example, target=target, cond=cond, known=known, times=times)


def behind(value: Tensor, count: int) -> Tensor:
    """``[B, C, U, ...]`` with ``count`` units more, which are zero."""
    return F.pad(value, (0, 0) * (value.ndim - 3) + (0, count))
