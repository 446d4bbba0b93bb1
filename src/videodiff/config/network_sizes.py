"""What a config says of a network by the names that every network has: sizes of its clips, classes, conditions."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any


def class_of_network(model: Any, trusted: Sequence[str] = ()) -> Any:
    """The class of a ``model`` section's ``net``; None where it names none that may be named."""
    from videodiff.config.trust import resolve

    net = (model.get("init_args") or {}).get("net") if isinstance(model, Mapping) else None
    path = net.get("class_path") if isinstance(net, Mapping) else net
    if not isinstance(path, str):
        return None
    try:
        return resolve(path, trusted)
    except ValueError:
        return None


def size_options(config: Mapping[str, Any], trusted: Sequence[str] = ()) -> dict[str, Any]:
    """``num_frames`` and ``resolution`` of the data's clips for a model of pixels whose network states none.

    Args:
        config: merged, with ``model`` and ``data``.
        trusted: modules from ``--trust``.
    """
    from videodiff.config.signatures import parameters
    from videodiff.config.trust import resolve
    from videodiff.frame_size import FrameSize
    from videodiff.networks.network import unstated

    model, data = config.get("model"), config.get("data")
    net = class_of_network(model, trusted)
    if (
        net is None
        or not isinstance(model, Mapping)
        or not isinstance(data, Mapping)
        or "class_path" not in data
    ):
        return {}
    options = model.get("init_args") or {}
    taken = parameters(resolve(model["class_path"], trusted)).names
    given, usual = (
        data.get("init_args") or {},
        inspect.signature(resolve(data["class_path"], trusted)).parameters,
    )
    found: dict[str, Any] = {}
    for name in unstated(net):
        if (
            name in taken
            and name in usual
            and options.get(name) is None
            and options.get("autoencoder") is None
        ):
            size = given.get(name, usual[name].default)
            if size is not None:
                found[name] = FrameSize.of(size).written if name == "resolution" else size
    return found


def where_taken(part: Mapping[str, Any], model: Any, trusted: Sequence[str] = ()) -> dict[str, Any]:
    """A part of an overlay without the sizes and conditions that the network's class takes no arguments for."""
    from videodiff.config.signatures import parameters
    from videodiff.networks.network import FACTS

    kept = copy.deepcopy(dict(part))
    try:
        arguments = kept["model"]["init_args"]["net"]["init_args"]
        names = [name for name in arguments if name in FACTS]
    except (KeyError, TypeError):
        return kept
    net = class_of_network(model, trusted) if names else None
    if net is not None:
        known = parameters(net)
        for name in names:
            if name not in known.names and not known.is_open:
                del arguments[name]
    return kept


def left_alone(name: str, parts: Any, before: Mapping[str, Any], trusted: Sequence[str] = ()) -> str | None:
    """One line where an overlay speaks to other networks than the one in use; None where it speaks to that one.

    Args:
        name: of the overlay.
        parts: what stands below its ``for``.
        before: the config that it changes.
        trusted: modules from ``--trust``.
    """
    from videodiff.config.loader import class_names, words_of

    model = before.get("model")
    used, net = class_names(model), class_of_network(model, trusted)
    if net is None or not isinstance(parts, Mapping):
        return None
    groups = [words_of(key) for key in parts]
    spoken = [words for words in groups if len(words) > 1 and words[0] in used]
    if not spoken or any(used.issuperset(words) for words in spoken):
        return None
    known = ", ".join(dict.fromkeys(words[-1] for words in spoken))
    return (
        f"{name} is written for {known}; of {net.__name__} it changes num_frames, resolution and num_classes where it "
        "takes them, and nothing else"
    )
