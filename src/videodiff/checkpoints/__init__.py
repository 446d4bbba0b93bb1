"""Checkpoint files and run folders: writing, verifying, finding and opening them."""

from videodiff.checkpoints.files import (
    AtomicCheckpointIO,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)
from videodiff.checkpoints.run import (
    RunLock,
    load_config,
    load_run,
    new_run_directory,
    newest_checkpoint,
    resolve_checkpoint,
)

__all__ = [
    "AtomicCheckpointIO",
    "CheckpointError",
    "RunLock",
    "load_checkpoint",
    "load_config",
    "load_run",
    "new_run_directory",
    "newest_checkpoint",
    "resolve_checkpoint",
    "save_checkpoint",
    "verify_checkpoint",
]
