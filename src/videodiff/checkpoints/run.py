"""The model of a run, built from its configuration and filled with its weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videodiff.checkpoints.config import trusted_config
from videodiff.checkpoints.files import CheckpointError, non_finite
from videodiff.checkpoints.glance import TRAINING
from videodiff.config.jsonargparse_errors import explain
from videodiff.config.trust import check_tree, guarded_jsonargparse
from videodiff.weights import without_wrappers


def check_resumable(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint that holds weights only.

    Raises:
        CheckpointError: naming the first thing that is missing.
    """
    for key in TRAINING:
        if key not in checkpoint:
            raise CheckpointError(
                f"checkpoint {path} holds no {key}: training cannot go on from it (give one that fit has written, or "
                "begin a new run from its weights with --init_from)"
            )


def built(
    checkpoint: Mapping[str, Any], path: Path, overrides: Mapping[str, Any], trusted: Sequence[str]
) -> Any:
    """The model of a checkpoint that is read already, as :func:`~videodiff.checkpoints.load_run` builds it."""
    section = trusted_config(checkpoint, path, trusted).get("model")
    if not isinstance(section, dict) or "class_path" not in section:
        raise CheckpointError(f"checkpoint {path}: its config names no model")
    section = merge(section, {"init_args": dict(overrides)})
    check_tree(section, trusted)
    model = build_model(section, path, trusted)
    load_weights(model, checkpoint["state_dict"], path)
    return model.eval()


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts merged key by key; a part with another ``class_path`` is replaced."""
    merged = dict(base)
    for key, value in over.items():
        before = merged.get(key)
        merged[key] = value
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            name = before.get("class_path")
            if value.get("class_path", name) == name:
                merged[key] = merge(before, value)
    return merged


def build_model(section: Mapping[str, Any], path: Path, trusted: Sequence[str]) -> Any:
    """The model that a config's ``model`` section describes; its class paths are checked already."""
    import pytorch_lightning as pl
    from jsonargparse import ArgumentParser

    with guarded_jsonargparse(trusted):
        parser = ArgumentParser(exit_on_error=False)
        parser.add_subclass_arguments(pl.LightningModule, "model")
        try:
            return parser.instantiate_classes(parser.parse_object({"model": dict(section)})).model
        except Exception as err:  # jsonargparse wraps what a constructor raises in types of its own
            raise CheckpointError(f"checkpoint {path}: its model cannot be built: {explain(err)}") from err


def check_finite(weights: Mapping[str, Any], path: Path) -> None:
    """Refuse weights with NaN or infinity among them.

    Raises:
        CheckpointError: naming the first.
    """
    if bad := non_finite({"state_dict": weights}):
        first = bad[0].removeprefix("state_dict.")
        raise CheckpointError(
            f"checkpoint {path}: NaN or infinity in {len(bad)} of {len(weights)} tensors, the first is {first}"
        )


def load_weights(model: Any, weights: Mapping[str, Any], path: Path) -> None:
    """Load strictly, or say in one line how the checkpoint differs from the model, or which weight is no number.

    Raises:
        CheckpointError: in one line.
    """
    check_finite(weights, path)
    own = model.state_dict()
    if weights.keys() != own.keys():  # saved by somebody who compiled or sharded the model
        weights = without_wrappers(weights)
    missing = [key for key in own if key not in weights]
    unexpected = [key for key in weights if key not in own]
    shapes = [key for key in own if key in weights and own[key].shape != weights[key].shape]
    if missing or unexpected or shapes:
        parts = []
        for title, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
            if keys:
                parts.append(f"{len(keys)} {title} (first {keys[0]})")
        raise CheckpointError(
            f"checkpoint {path} is not one of {type(model).__name__} as configured: weights {', '.join(parts)}"
        )
    model.load_state_dict(weights, strict=True)
