"""Configs as files: finding one by its name or path, and reading its text safely."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videodiff import placeholder
from videodiff.config.renamed import CONFIGS, renamed
from videodiff.migrations import CONFIG_LINE, migrated_config
from videodiff.plain import MAX_CHARACTERS, parse_yaml
from videodiff.say import say
from videodiff.usage import UsageError, did_you_mean

SHIPPED = Path(__file__).resolve().parent.parent / "configs"


def shipped_configs() -> dict[str, Path]:
    """The configs that come with the package: name (``vdm_digits``, ``with/small``) -> file."""
    files = sorted(SHIPPED.rglob("*.yaml"), key=lambda file: (len(file.parts), file))
    return {file.relative_to(SHIPPED).with_suffix("").as_posix(): file for file in files}


def find_config(name_or_path: str | Path) -> Path:
    """The file of a config given as a path or by the name of a shipped one.

    Raises:
        UsageError: if neither exists, with the nearest name.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.is_dir():
        raise UsageError(f"config {name_or_path} is a directory; give a YAML file or a shipped name")
    shipped = shipped_configs()
    text = str(name_or_path)
    name = text.removesuffix(".yaml").removeprefix("configs/")
    if name not in shipped and CONFIGS.get(name) in shipped:
        say(f"warning: the config {name} is now called {CONFIGS[name]}")
        return shipped[CONFIGS[name]]
    if name in shipped and text in (name, f"{name}.yaml", f"configs/{name}.yaml"):
        return shipped[name]
    if path.exists():
        raise UsageError(f"config {text} is not a regular file")
    beside = (
        [file.with_suffix("").name for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    )
    hint = did_you_mean(name, shipped) or did_you_mean(
        path.with_suffix("").name, beside, str(path.parent / "{}.yaml")
    )
    raise UsageError(f"no config {text[:200]!r}{hint}; videodiff models lists those that are shipped")


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read the file of a config, as :func:`parse_config` reads its text.

    Raises:
        FileNotFoundError: without the file.
        UsageError: with file and line, for anything that is no config.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no config file {path}")
    if not path.is_file():
        raise UsageError(f"{path}: not a regular file")
    if path.stat().st_size > 4 * MAX_CHARACTERS:  # before it is read
        raise UsageError(f"{path}: larger than {4 * MAX_CHARACTERS} bytes; a config is a few kilobytes")
    if (found := placeholder.explain(path, but=("empty",))) is not None:
        raise UsageError(f"{path} {found}")
    try:
        return parse_config(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text file (UTF-8 expected at byte {error.start})") from error
    except ValueError as error:
        raise UsageError(str(error)) from error


def parse_config(text: str, where: str) -> dict[str, Any]:
    """A config out of its text: plain data only, no key twice, bounded in size, depth and expansion of aliases.

    An older format and earlier names are read as those of today. One line tells a user which names of theirs are
    earlier ones; of what videodiff has written itself they are read in silence.

    Args:
        text: YAML; one without a value is an empty config.
        where: what to call it.

    Raises:
        ValueError: with the line, for anything that is no mapping of plain data, or was written by a newer videodiff.
    """
    if (found := placeholder.begins(text.encode(errors="replace"), but=("empty",))) is not None:
        raise ValueError(f"{where} {found}")
    value = parse_yaml(text, where)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{where}: a config is a mapping of keys to values, got {type(value).__name__}")
    return with_names_of_today(
        migrated_config(value, text, where), where, is_conditioned=not CONFIG_LINE.search(text)
    )


def with_names_of_today(config: Mapping[str, Any], where: str, is_conditioned: bool = True) -> dict[str, Any]:
    """A config, or a part of one, without names of earlier versions.

    Args:
        config: as it was written.
        where: what to call it.
        is_conditioned: say on stderr which names were earlier ones, in one line.

    Raises:
        ValueError: if a key is given under both names.
    """
    try:
        found, changes = renamed(config)
    except KeyError as error:
        raise ValueError(f"{where}: {error.args[0]}") from error
    if changes and is_conditioned:
        say(f"warning: {where}: {', '.join(changes)}")
    return found
