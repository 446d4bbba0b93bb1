"""Trained models as users name them: the checkpoint, the config and the model of a run or of a pipeline of runs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videodiff.checkpoints.config import folder_config, stored_config
from videodiff.checkpoints.exported import is_pipeline
from videodiff.checkpoints.files import MAX_BYTES, load_file
from videodiff.checkpoints.folders import resolve_checkpoint
from videodiff.checkpoints.pipeline import read_pipeline
from videodiff.checkpoints.run import built


def load_checkpoint(
    path: str | os.PathLike, finite: bool = False, max_bytes: int = MAX_BYTES
) -> dict[str, Any]:
    """A checkpoint on the CPU, as :func:`~videodiff.checkpoints.files.load_file` reads it.

    The file of a pipeline is read as a checkpoint with the weights of all its runs.
    """
    return read_pipeline(path) if is_pipeline(Path(path)) else load_file(path, finite, max_bytes)


def load_config(spec: str | os.PathLike) -> dict[str, Any]:
    """The configuration of a run folder or of a checkpoint (the text stored in it; a file needs no folder around it).

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no mapping.
    """
    path = Path(spec)
    return folder_config(path) if path.is_dir() else stored_config(load_checkpoint(path), path)


def load_run(
    spec: str | os.PathLike, overrides: Mapping[str, Any] | None = None, trusted: Sequence[str] = ()
) -> Any:
    """Build the model of a run from its config text and load the averaged weights; in evaluation mode, on the CPU.

    Args:
        spec: whatever ``resolve_checkpoint`` takes.
        overrides: merged into the model's ``init_args`` as one config is into another.
        trusted: further modules that may be named, from the command line.

    Returns:
        The LightningModule of the run.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: for a damaged or hostile checkpoint, or one of another model, in one line.
    """
    path = resolve_checkpoint(spec)
    return built(load_checkpoint(path), path, overrides or {}, trusted)
