"""Resize rules by name: how a frame becomes a square of the training size, and which paper does it that way.

Every rule takes the largest centred square but for ``squeeze``, which keeps the whole frame and bends it. The rules
differ in the filter, which shows in every number measured on the frames; so a rule is named, recorded, and never mixed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from videodiff.data.pixels import RESIZE_RULE, centre_square, resize_crop

# PyAV keeps one scaler a thread, by default with helper threads of its own; a worker forked after its first use would
# wait for helpers that were not forked with it.
ONE_THREAD: dict[str, Any] = {"threads": 1} if "threads" in (av.VideoFrame.reformat.__doc__ or "") else {}
Rule = Callable[[Tensor, int, float], Tensor]


def bilinear(frames: Tensor, resolution: int, pixel_aspect: float = 1.0) -> Tensor:
    """Centre square, then bilinear without antialias, rounded (PVDM, DIGAN and TATS on video files)."""
    frames = centre_square(frames, pixel_aspect)
    if frames.shape[-3:-1] == (resolution, resolution):
        return frames.contiguous()
    flat = frames.reshape(-1, *frames.shape[-3:]).permute(0, 3, 1, 2).float()
    small = F.interpolate(flat, (resolution, resolution), mode="bilinear", align_corners=False)
    small = small.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return small.reshape(*frames.shape[:-3], resolution, resolution, 3).contiguous()


def lanczos(frames: Tensor, resolution: int, pixel_aspect: float = 1.0) -> Tensor:
    """Centre square, then Pillow's LANCZOS (StyleGAN-V's converter)."""
    frames = centre_square(frames, pixel_aspect)
    if frames.shape[-3:-1] == (resolution, resolution):
        return frames.contiguous()
    flat = frames.reshape(-1, *frames.shape[-3:]).contiguous().numpy()
    small = [
        np.asarray(Image.fromarray(f).resize((resolution, resolution), Image.Resampling.LANCZOS))
        for f in flat
    ]
    return torch.from_numpy(np.stack(small)).reshape(*frames.shape[:-3], resolution, resolution, 3)


def squeeze(frames: Tensor, resolution: int, pixel_aspect: float = 1.0) -> Tensor:
    """The whole frame bent into a square by FFmpeg's bicubic scaler (LVDM's reader of video files).

    `pixel_aspect` plays no part: the proportions are lost in any case.
    """
    flat = frames.reshape(-1, *frames.shape[-3:]).contiguous().numpy()
    small = [
        av.VideoFrame.from_ndarray(f, format="rgb24")
        .reformat(width=resolution, height=resolution, interpolation="BICUBIC", **ONE_THREAD)
        .to_ndarray()
        for f in flat
    ]
    return torch.from_numpy(np.stack(small)).reshape(*frames.shape[:-3], resolution, resolution, 3)


# Name -> (function, what is recorded with every result)
RULES: dict[str, tuple[Rule, str]] = {
    "antialias": (resize_crop, RESIZE_RULE),
    "bilinear": (bilinear, "centre crop to a square, torch bilinear without antialias, rounded"),
    "lanczos": (lanczos, "centre crop to a square, Pillow LANCZOS"),
    "squeeze": (squeeze, "whole frame squeezed to a square, FFmpeg bicubic"),
}
# Scaled by the decoder's colour conversion, so only for video files: see videodiff.data.video_read.scaled_rgb.
IN_DECODER = "decoder"
DECODER_RULE = (
    "short side by FFmpeg's area filter inside the colour conversion, then centre crop; frames from images by "
    + RESIZE_RULE
)
RULE_NAMES = (*RULES, IN_DECODER)


def rule_text(name: str) -> str:
    """What a rule does, as it is recorded with results.

    Raises:
        ValueError: if there is no such rule.
    """
    if name not in RULE_NAMES:
        raise ValueError(f"resize must be one of {', '.join(RULE_NAMES)}, got {name!r}")
    return DECODER_RULE if name == IN_DECODER else RULES[name][1]


def resize(frames: Tensor, resolution: int, rule: str = "antialias", pixel_aspect: float = 1.0) -> Tensor:
    """Make frames square by a named rule.

    Args:
        frames: uint8 ``[..., H, W, 3]``.
        resolution: side of the result in pixels.
        rule: a name of :data:`RULES`, or ``decoder``, which is ``antialias`` for frames that are already RGB.
        pixel_aspect: width over height of one source pixel.

    Returns:
        uint8 ``[..., resolution, resolution, 3]``, contiguous.
    """
    function = resize_crop if rule == IN_DECODER else RULES[rule][0]
    return function(frames, resolution, pixel_aspect)
