"""From a merged config to its model and its data: the one place where the classes that a config names are built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from videodiff.config.jsonargparse_errors import explain
from videodiff.config.trust import full_path, guarded_jsonargparse

BASES = {"model": "LightningModule", "data": "LightningDataModule"}


class BuildError(ValueError):
    """What a config describes cannot be built; the message says why, not whose config it is."""


def build(config: Mapping[str, Any], trusted: Sequence[str] = (), parts: Sequence[str] = tuple(BASES)) -> Any:
    """The model and the data of a config whose classes are checked already.

    Args:
        config: merged, with a section for each part.
        trusted: modules from ``--trust``.
        parts: ``model``, ``data`` or both.

    Returns:
        A namespace that holds the parts by their names.

    Raises:
        BuildError: with the innermost reason, on one line.
    """
    import pytorch_lightning as pl
    from jsonargparse import ArgumentParser

    sections = {key: with_full_paths(config[key]) for key in (*parts, "seed_everything") if key in config}
    with guarded_jsonargparse(trusted):
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--seed_everything", type=bool | int, default=0)
        for part in parts:
            parser.add_subclass_arguments(getattr(pl, BASES[part]), part, required=True)
        try:
            parsed = parser.parse_object(sections)
            share_seed(parsed)
            return parser.instantiate_classes(parsed)
        except Exception as error:  # jsonargparse wraps what a constructor raises in types of its own
            raise BuildError(explain(error)) from error


def build_model(config: Mapping[str, Any], trusted: Sequence[str] = ()) -> Any:
    """The model of a config; as :func:`build`."""
    return build(config, trusted, ("model",)).model


def build_data(config: Mapping[str, Any], trusted: Sequence[str] = ()) -> Any:
    """The data module of a config; as :func:`build`."""
    return build(config, trusted, ("data",)).data


def share_seed(parsed: Any) -> None:
    """Give model and data of a parsed config the seed of the run; one that is written into a part wins."""
    seed = parsed.seed_everything
    for part in filter(None, (parsed.get(key) for key in BASES)):
        if part.get("init_args", {}).get("seed", None) == 0:  # every part's default
            part.init_args.seed = 0 if isinstance(seed, bool) else seed


def with_full_paths(node: Any) -> Any:
    """The same tree with short class names written out."""
    if isinstance(node, Mapping):
        node = {key: with_full_paths(value) for key, value in node.items()}
        path = node.get("class_path")
        return {**node, "class_path": full_path(path)} if isinstance(path, str) and "." not in path else node
    return [with_full_paths(value) for value in node] if isinstance(node, (list, tuple)) else node


def without_latents(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose data read videos, also where a model was trained from latents that were encoded before."""
    data = config["data"]
    given = dict(data.get("init_args") or {})
    if "latents" in given:
        given["latents"] = None
    return {**config, "data": {**data, "init_args": given}}
