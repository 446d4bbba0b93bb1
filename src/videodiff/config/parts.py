"""Parts of a config in files of their own: ``net: net.yaml`` stands for what that file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videodiff.config.check import SUFFIXES, Checker
from videodiff.config.loader import load_yaml
from videodiff.config.lookup import IMPORTED, Imported
from videodiff.config.signatures import accepts, class_hint
from videodiff.usage import UsageError


def with_part_files(
    config: Mapping[str, Any],
    before: Mapping[str, Any],
    folder: Path,
    trusted: Sequence[str] = (),
    lookup: Imported = IMPORTED,
) -> dict[str, Any]:
    """A config with the files of its model and its data read in place of their names.

    Args:
        config: as it is written.
        before: the configs before it, merged: they may say which class a part is of.
        folder: that names are relative to; else they are to the working folder.
        trusted: modules from ``--trust``.
        lookup: where classes are looked up.

    Raises:
        UsageError: if there is no such file, or for a mistake in it.
    """
    inner = {
        key: with_part(config[key], before.get(key), hint, folder, (key,), trusted, lookup)
        for key, hint in lookup.root_classes().items()
        if key in config
    }
    return {**config, **inner}


def with_part(
    node: Any,
    before: Any,
    hint: Any,
    folder: Path,
    path: tuple[str, ...],
    trusted: Sequence[str] = (),
    lookup: Imported = IMPORTED,
) -> Any:
    """The same of one part, whose type is ``hint``."""
    if (
        isinstance(node, str)
        and node.endswith(SUFFIXES)
        and class_hint(hint) is not None
        and not accepts(hint, node)
    ):
        file = next((file for file in (folder / node, Path(node)) if file.is_file()), None)
        if file is None:
            raise UsageError(f"{'.'.join(path)}: no file {node}")
        content = load_yaml(file)
        Checker(str(file), trusted, lookup=lookup).part(content, hint, path)
        return with_part(content, before, hint, file.parent, path, trusted, lookup)
    arguments = node.get("init_args") if isinstance(node, Mapping) else None
    if not isinstance(arguments, Mapping):
        return node
    old: Any = before if isinstance(before, Mapping) else {}
    given = old.get("init_args") or {}
    try:
        hints = lookup.parameters(
            lookup.resolve(node.get("class_path", old.get("class_path")), trusted)
        ).hints
    except ValueError:  # the check that follows says so
        return node
    inner = {
        key: with_part(value, given.get(key), hints.get(key), folder, (*path, key), trusted, lookup)
        for key, value in arguments.items()
    }
    return {**node, "init_args": inner}
