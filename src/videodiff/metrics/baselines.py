"""Clips that a score must call bad: noise, frozen frames and graded damage, on uint8 clips ``[B, T, H, W, 3]``.

A report sets a model's figure beside those of :func:`noise_clips` and :func:`frozen_clips`: a model that does not
beat both has learnt nothing that the metric sees.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from videodiff.seeding import generator


def noise_clips(
    num_clips: int, frames: int, height: int, width: int, seed: int = 0, first_index: int = 0
) -> Tensor:
    """Gaussian noise, uint8 ``[num_clips, frames, height, width, 3]``: mean 127.5 and standard deviation 63.75.

    Clip ``i`` of a set depends on `seed`, ``i`` and the shape alone; `first_index` is the number of the first one here.
    """
    clips = torch.empty((num_clips, frames, height, width, 3), dtype=torch.uint8)
    for index, clip in enumerate(clips):
        noise = torch.randn(clip.shape, generator=generator(seed, "noise clip", first_index + index))
        clip.copy_(_to_uint8(127.5 + 63.75 * noise))
    return clips


def frozen_clips(clips: Tensor, frame: int = 0) -> Tensor:
    """One frame of each clip, repeated."""
    return clips[:, frame : frame + 1].repeat(1, clips.shape[1], 1, 1, 1)


def add_noise(clips: Tensor, amplitude: float, seed: int = 0, first_index: int = 0) -> Tensor:
    """Gaussian noise of standard deviation `amplitude` x 255 added to every value.

    Args:
        clips: uint8 ``[B, T, H, W, 3]``.
        amplitude: as a share of the range of a pixel.
        seed: of the noise.
        first_index: number of the first clip in its set, so that the noise does not depend on the batches.
    """
    noisy = torch.empty_like(clips)
    for index, (clip, target) in enumerate(zip(clips, noisy, strict=True)):
        noise = torch.randn(clip.shape, generator=generator(seed, "added noise", first_index + index))
        target.copy_(_to_uint8(clip.float() + 255 * amplitude * noise.to(clip.device)))
    return noisy


def blur(clips: Tensor) -> Tensor:
    """The mean of the 3 x 3 pixels around each pixel (fewer at the rim)."""
    frames = clips.flatten(0, 1).permute(0, 3, 1, 2).float()
    frames = F.avg_pool2d(frames, 3, 1, 1, count_include_pad=False)
    return _to_uint8(frames.permute(0, 2, 3, 1)).reshape(clips.shape)


def shuffle_frames(clips: Tensor, seed: int = 0, first_index: int = 0) -> Tensor:
    """The frames of each clip in a random order of its own; arguments as in :func:`add_noise`."""
    shuffled = []
    for index, clip in enumerate(clips):
        order = torch.randperm(len(clip), generator=generator(seed, "frame order", first_index + index))
        shuffled.append(clip[order.to(clip.device)])
    return torch.stack(shuffled) if shuffled else clips.clone()


def reverse(clips: Tensor) -> Tensor:
    """Each clip played backwards."""
    return clips.flip(1)


def _to_uint8(values: Tensor) -> Tensor:
    return (values + 0.5).clamp(0, 255).to(torch.uint8)
