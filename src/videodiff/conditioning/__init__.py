"""The conditions of a sample, one class for each, used in training and in sampling."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videodiff.conditioning.base import Conditioner, Example, Keys, View
    from videodiff.conditioning.frame_mask import FrameMask
    from videodiff.conditioning.images import Images
    from videodiff.conditioning.label import Label
    from videodiff.conditioning.overlap import OverlapGuidance
    from videodiff.conditioning.previous_clip import PreviousClip
    from videodiff.conditioning.reconstruction import Reconstruction
    from videodiff.conditioning.request import Request
    from videodiff.conditioning.strides import Strides

# The command line reads the fields of Request before it loads torch, so what is heavy is imported when it is asked for.
_HOMES = {
    "Conditioner": "base",
    "Example": "base",
    "FrameMask": "frame_mask",
    "Images": "images",
    "Keys": "base",
    "Label": "label",
    "PreviousClip": "previous_clip",
    "Reconstruction": "reconstruction",
    "Request": "request",
    "OverlapGuidance": "overlap",
    "Strides": "strides",
    "View": "base",
}
__all__ = [
    "Conditioner",
    "Example",
    "FrameMask",
    "Images",
    "Keys",
    "Label",
    "OverlapGuidance",
    "PreviousClip",
    "Reconstruction",
    "Request",
    "Strides",
    "View",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # All at once, as an import would: a config finds the room's classes by their short names.
    globals().update({k: getattr(importlib.import_module(f"{__name__}.{v}"), k) for k, v in _HOMES.items()})
    return globals()[name]
