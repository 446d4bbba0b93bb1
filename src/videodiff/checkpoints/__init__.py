"""Checkpoint files and run folders: writing, verifying, finding and opening them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videodiff.late import imported_late

if TYPE_CHECKING:
    from videodiff.checkpoints.bare_weights import is_bare, load_beginning
    from videodiff.checkpoints.config import portable_config, trusted_config
    from videodiff.checkpoints.exported import sha256_of
    from videodiff.checkpoints.files import (
        AtomicCheckpointIO,
        CheckpointError,
        save_checkpoint,
        verify_checkpoint,
    )
    from videodiff.checkpoints.first_stage import FirstStage
    from videodiff.checkpoints.folders import (
        new_run_directory,
        newest_checkpoint,
        resolve_checkpoint,
        set_aside,
    )
    from videodiff.checkpoints.image_first_stage import ImageFirstStage
    from videodiff.checkpoints.load import load_checkpoint, load_config, load_run
    from videodiff.checkpoints.lock import RunLock
    from videodiff.checkpoints.partial import fit_weights
    from videodiff.checkpoints.run import check_resumable, load_weights

__all__ = [
    "AtomicCheckpointIO",
    "CheckpointError",
    "FirstStage",
    "ImageFirstStage",
    "RunLock",
    "check_resumable",
    "fit_weights",
    "is_bare",
    "load_beginning",
    "load_checkpoint",
    "load_config",
    "load_run",
    "load_weights",
    "new_run_directory",
    "newest_checkpoint",
    "portable_config",
    "resolve_checkpoint",
    "save_checkpoint",
    "set_aside",
    "sha256_of",
    "trusted_config",
    "verify_checkpoint",
]

# The names of shipped models are asked for before torch is loaded: by the shell's completion, and for a typing mistake.
__getattr__ = imported_late(
    __name__,
    {
        "bare_weights": ("is_bare", "load_beginning"),
        "config": ("portable_config", "trusted_config"),
        "exported": ("sha256_of",),
        "files": ("AtomicCheckpointIO", "CheckpointError", "save_checkpoint", "verify_checkpoint"),
        "first_stage": ("FirstStage",),
        "folders": ("new_run_directory", "newest_checkpoint", "resolve_checkpoint", "set_aside"),
        "image_first_stage": ("ImageFirstStage",),
        "load": ("load_checkpoint", "load_config", "load_run"),
        "lock": ("RunLock",),
        "partial": ("fit_weights",),
        "run": ("check_resumable", "load_weights"),
    },
)
