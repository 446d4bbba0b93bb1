"""The models: one file per family, each a ``DiffusionModule`` that says what is particular to its paper."""

from videodiff.models.base import DiffusionModule
from videodiff.models.given import Given
from videodiff.models.vdm import VDM

__all__ = ["VDM", "DiffusionModule", "Given"]
