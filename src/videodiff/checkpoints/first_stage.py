"""FirstStage: the trained, frozen autoencoder of a latent model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from videodiff.checkpoints.config import trusted_config
from videodiff.checkpoints.files import CheckpointError, load_file
from videodiff.checkpoints.first_stage_command import config_of_name, missing
from videodiff.checkpoints.folders import resolve_checkpoint
from videodiff.checkpoints.frozen_stage import FrozenStage
from videodiff.checkpoints.run import build_model, load_weights
from videodiff.checkpoints.shipped import is_shipped_name
from videodiff.config import find_config, load_yaml
from videodiff.config.trust import check_tree
from videodiff.models.trained import TrainedModule, trained_module
from videodiff.networks import Autoencoder


class FirstStage(FrozenStage):
    """The autoencoder of a finished run, frozen (:class:`~videodiff.checkpoints.frozen_stage.FrozenStage`).

    On the meta device, where costs are counted, nothing is read but the config, and a first stage that is not trained
    yet can be counted too.

    Args:
        checkpoint: run of the first stage: folder, name, RUN/best, RUN/last or checkpoint file.
        config: the config that trains it, a shipped name or a file; by default the shipped one of the run's name. It
            is named when the run is missing.

    Raises:
        FileNotFoundError: if there is no such run, in one line with the command that makes it.
        ValueError: for a run of something else than an autoencoder, or a damaged checkpoint.
    """

    def __init__(self, checkpoint: str, config: str | None = None) -> None:
        config = config or config_of_name(checkpoint)
        is_counted = torch.get_default_device().type == "meta"
        try:
            path = resolve_checkpoint(checkpoint)
        except FileNotFoundError as error:
            if is_shipped_name(checkpoint):
                raise
            if not (is_counted and config):
                raise FileNotFoundError(missing(checkpoint, config, error)) from error
            autoencoder = untrained(config)
        else:
            autoencoder = trained(path, load=not is_counted)
        super().__init__(
            autoencoder, checkpoint, "--model.autoencoder.checkpoint", has_weights=not is_counted
        )
        self.config = config


def trained(path: Path, load: bool = True) -> Autoencoder:
    """The autoencoder of a checkpoint, with its weights if ``load``.

    Raises:
        CheckpointError: in one line, for a damaged or hostile checkpoint, or one of another kind of model.
    """
    with torch.device("cpu"):  # also where costs are counted on the meta device
        checkpoint = load_file(path)
    model = autoencoder_module(trusted_config(checkpoint, path), path)
    if load:
        load_weights(model, checkpoint["state_dict"], path)
    return model.autoencoder


def untrained(config: str) -> Autoencoder:
    """The autoencoder that a config describes, with random weights.

    Raises:
        UsageError: if there is no such config.
        CheckpointError: if it describes something else.
    """
    path = find_config(config)
    tree = load_yaml(path)
    check_tree(tree)
    return autoencoder_module(tree, path).autoencoder


def autoencoder_module(config: dict[str, Any], path: Path) -> TrainedModule:
    """The module of a config whose classes are checked, if it is one that trains an autoencoder."""
    section = config.get("model")
    section = section if isinstance(section, dict) else {}
    name = section.get("class_path", "")
    inner = (section.get("init_args") or {}).get("autoencoder") if name else None
    inner_name = inner.get("class_path", "") if isinstance(inner, dict) else str(inner)
    # Judged by its name before it is built: a first stage that names itself would never end.
    if inner is None or inner_name.endswith(("FirstStage", "PixelSpace")):
        raise CheckpointError(f"{path} is no run of an autoencoder (its model is {name or 'not given'})")
    model = build_model(
        {**section, "init_args": {**section["init_args"], "perceptual_weight": 0.0}}, path, ()
    )
    try:
        module = trained_module(model, "a first stage is a run")
    except TypeError as error:
        raise CheckpointError(f"{path} is no run of an autoencoder (its model is {name})") from error
    if not module.rebuilds:
        raise CheckpointError(f"{path} is no run of an autoencoder (its model is {name})")
    return module
