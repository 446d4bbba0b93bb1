"""Shared by every command with a trainer: trainer, model and data, and one folder for all ranks."""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videodiff.config.loader import plain_files
from videodiff.config.network_sizes import size_options

# A launcher starts the other ranks with the same words; these two tell them what rank 0 decided.
RUN_VARIABLE, RESUME_VARIABLE = "VIDEODIFF_RUN_DIRECTORY", "VIDEODIFF_RESUME_FROM"


def build(
    verb: str,
    directory: Path,
    files: Sequence[Path],
    rest: list[str],
    trusted: Sequence[str],
    written: dict[str, Any],
) -> Any:
    """The trainer, model and data of checked configs; single options come last, so that they win."""
    from videodiff.cli.lightning import RunCLI
    from videodiff.config import trust
    from videodiff.config.trainer_options import check_machine, check_trainer

    check_trainer(written)
    check_machine(written)
    with tempfile.TemporaryDirectory() as folder, trust.guarded_jsonargparse(trusted):
        plain = plain_files(files, Path(folder), trusted)
        configs = [f"--config={file}" for file in plain]
        sizes = [f"--model.{name}={size}" for name, size in size_options(written, trusted).items()]
        cli = RunCLI(verb, directory, configs + rest + sizes, written)
    cli.datamodule.record_folder = str(directory)
    return cli


def rank() -> int:
    """This process's rank among all, before any process group exists."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", os.environ.get("SLURM_PROCID", "0"))))


def say(text: str) -> None:
    """One line on stderr, from rank 0."""
    if rank() == 0:
        print(f"videodiff: {text}", file=sys.stderr, flush=True)
