"""Shared by every command with a trainer: trainer, model and data, and one folder for all ranks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from videodiff.usage import UsageError, did_you_mean

# A launcher starts the other ranks with the same words; these two tell them what rank 0 decided.
RUN_VARIABLE, RESUME_VARIABLE = "VIDEODIFF_RUN_DIRECTORY", "VIDEODIFF_RESUME_FROM"


def build(verb: str, directory: Path, config: dict[str, Any], trusted: Sequence[str]) -> Any:
    """The trainer, model and data of a merged, checked config."""
    from videodiff.cli.lightning import RunCLI
    from videodiff.config.trainer_options import check_machine, check_trainer
    from videodiff.config.trust import guarded_jsonargparse

    check_trainer(config)
    check_machine(config)
    with guarded_jsonargparse(trusted):
        cli = RunCLI(verb, directory, config)
    cli.datamodule.record_folder = str(directory)
    return cli


PRINTED = {"skip_default": "skip_default", "skip_null": "skip_none", "comments": "with_comments"}
"""What ``--print_config=`` may be followed by -> what the parser calls it."""


def print_config(verb: str, config: dict[str, Any], how: str, trusted: Sequence[str]) -> NoReturn:
    """Print a merged, checked config with every default in it, and end the command.

    Args:
        verb: whose config it is.
        config: to print.
        how: some of ``PRINTED``, with commas between.
        trusted: modules from ``--trust``.

    Raises:
        UsageError: for another word.
        SystemExit: with code 0.
    """
    words = [word for word in how.split(",") if word]
    for word in words:
        if word not in PRINTED:
            raise UsageError(
                f"--print_config={word}: {', '.join(PRINTED)} are known{did_you_mean(word, PRINTED)}"
            )
    from videodiff.cli.lightning import RunCLI
    from videodiff.config.trust import guarded_jsonargparse

    with guarded_jsonargparse(trusted):
        RunCLI(verb, None, config, {PRINTED[word]: True for word in words})
    raise AssertionError  # it has ended the command
