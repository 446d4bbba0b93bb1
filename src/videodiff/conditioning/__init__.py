"""The conditions of a sample, one class for each, used in training and in sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videodiff.late import imported_late

if TYPE_CHECKING:
    from videodiff.conditioning.actions import Actions
    from videodiff.conditioning.base import Conditioner, Conditioners, Example, Keys, View
    from videodiff.conditioning.begin import FromSource
    from videodiff.conditioning.fill_in import FillIn
    from videodiff.conditioning.forcing import Forcing
    from videodiff.conditioning.frame_mask import FrameMask
    from videodiff.conditioning.images import Images
    from videodiff.conditioning.label import Label
    from videodiff.conditioning.overlap import OverlapGuidance
    from videodiff.conditioning.previous_clip import PreviousClip
    from videodiff.conditioning.reconstruction import Reconstruction
    from videodiff.conditioning.request import Request
    from videodiff.conditioning.strides import Strides
    from videodiff.conditioning.text import Text

__all__ = [
    "Actions",
    "Conditioner",
    "Conditioners",
    "Example",
    "FillIn",
    "Forcing",
    "FrameMask",
    "FromSource",
    "Images",
    "Keys",
    "Label",
    "OverlapGuidance",
    "PreviousClip",
    "Reconstruction",
    "Request",
    "Strides",
    "Text",
    "View",
]

# The command line reads the fields of Request before it loads torch, so what is heavy is imported when it is asked for.
# Then all at once, as an import would: a config finds the room's classes by their short names.
__getattr__ = imported_late(
    __name__,
    {
        "actions": ("Actions",),
        "base": ("Conditioner", "Conditioners", "Example", "Keys", "View"),
        "begin": ("FromSource",),
        "fill_in": ("FillIn",),
        "forcing": ("Forcing",),
        "frame_mask": ("FrameMask",),
        "images": ("Images",),
        "label": ("Label",),
        "overlap": ("OverlapGuidance",),
        "previous_clip": ("PreviousClip",),
        "reconstruction": ("Reconstruction",),
        "request": ("Request",),
        "strides": ("Strides",),
        "text": ("Text",),
    },
    at_once=True,
)
