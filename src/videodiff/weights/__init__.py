"""Pretrained weights of third-party networks: found, downloaded and read, here and nowhere else.

Ground for everyone, like ``seeding``: it knows no network, only files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videodiff.late import imported_late

if TYPE_CHECKING:
    from .download import file_sha256
    from .place import WeightFile, cache_folder, find_weights
    from .tensors import load_tensors
    from .training_file import load_training_file
    from .wrappers import without_wrappers

__all__ = [
    "WeightFile",
    "cache_folder",
    "file_sha256",
    "find_weights",
    "load_tensors",
    "load_training_file",
    "without_wrappers",
]

# The command line asks for places before it loads torch.
__getattr__ = imported_late(
    __name__,
    {
        "download": ("file_sha256",),
        "place": (
            "WeightFile",
            "cache_folder",
            "find_weights",
        ),
        "tensors": ("load_tensors",),
        "training_file": ("load_training_file",),
        "wrappers": ("without_wrappers",),
    },
)
