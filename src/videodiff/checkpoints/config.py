"""The configuration that a run folder or a checkpoint carries, read as plain, bounded, allowed YAML."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videodiff.checkpoints.files import CheckpointError
from videodiff.checkpoints.folders import NAMES
from videodiff.checkpoints.shipped import shipped_name
from videodiff.config import load_yaml, parse_config
from videodiff.config.trust import check_tree
from videodiff.run_layout import CHECKPOINTS, CONFIG, WEIGHTS, run_folder

# Arguments of the trainer that are of a machine, not of an experiment.
MACHINE = ("accelerator", "devices", "num_nodes", "strategy", "plugins")


def folder_config(run: Path) -> dict[str, Any]:
    """The configuration in a run's folder.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no mapping.
    """
    file = run / CONFIG
    if not file.is_file():
        raise FileNotFoundError(f"run {run} has no config.yaml")
    return load_yaml(file)


def stored_config(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The configuration stored in a checkpoint, else that of the run folder it lies in."""
    text = checkpoint.get("videodiff", {}).get("config", "")
    if text:
        return parse_config(text, f"config in {path}")
    if path.parent.name == CHECKPOINTS and (run_folder(path) / CONFIG).is_file():
        return folder_config(run_folder(path))
    raise CheckpointError(
        f"checkpoint {path} has no config and is in no run folder, so its model is unknown (to begin a run with it, "
        "give fit --init_from FILE the model with --config NAME|FILE)"
    )


def portable_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without what it says of the machine that trained it."""
    trainer = {key: value for key, value in (config.get("trainer") or {}).items() if key not in MACHINE}
    return {**config, "trainer": trainer} if "trainer" in config else dict(config)


def trusted_config(checkpoint: Mapping[str, Any], path: Path, trusted: Sequence[str] = ()) -> dict[str, Any]:
    """The stored configuration with every class in it allowed, also those that the caller will not use.

    Raises:
        CheckpointError: in one line, for a checkpoint without one, or with one that names what no config may.
    """
    config = stored_config(checkpoint, path)
    try:
        check_tree(config, trusted)
    except ValueError as err:
        raise CheckpointError(f"checkpoint {path}: its config: {err}") from err
    place_parts(config, path)
    return config


def place_parts(config: Mapping[str, Any], path: Path) -> None:
    """Find the first stage of a run and the folder of its text encoder from another folder than that of its training.

    ``./NAME`` means the folder beside the run itself, wherever that was moved. Another relative path or a run's name
    that means nothing here is looked for from each folder above the run; the hash in the run's weights tells later
    whether it is the right one.
    """
    stage = arguments_of(model_arguments(config).get("autoencoder"))
    places = [(stage, key) for key in ("checkpoint", "folder")]
    places += [(text, key) for text in text_encoders(config) for key in ("folder", "tokenizer", "kept")]
    for args, key in places:
        if isinstance(name := args.get(key), str):
            args[key] = place_of(name, path)


def text_encoders(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Arguments of the text encoders that the model of a config is told by."""
    given = model_arguments(config)
    conditioners = given.get("conditioners")
    every = conditioners if isinstance(conditioners, list) else []
    parts = [given.get("text"), *(arguments_of(part).get("encoder") for part in every)]
    return [args for part in parts if (args := arguments_of(part))]


def model_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a config's model."""
    return arguments_of(config.get("model"))


def arguments_of(part: Any) -> dict[str, Any]:
    """The arguments of a class that a config names, or none."""
    args = part.get("init_args") if isinstance(part, dict) else None
    return args if isinstance(args, dict) else {}


def place_of(name: str, path: Path) -> str:
    """Where a run or a folder lies that the config of a checkpoint names."""
    is_beside = name.startswith("./") and ".." not in Path(name).parts
    if is_beside and (beside := run_folder(path) / name).is_dir():
        # A shipped one by its name, which means the same on another machine.
        return shipped_name(beside / WEIGHTS) or str(beside.resolve())
    if placed(Path(), name) is None:
        found = next(filter(None, (placed(folder, name) for folder in path.resolve().parents)), None)
        return name if found is None else str(found)
    return name


def placed(folder: Path, name: str) -> Path | None:
    """Where a run of that relative path or name, ``/best`` or ``/last`` behind it or not, lies below a folder."""
    spec = Path(name)
    if spec.is_absolute() or ".." in spec.parts:
        return None
    run = spec.parent if spec.name in NAMES else spec
    return next((base / spec for base in (folder, folder / "runs") if (base / run).exists()), None)
