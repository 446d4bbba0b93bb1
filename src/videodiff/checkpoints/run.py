"""The model of a run, built from its configuration and filled with its weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videodiff import config
from videodiff.checkpoints.config import trusted_config
from videodiff.checkpoints.files import CheckpointError, non_finite
from videodiff.checkpoints.glance import TRAINING
from videodiff.config.trust import check_tree
from videodiff.weights import without_wrappers


def check_resumable(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint that holds weights only.

    Raises:
        CheckpointError: naming the first thing that is missing.
    """
    for key in TRAINING:
        if key not in checkpoint:
            raise CheckpointError(
                f"checkpoint {path} holds no {key}: training cannot resume from it (give one written by fit, or "
                "begin a new run from its weights with --init_from)"
            )


def built(
    checkpoint: Mapping[str, Any], path: Path, overrides: Mapping[str, Any], trusted: Sequence[str]
) -> Any:
    """The model of a checkpoint that is read already, as :func:`~videodiff.checkpoints.load_run` builds it."""
    section = trusted_config(checkpoint, path, trusted).get("model")
    if not isinstance(section, dict) or "class_path" not in section:
        raise CheckpointError(f"checkpoint {path}: its config names no model")
    section = config.merge(section, {"init_args": dict(overrides)}, trusted=trusted)
    check_tree(section, trusted)
    model = build_model(section, path, trusted)
    load_weights(model, checkpoint["state_dict"], path)
    return model.eval()


def build_model(section: Mapping[str, Any], path: Path, trusted: Sequence[str] = ()) -> Any:
    """The model that the ``model`` section of a checkpoint's config describes; its classes are checked already.

    Raises:
        CheckpointError: in one line.
    """
    try:
        return config.build_model({"model": section}, trusted)
    except config.BuildError as error:
        raise CheckpointError(f"checkpoint {path}: its model cannot be built: {error}") from error


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
