"""What earlier versions called configs and their keys: one table for each leads to the names of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEYS = {
    "model.shared_frames": "overlap_frames",
    "model.plan.shared_frames": "overlap_frames",
    "model.net.concat_shared": "concat_overlap",
    "model.clip_loss": "clamp_loss",
}
"""Old key, dotted and without ``init_args`` (``data.fps``) -> what the last word of it is now."""

CONFIGS = {"with/still": "with/low_motion"}
"""Old name of a shipped config -> the new one."""


STEPS = ("init_args", "dict_kwargs")  # written or left out: they name no part


def renamed(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A config with the names of today, those below its ``for`` too.

    Returns:
        The config, and ``OLD is now called NEW`` of every key that had another name.

    Raises:
        KeyError: if a key is given under both names.
    """
    changes: dict[str, None] = {}
    found = dict(config)
    for old, new in KEYS.items():
        found = _renamed(found, old.split("."), new, f"{old} is now called {new}", changes)
    parts = found.get("for")
    if isinstance(parts, Mapping):
        found["for"] = {
            name: renamed_part(part, changes) if isinstance(part, Mapping) else part
            for name, part in parts.items()
        }
    return found, list(changes)


def renamed_part(part: Mapping[str, Any], changes: dict[str, None]) -> dict[str, Any]:
    """What stands below a class of ``for``; what is changed joins ``changes``."""
    found, more = renamed(part)
    changes.update(dict.fromkeys(more))
    return found


def renamed_option(option: str) -> str:
    """A dotted option (``--data.fps``) as it is written today."""
    words = option[2:].rstrip("+").split(".")
    places = [at for at, word in enumerate(words) if word not in STEPS]
    for old, new in KEYS.items():
        parts = old.split(".")
        if [words[at] for at in places[: len(parts)]] == parts:
            words[places[len(parts) - 1]] = new
    return f"--{'.'.join(words)}{'+' if option.endswith('+') else ''}"


# New key -> old one, and the classes that called it so; None is every class. VDM and LVDM always had overlap_frames.
FIRST_NAMES: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "overlap_frames": ("shared_frames", ("PVDM", "ClipByClip")),
    "concat_overlap": ("concat_shared", None),
    "clamp_loss": ("clip_loss", None),
}


def first_named(node: Any, of: str = "") -> Any:
    """A part of a config with the first name of every key: what hashes are taken of, so that they stay what they were.

    Args:
        node: a part with ``class_path`` and ``init_args``, or anything in one.
        of: name of the class whose arguments `node` holds.
    """
    if isinstance(node, list):
        return [first_named(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    own = str(node.get("class_path") or of).rpartition(".")[2]
    found = {}
    for key, value in node.items():
        old, classes = FIRST_NAMES.get(key, (key, None))
        name = old if classes is None or of in classes else key
        found[name] = first_named(value, own if key == "init_args" else "")
    return found


def _renamed(node: Any, path: list[str], new: str, change: str, changes: dict[str, None]) -> Any:
    """A part of a config, the key at the end of the path under its new name, in its old place."""
    if not isinstance(node, Mapping):
        return node
    found = {
        key: _renamed(value, path, new, change, changes)
        if key in STEPS
        else _renamed(value, path[1:], new, change, changes)
        if key == path[0] and path[1:]
        else value
        for key, value in node.items()
    }
    names = {path[0]: new, f"{path[0]}+": f"{new}+"}
    if path[1:] or not names.keys() & found.keys():
        return found
    if {*names.values()} & found.keys():
        raise KeyError(f"{change}, and both are given; leave {path[0]} out")
    changes[change] = None
    return {names.get(key, key): value for key, value in found.items()}
