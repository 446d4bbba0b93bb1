"""One config over another: the one way in which files, overlays, options and changes of a run come together."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from videodiff.config.lookup import IMPORTED, Imported

OF_THEIR_CLASS = ("grid",)
"""Arguments whose values mean something else to every class: they are not handed on to another one."""


def merge(
    *configs: Mapping[str, Any], trusted: Sequence[str] = (), lookup: Imported = IMPORTED
) -> dict[str, Any]:
    """Later configs over earlier ones, key by key; lists replace, ``key+`` appends.

    A class may be given by its name alone. A new ``class_path`` drops the ``init_args`` of the old class that the new
    one does not know, and those that are :data:`OF_THEIR_CLASS`.

    Args:
        configs: mappings; none of them is changed.
        trusted: modules from ``--trust``, whose classes are looked up too.
        lookup: where classes are looked up.
    """
    result: dict[str, Any] = {}
    for config in configs:
        _merge_into(result, copy.deepcopy(dict(config)), trusted, lookup)
    return result


def _merge_into(base: dict[str, Any], over: dict[str, Any], trusted: Sequence[str], lookup: Imported) -> None:
    new_class = over.get("class_path")
    if isinstance(new_class, str) and _last(base.get("class_path", new_class)) != _last(new_class):
        base["init_args"] = _handed_on(base.get("init_args"), new_class, trusted, lookup)
    for key, value in over.items():
        appends = isinstance(key, str) and key.endswith("+")
        name = key[:-1] if appends else key
        old = base.get(name)
        if isinstance(old, dict) and "class_path" in old and isinstance(value, str):
            value = {"class_path": value}
        if appends and isinstance(old, list):
            base[name] = old + (value if isinstance(value, list) else [value])
        elif isinstance(old, dict) and isinstance(value, dict):
            _merge_into(old, value, trusted, lookup)
        elif name == "init_args" and value is None:  # with nothing written below it
            base.setdefault(name, {})
        else:
            base[name] = [value] if appends and not isinstance(value, list) else value


def _handed_on(arguments: Any, class_path: str, trusted: Sequence[str], lookup: Imported) -> dict[str, Any]:
    """What of a class's arguments another one takes over."""
    if not isinstance(arguments, dict):
        return {}
    try:
        known = lookup.parameters(lookup.resolve(class_path, trusted))
    except ValueError:
        return {}
    return {
        key: value for key, value in arguments.items() if key in known.names and key not in OF_THEIR_CLASS
    }


def _last(class_path: Any) -> str:
    return str(class_path).rpartition(".")[2]


def class_names(node: Any) -> set[str]:
    """Short names of all classes that a part of a config names."""
    if isinstance(node, dict):
        own = node.get("class_path")
        below = set().union(*(class_names(value) for value in node.values()))
        return below | ({_last(own)} if isinstance(own, str) else set())
    return set().union(*(class_names(value) for value in node)) if isinstance(node, list) else set()
