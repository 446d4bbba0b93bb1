"""What a sample may be told, one class for each thing, used in training and in sampling."""

from videodiff.conditioning.base import Conditioner, Example, Keys, View
from videodiff.conditioning.frame_mask import FrameMask
from videodiff.conditioning.images import Images
from videodiff.conditioning.label import Label
from videodiff.conditioning.previous_clip import PreviousClip
from videodiff.conditioning.reconstruction import Reconstruction
from videodiff.conditioning.request import Request
from videodiff.conditioning.shared_frames import SharedFrames
from videodiff.conditioning.strides import Strides

__all__ = [
    "Conditioner",
    "Example",
    "FrameMask",
    "Images",
    "Keys",
    "Label",
    "PreviousClip",
    "Reconstruction",
    "Request",
    "SharedFrames",
    "Strides",
    "View",
]
