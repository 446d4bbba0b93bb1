"""What a config says of a network by the names that every network has: the sizes of its clips."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from videodiff.config.lookup import IMPORTED, Imported
from videodiff.config.signatures import parameters
from videodiff.config.trust import resolve
from videodiff.frame_size import FrameSize


def class_of_network(model: Any, trusted: Sequence[str] = (), lookup: Imported = IMPORTED) -> Any:
    """The class of a ``model`` section's ``net``; None where it names none that may be named."""
    net = (model.get("init_args") or {}).get("net") if isinstance(model, Mapping) else None
    path = net.get("class_path") if isinstance(net, Mapping) else net
    if not isinstance(path, str):
        return None
    try:
        return lookup.resolve(path, trusted)
    except ValueError:
        return None


def with_sizes(config: dict[str, Any], trusted: Sequence[str] = ()) -> dict[str, Any]:
    """A merged, checked config; a model of pixels whose network states no size gets that of the data's clips.

    Args:
        config: with ``model`` and ``data``, or it is left as it is.
        trusted: modules from ``--trust``.
    """
    model, data = config.get("model"), config.get("data")
    net = class_of_network(model, trusted)
    if (
        net is None
        or not isinstance(model, Mapping)
        or not isinstance(data, Mapping)
        or "class_path" not in data
    ):
        return config
    from videodiff.networks.network import unstated

    options, given = model.get("init_args") or {}, data.get("init_args") or {}
    if options.get("autoencoder") is not None:
        return config
    taken = parameters(resolve(model["class_path"], trusted)).names
    usual = inspect.signature(resolve(data["class_path"], trusted)).parameters
    sizes = {
        name: given.get(name, usual[name].default)
        for name in unstated(net)
        if name in taken and name in usual and options.get(name) is None
    }
    if "resolution" in sizes:
        sizes["resolution"] = FrameSize.of(sizes["resolution"]).written
    return {**config, "model": {**model, "init_args": {**options, **sizes}}} if sizes else config
