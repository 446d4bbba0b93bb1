"""Resize rules by name: how a frame gets the training size, and which paper does it that way.

Every rule cuts out the largest centred part that has the proportions of the training size (of a square, a square), but
for two that keep the whole frame: ``squeeze`` bends it, ``letterbox`` puts black bars beside it. The rules differ in
the filter, which shows in every number measured on the frames; so a rule is named, recorded, and never mixed.
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

from videodiff.data.pixels import FILTER, centre_part, resize_crop, scaled
from videodiff.frame_size import FrameSize, Resolution

# PyAV keeps one scaler a thread, by default with helper threads of its own; a worker forked after its first use would
# wait for helpers that were not forked with it.
ONE_THREAD: dict[str, Any] = {"threads": 1} if "threads" in (av.VideoFrame.reformat.__doc__ or "") else {}
Rule = Callable[[Tensor, FrameSize, float], Tensor]


def bilinear(frames: Tensor, size: FrameSize, pixel_aspect: float = 1.0) -> Tensor:
    """Centre, then bilinear without antialias, rounded (PVDM, DIGAN and TATS on video files)."""
    frames = centre_part(frames, size, pixel_aspect)
    if frames.shape[-3:-1] == size:
        return frames.contiguous()
    flat = frames.reshape(-1, *frames.shape[-3:]).permute(0, 3, 1, 2).float()
    small = F.interpolate(flat, tuple(size), mode="bilinear", align_corners=False)
    small = small.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return small.reshape(*frames.shape[:-3], *size, 3).contiguous()


def lanczos(frames: Tensor, size: FrameSize, pixel_aspect: float = 1.0) -> Tensor:
    """Centre, then Pillow's LANCZOS (StyleGAN-V's converter)."""
    frames = centre_part(frames, size, pixel_aspect)
    if frames.shape[-3:-1] == size:
        return frames.contiguous()
    flat = frames.reshape(-1, *frames.shape[-3:]).contiguous().numpy()
    small = [
        np.asarray(Image.fromarray(f).resize((size.width, size.height), Image.Resampling.LANCZOS))
        for f in flat
    ]
    return torch.from_numpy(np.stack(small)).reshape(*frames.shape[:-3], *size, 3)


def squeeze(frames: Tensor, size: FrameSize, pixel_aspect: float = 1.0) -> Tensor:
    """The whole frame bent to the size by FFmpeg's bicubic scaler (LVDM's reader of video files).

    `pixel_aspect` plays no part: the proportions are lost in any case.
    """
    flat = frames.reshape(-1, *frames.shape[-3:]).contiguous().numpy()
    small = [
        av.VideoFrame.from_ndarray(f, format="rgb24")
        .reformat(width=size.width, height=size.height, interpolation="BICUBIC", **ONE_THREAD)
        .to_ndarray()
        for f in flat
    ]
    return torch.from_numpy(np.stack(small)).reshape(*frames.shape[:-3], *size, 3)


def letterbox(frames: Tensor, size: FrameSize, pixel_aspect: float = 1.0) -> Tensor:
    """The whole frame as large as fits, by the filter of ``antialias``, black bars above and below or on both sides."""
    height, width = frames.shape[-3], frames.shape[-2] * pixel_aspect
    scale = min(size.height / height, size.width / width)

    def fitted(side: float, most: int) -> int:  # no bars of less than a pixel
        return most if most - side * scale < 1 else max(1, round(side * scale))

    inner = FrameSize(fitted(height, size.height), fitted(width, size.width))
    small = scaled(frames, inner)
    if inner == size:
        return small
    boxed = small.new_zeros(*frames.shape[:-3], *size, 3)
    top, left = (size.height - inner.height) // 2, (size.width - inner.width) // 2
    boxed[..., top : top + inner.height, left : left + inner.width, :] = small
    return boxed


# Name -> (function, what is recorded with every result; {} is "a square" or "the clips' proportions")
CROP = "centre crop to {}, "
RULES: dict[str, tuple[Rule, str]] = {
    "antialias": (resize_crop, CROP + FILTER),
    "bilinear": (bilinear, CROP + "torch bilinear without antialias, rounded"),
    "lanczos": (lanczos, CROP + "Pillow LANCZOS"),
    "squeeze": (squeeze, "whole frame squeezed to {}, FFmpeg bicubic"),
    "letterbox": (letterbox, "whole frame scaled to fit, black bars, " + FILTER),
}
# Scaled by the decoder's colour conversion, so only for video files: see videodiff.data.video_read.scaled_rgb.
IN_DECODER = "decoder"
DECODER_RULE = (
    "short side by FFmpeg's area filter inside the colour conversion, then centre crop; frames from images by "
    + CROP
    + FILTER
)
RULE_NAMES = (*RULES, IN_DECODER)
SQUARE = FrameSize(1, 1)


def rule_text(name: str, size: FrameSize = SQUARE) -> str:
    """What a rule does to frames of a size, as it is recorded with results.

    Raises:
        ValueError: if there is no such rule.
    """
    if name not in RULE_NAMES:
        raise ValueError(f"resize must be one of {', '.join(RULE_NAMES)}, got {name!r}")
    text = DECODER_RULE if name == IN_DECODER else RULES[name][1]
    return text.format("a square" if size.is_square else "the clips' proportions")


def rule_texts(name: str) -> tuple[str, str]:
    """What may be recorded of a rule: of square frames, and of others."""
    return rule_text(name), rule_text(name, FrameSize(1, 2))


def resize(
    frames: Tensor, resolution: Resolution, rule: str = "antialias", pixel_aspect: float = 1.0
) -> Tensor:
    """Bring frames to a size by a named rule.

    Args:
        frames: uint8 ``[..., H, W, 3]``.
        resolution: R, S: height and width of the result in pixels, one number for a square.
        rule: a name of :data:`RULES`, or ``decoder``, which is ``antialias`` for frames that are already RGB.
        pixel_aspect: width over height of one source pixel.

    Returns:
        uint8 ``[..., R, S, 3]``, contiguous.
    """
    function = resize_crop if rule == IN_DECODER else RULES[rule][0]
    return function(frames, FrameSize.of(resolution), pixel_aspect)
