"""Where things lie in the folder of a run, ``runs/<name>/<n>``."""

from __future__ import annotations

from pathlib import Path

CONFIG, CHECKPOINTS, LAST, BEST = "config.yaml", "checkpoints", "last.ckpt", "best.ckpt"
WEIGHTS = "model.safetensors"  # of a run that was exported
PIPELINE = "pipeline.yaml"  # names the runs of a folder that has no weights of its own


def run_folder(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint is of; of an export or a pipeline, the one that its file lies in."""
    folder = checkpoint.parent
    return folder.parent if folder.name == CHECKPOINTS else folder
