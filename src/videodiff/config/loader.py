"""Configs: finding them, reading them safely, merging them. What they may say is checked in ``config.check``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from videodiff import placeholder
from videodiff.config.check import check_config, check_options
from videodiff.config.network_sizes import left_alone, where_taken
from videodiff.migrations import migrated_config
from videodiff.plain import MAX_CHARACTERS, parse_yaml
from videodiff.usage import UsageError, did_you_mean

__all__ = [
    "check_config",
    "check_options",
    "find_config",
    "load_yaml",
    "merge",
    "plain_files",
    "read_configs",
    "shipped_configs",
]

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
    listed = f" Shipped: {', '.join(n for n in shipped if '/' not in n)}" if shipped else ""
    raise UsageError(f"no config {text[:200]!r}{hint or ';'}{listed}".rstrip(";"))


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a config: plain data only, no key twice, bounded in size, depth and expansion of aliases.

    Raises:
        FileNotFoundError: without the file.
        UsageError: with file and line, for anything that is not such a mapping.
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
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text file (UTF-8 expected at byte {error.start})") from error
    try:
        value = parse_yaml(text, str(path))
    except ValueError as error:
        raise UsageError(str(error)) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{path}: a config is a mapping of keys to values, got {type(value).__name__}")
    return migrated_config(value, text, path)


def read_configs(
    names: Sequence[str | Path], verb: str, options: Sequence[str] = (), trusted: Sequence[str] = ()
) -> dict[str, Any]:
    """Merge configs and command-line options, checking each as it comes in, so that an error names its file.

    Args:
        names: files or shipped names; later ones override.
        verb: ``fit``, ``validate``, ``test`` or ``predict``.
        options: words of the command line after the verb.
        trusted: modules from ``--trust``.

    Raises:
        UsageError: for the first mistake.
    """
    from videodiff.cli.launch import say

    merged: dict[str, Any] = {}
    for name in names:
        file = find_config(name)
        if (told := left_alone(shown(file), load_yaml(file).get("for") or {}, merged, trusted)) is not None:
            say(told)
        merged = merge(merged, plain_config(file, merged, trusted), trusted=trusted)
        check_config(merged, str(file), verb, trusted)
    return check_options(options, verb, merged, trusted, where=str(names[-1]) if names else "command line")


def shown(file: Path) -> str:
    """A config's file as it was named: ``with/smoke`` for one that comes with the package."""
    return next((name for name, shipped in shipped_configs().items() if shipped == file), str(file))


def words_of(key: Any) -> list[str]:
    """Short names of the classes that a part of an overlay is for: ``VDM + UNet3D``."""
    return [word.strip() for word in str(key).split("+")]


def plain_config(file: Path, before: Mapping[str, Any], trusted: Sequence[str] = ()) -> dict[str, Any]:
    """A config as it holds over those before it: ``for: {CLASS: {...}}`` gives way to the part of a class in use.

    One overlay can so speak to several models. CLASS is the short name of any class that the model section before it
    names, or several that are in use together, ``VDM + UNet3D``: what a network alone can take stands under its own
    class. Parts are merged in their order. Sizes and conditions of a network (``num_frames``, ``resolution``,
    ``num_classes``, ...) are left out where its class takes no such argument.

    Raises:
        UsageError: if it is empty, or there is a ``for`` and none of its classes is in use.
    """
    config = load_yaml(file)
    if not config:
        own = (file.parent / "checkpoints").is_dir()
        cure = "remove it, the run's checkpoints hold a copy" if own else "write it, or leave it out"
        raise UsageError(f"{file} holds no config, it is empty or all comments; {cure}")
    parts = config.pop("for", None)
    if parts is None:
        return config
    if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
        raise UsageError(f"{file}: 'for' must map names of classes to configs")
    used = class_names(before.get("model"))
    chosen = [part for name, part in parts.items() if used.issuperset(words_of(name))]
    if not chosen:
        known = dict.fromkeys(word for name in parts for word in words_of(name))
        raise UsageError(
            f"{file} is made for {', '.join(known)}; the model before it uses {', '.join(sorted(used)) or 'no class'}"
        )
    return merge(config, *(where_taken(part, before.get("model"), trusted) for part in chosen))


def class_names(node: Any) -> set[str]:
    """Short names of all classes that a part of a config names."""
    if isinstance(node, dict):
        own = node.get("class_path")
        below = set().union(*(class_names(value) for value in node.values()))
        return below | ({own.rpartition(".")[2]} if isinstance(own, str) else set())
    return set().union(*(class_names(value) for value in node)) if isinstance(node, list) else set()


def plain_files(files: Sequence[Path], folder: Path, trusted: Sequence[str] = ()) -> list[Path]:
    """The same configs for a reader that knows no ``for``; those that have one are written to ``folder`` without."""
    before: dict[str, Any] = {}
    plain = []
    for number, file in enumerate(files):
        config = plain_config(file, before, trusted)
        if "for" in load_yaml(file):
            file = folder / f"{number}_{file.name}"
            file.write_text(yaml.safe_dump(config), encoding="utf-8")
        before = merge(before, config, trusted=trusted)
        plain.append(file)
    return plain


def merge(*configs: dict[str, Any], trusted: Sequence[str] = ()) -> dict[str, Any]:
    """Later configs over earlier ones, key by key; lists replace, ``key+`` appends.

    A new ``class_path`` drops the ``init_args`` of the old class that the new one does not know.

    Args:
        configs: mappings; none of them is changed.
        trusted: modules from ``--trust``, whose classes are looked up too.
    """
    result: dict[str, Any] = {}
    for config in configs:
        _merge_into(result, copy.deepcopy(config), trusted)
    return result


def _merge_into(base: dict[str, Any], over: dict[str, Any], trusted: Sequence[str]) -> None:
    new_class = over.get("class_path")
    if (
        new_class is not None
        and base.get("class_path", new_class) != new_class
        and isinstance(new_class, str)
    ):
        old = base.get("init_args")
        base["init_args"] = (
            {k: v for k, v in old.items() if _known(new_class, k, trusted)} if isinstance(old, dict) else {}
        )
    for key, value in over.items():
        appends = isinstance(key, str) and key.endswith("+")
        name = key[:-1] if appends else key
        old = base.get(name)
        if appends and isinstance(old, list):
            base[name] = old + (value if isinstance(value, list) else [value])
        elif isinstance(old, dict) and isinstance(value, dict):
            _merge_into(old, value, trusted)
        else:
            base[name] = [value] if appends and not isinstance(value, list) else value


def _known(class_path: str, argument: str, trusted: Sequence[str]) -> bool:
    from videodiff.config.signatures import parameters
    from videodiff.config.trust import resolve

    try:
        return argument in parameters(resolve(class_path, trusted)).names
    except ValueError:
        return False
