"""Overlays: configs that hold over any other, each part of them for the classes that are in use there."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from videodiff.config.lookup import IMPORTED, Imported
from videodiff.config.merge import class_names, merge
from videodiff.config.network_facts import FACTS
from videodiff.config.network_sizes import class_of_network
from videodiff.say import say
from videodiff.usage import UsageError


def words_of(key: Any) -> list[str]:
    """Short names of the classes that a part of an overlay is for: ``VDM + UNet3D``."""
    return [word.strip() for word in str(key).split("+")]


def plain_config(
    config: Mapping[str, Any],
    before: Mapping[str, Any],
    where: str,
    trusted: Sequence[str] = (),
    lookup: Imported = IMPORTED,
) -> dict[str, Any]:
    """A config as it holds over those before it: ``for: {CLASS: {...}}`` gives way to the part of a class in use.

    One overlay can so speak to several models. CLASS is the short name of any class that the model section before it
    names, or several that are in use together, ``VDM + UNet3D``: what a network alone can take stands under its own
    class. Parts are merged in their order. Sizes and conditions of a network (``num_frames``, ``resolution``,
    ``num_classes``, ...) are left out where its class takes no such argument.

    Args:
        config: the overlay, or any config.
        before: those before it, merged.
        where: what to call it in messages.
        trusted: modules from ``--trust``.
        lookup: where classes are looked up.

    Raises:
        UsageError: if there is a ``for`` and none of its classes is in use.
    """
    config = dict(config)
    parts = config.pop("for", None)
    if parts is None:
        return config
    if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
        raise UsageError(f"{where}: 'for' must map names of classes to configs")
    model = before.get("model")
    used = class_names(model)
    chosen = [part for name, part in parts.items() if used.issuperset(words_of(name))]
    if not chosen:
        known = dict.fromkeys(word for name in parts for word in words_of(name))
        raise UsageError(
            f"{where} is made for {', '.join(known)}; the model before it uses {', '.join(sorted(used)) or 'no class'}"
        )
    if (line := left_alone(where, parts, model, trusted, lookup)) is not None:
        say(line)
    taken = (where_taken(part, model, trusted, lookup) for part in chosen)
    return merge(config, *taken, trusted=trusted, lookup=lookup)


def where_taken(
    part: Mapping[str, Any], model: Any, trusted: Sequence[str] = (), lookup: Imported = IMPORTED
) -> dict[str, Any]:
    """A part of an overlay without the sizes and conditions that the network's class takes no arguments for."""
    kept = copy.deepcopy(dict(part))
    try:
        arguments = kept["model"]["init_args"]["net"]["init_args"]
        names = [name for name in arguments if name in FACTS]
    except (KeyError, TypeError):
        return kept
    net = class_of_network(model, trusted, lookup) if names else None
    if net is not None:
        known = lookup.parameters(net)
        for name in names:
            if name not in known.names and not known.is_open:
                del arguments[name]
    return kept


def left_alone(
    name: str,
    parts: Mapping[str, Any],
    model: Any,
    trusted: Sequence[str] = (),
    lookup: Imported = IMPORTED,
) -> str | None:
    """One line where an overlay speaks to other networks than the one in use; None where it speaks to that one.

    Args:
        name: of the overlay.
        parts: what stands below its ``for``.
        model: the section that it changes.
        trusted: modules from ``--trust``.
        lookup: where classes are looked up.
    """
    used, net = class_names(model), class_of_network(model, trusted, lookup)
    if net is None:
        return None
    groups = [words_of(key) for key in parts]
    spoken = [words for words in groups if len(words) > 1 and words[0] in used]
    if not spoken or any(used.issuperset(words) for words in spoken):
        return None
    known = ", ".join(dict.fromkeys(words[1] for words in spoken))
    return (
        f"{name} is written for {known}; of {net.__name__} it changes num_frames, resolution and num_classes where it "
        "takes them, and nothing else"
    )
