"""How a video longer than a clip is drawn: which windows, in which order."""

from videodiff.sampling.plans import Autoregressive, ClipByClip, Hierarchical, LongVideo

__all__ = ["Autoregressive", "ClipByClip", "Hierarchical", "LongVideo"]
