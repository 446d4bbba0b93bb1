"""The models: one ``DiffusionModule``, and one file per family that says what is particular to its paper.

First stages are trained by ``AutoencoderModule``.
"""

from videodiff.models.autoencoder import AutoencoderModule
from videodiff.models.diffusion import DiffusionModule
from videodiff.models.dit import DiT
from videodiff.models.forcing import DiffusionForcing
from videodiff.models.lvdm import LVDM
from videodiff.models.pvdm import PVDM
from videodiff.models.rate import LearningRate
from videodiff.models.vdm import VDM

__all__ = [
    "LVDM",
    "PVDM",
    "VDM",
    "AutoencoderModule",
    "DiT",
    "DiffusionForcing",
    "DiffusionModule",
    "LearningRate",
]
