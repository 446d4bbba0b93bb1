"""Bare weights from a file of any origin, to initialise a new run whose config is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from videodiff.checkpoints.files import CheckpointError, check_schema, is_sealed, load_file
from videodiff.weights import load_training_file, without_wrappers


def load_beginning(path: Path) -> dict[str, Any]:
    """A checkpoint or an export, or else the tensors of a file that ``torch.save`` or safetensors wrote.

    Raises:
        CheckpointError: in one line, for a damaged file, or one without named tensors. Nothing in it is run.
    """
    try:
        return load_file(path)
    except CheckpointError:
        if is_sealed(path):
            raise
    try:
        tensors, _ = load_training_file(path)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    content = {"state_dict": tensors, "videodiff": {"weights_only": True}}
    check_schema(content, path)
    return content


def is_bare(path: Path) -> bool:
    """Whether a file that is no checkpoint of ours holds named tensors and nothing else."""
    if is_sealed(path):
        return False
    try:
        _, beside = load_training_file(path)
    except ValueError:
        return False
    return not beside


def placed(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], str]:
    """The weights under the names that the model has for them, and what their names were below in the file.

    They may be the model's or those of one of its parts (``net``, ``autoencoder``), below what compilers, launchers and
    projects put around a network (``_orig_mod.``, ``module.``, ``ema_model.``); of two copies the average is taken.

    Raises:
        CheckpointError: in one line, where names without wrappers are not unique.
    """
    from videodiff.checkpoints.published.keys import is_average

    try:
        weights = without_wrappers(weights)
    except ValueError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    trained = dict(model.named_parameters())
    parts = ["", *(f"{name}." for name, _ in model.named_children())]
    counts: Counter[tuple[str, str]] = Counter()
    for name in weights:
        for outer in wrappers(name):
            counts.update((outer, part) for part in parts if part + name[len(outer) :] in trained)
    if not counts:
        return weights, ""
    outer, part = max(counts, key=lambda key: (counts[key], is_average(key[0]), -len(key[0])))
    beside = {name: value for name, value in weights.items() if not name.startswith(outer)}
    inside = {part + name[len(outer) :]: value for name, value in weights.items() if name.startswith(outer)}
    return {**beside, **inside}, outer


def wrappers(name: str) -> Iterator[str]:
    """Beginnings of a name that may be wrappers around a network, the empty one first."""
    from videodiff.checkpoints.published.keys import wrapped

    yield ""
    for at in (at for at, letter in enumerate(name, 1) if letter == "."):
        if not wrapped(name[:at]):
            return
        yield name[:at]
