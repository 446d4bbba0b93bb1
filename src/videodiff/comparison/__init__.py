"""Several runs side by side: the same real clips, seeds, samplers and protocol for each."""

from .record import Clips, Comparison, Draw, ModelClips, ModelRecord, Training

__all__ = ["Clips", "Comparison", "Draw", "ModelClips", "ModelRecord", "Training"]
