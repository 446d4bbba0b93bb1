"""From names on a command line to one merged, checked config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videodiff.config.check import check_config
from videodiff.config.loader import find_config, load_yaml, shipped_configs
from videodiff.config.lookup import IMPORTED, SOURCE, Imported
from videodiff.config.merge import merge
from videodiff.config.network_sizes import with_sizes
from videodiff.config.options import apply_options
from videodiff.config.overlay import plain_config
from videodiff.config.parts import with_part_files
from videodiff.run_layout import CHECKPOINTS
from videodiff.say import hushed
from videodiff.usage import UsageError


@dataclass(frozen=True)
class Stored:
    """A config that lies in no file of its own, such as that of a checkpoint.

    Args:
        config: read and bounded as files are.
        where: what to call it in messages.
    """

    config: dict[str, Any]
    where: str


def read_configs(
    names: Sequence[str | Path | Stored], verb: str, options: Sequence[str] = (), trusted: Sequence[str] = ()
) -> dict[str, Any]:
    """Merge configs and command-line options, checking each as it comes in, so that an error names its file.

    Args:
        names: files, shipped names, or what is stored; later ones override.
        verb: ``fit``, ``validate``, ``test``, ``predict`` or ``encode``.
        options: words of the command line after the verb.
        trusted: modules from ``--trust``.

    Raises:
        UsageError: for the first mistake.
    """
    check_texts(names, verb, options, trusted)
    return with_sizes(_merged(names, verb, options, trusted, IMPORTED), trusted)


def check_texts(
    names: Sequence[str | Path | Stored], verb: str, options: Sequence[str] = (), trusted: Sequence[str] = ()
) -> dict[str, Any]:
    """Refuse what the texts of configs, options and classes show to be wrong; torch and Lightning are not imported.

    What passes is not right yet: :func:`read_configs` checks it against the classes themselves.

    Returns:
        The config, merged.

    Raises:
        UsageError: for the first mistake.
    """
    with hushed():  # what there is to tell is told by the check that follows
        return _merged(names, verb, options, trusted, SOURCE)


def _merged(
    names: Sequence[str | Path | Stored],
    verb: str,
    options: Sequence[str],
    trusted: Sequence[str],
    lookup: Imported,
) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    where = "command line"
    for name in names:
        config, where, folder = opened(name)
        config = {
            key: value for key, value in config.items() if value is not None
        }  # with nothing written below it
        config = plain_config(config, merged, where, trusted, lookup)
        config = with_part_files(config, merged, folder, trusted, lookup)
        merged = merge(merged, config, trusted=trusted, lookup=lookup)
        check_config(merged, where, verb, trusted, lookup=lookup)
    return check_options(options, verb, merged, trusted, where, lookup)


def opened(name: str | Path | Stored) -> tuple[dict[str, Any], str, Path]:
    """A config as it is written, what to call it, and the folder that names in it are relative to.

    Raises:
        UsageError: if there is none, or it holds nothing.
    """
    if isinstance(name, Stored):
        return name.config, name.where, Path()
    file = find_config(name)
    config = load_yaml(file)
    if not config:
        own = (file.parent / CHECKPOINTS).is_dir()
        cure = "remove it, the run's checkpoints hold a copy" if own else "write it, or leave it out"
        raise UsageError(f"{file} holds no config, it is empty or all comments; {cure}")
    where = next((short for short, shipped in shipped_configs().items() if shipped == file), str(file))
    return config, where, file.parent


def check_options(
    argv: Sequence[str],
    verb: str,
    merged_config: Mapping[str, Any],
    trusted: Sequence[str] = (),
    where: str = "config",
    lookup: Imported = IMPORTED,
) -> dict[str, Any]:
    """Check dotted command-line options (``--model.net.width 32``) against a config and its classes.

    Args:
        argv: what follows the verb; our own flags (``--config``, ``--trust``, ``-v``, ...) are passed over.
        verb: as in :func:`read_configs`, or ``generate``.
        merged_config: the config that the options override; not changed.
        trusted: modules from ``--trust``.
        where: what to call the config in messages about keys that no option brought.
        lookup: where classes are looked up.

    Returns:
        The config with the options in it.

    Raises:
        UsageError: for the first mistake, led by the option.
    """
    config, labels = apply_options(argv, verb, merged_config, trusted, lookup)
    check_config(config, where, verb, trusted, labels, lookup)
    return config
