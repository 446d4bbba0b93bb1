"""Reads a pipeline file, which names trained runs as stages, in the form of a checkpoint of the whole model."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from videodiff import placeholder
from videodiff.checkpoints.config import place_parts, stored_config
from videodiff.checkpoints.exported import is_pipeline, sha256_of
from videodiff.checkpoints.files import CheckpointError, load_file
from videodiff.checkpoints.folders import resolve_checkpoint
from videodiff.config import merge
from videodiff.config.loader import with_names_of_today
from videodiff.migrations import FORMATS, migrated, numbered_config
from videodiff.networks.frozen import state_sha256
from videodiff.plain import parse_yaml
from videodiff.reading import read_text

KEYS = ("format", "pipeline", "data", "seed_everything")
STAGE_KEYS = ("run", "takes", "frames_each", "weights", "model")
EXAMPLE = "pipeline: [{run: PATH}, {run: PATH, takes: low_resolution}]"


def read_pipeline(file: str | os.PathLike) -> dict[str, Any]:
    """What a checkpoint of the pipeline in a file would hold: the weights of all its runs, and the config of one model.

    The file names runs by their paths from where it lies::

        pipeline:
          - run: ../vdm_small
          - run: ../vdm_large/1/best
            takes: low_resolution          # or frames, with frames_each; or latent
            weights: 3f0c...               # optional: refuse others than these
            model: {guidance_scale: 1.5}   # optional: arguments of its model in place of the run's

    The real clips, for ``test`` and ``compare``, are those of the last run's ``data`` unless the file has its own.

    Raises:
        ValueError: in one line with the file and the stage, for anything that cannot be read, named or joined.
    """
    file = Path(file)
    content = parse(file)
    found = join(content["pipeline"], str(file), file)
    for key in ("data", "seed_everything"):
        if key in content:
            found["config"][key] = content[key]
    return checkpoint_of(found)


def parse(file: Path) -> dict[str, Any]:
    """The content of a pipeline's file, its keys checked."""
    if not file.is_file():
        raise CheckpointError(f"pipeline {file} does not exist")
    placeholder.refuse(file)
    content = parse_yaml(read_text(file), str(file))
    if not isinstance(content, dict) or not isinstance(content.get("pipeline"), list):
        raise CheckpointError(
            f"{file} names no trained runs; a pipeline looks like this: {EXAMPLE} (a config is for fit --config)"
        )
    content = migrated("pipeline", content, file)
    if unknown := [key for key in content if key not in KEYS]:
        raise CheckpointError(f"{file}: a pipeline has no key {unknown[0]!r}; it has {', '.join(KEYS[1:])}")
    return with_names_of_today(content, str(file))


def join(stages: Sequence[Any], where: str, file: Path | None = None) -> dict[str, Any]:
    """The weights of all runs, the config of one model, and what the runs are.

    Args:
        stages: each a mapping with ``run`` and what :func:`read_pipeline` lists beside it.
        where: what to call the pipeline in errors.
        file: from where paths are meant; None is the working folder.

    Returns:
        ``weights`` by name, ``config`` and ``runs``: of each ``run``, ``checkpoint``, ``step``, ``ema``, ``weights``,
        ``max_steps`` and ``batch_size``.
    """
    if not stages:
        raise CheckpointError(f"{where}: a pipeline has at least one stage: {EXAMPLE}")
    weights: dict[str, Tensor] = {}
    sections, runs, data = [], [], None
    for number, stage in enumerate(stages):
        place = f"{where}: stage {number + 1}"
        check_stage(stage, place)
        path = find_run(stage["run"], place, file)
        checkpoint = load_file(path)
        config = config_of(stage, checkpoint, path, place)
        digest = state_sha256(checkpoint["state_dict"]).hex()
        if stage.get("weights") not in (None, digest):
            raise CheckpointError(
                f"{place}: the weights of {stage['run']} are {digest[:16]}..., not the {str(stage['weights'])[:16]}... "
                "that the pipeline was made with; name the right run, or leave weights out"
            )
        arguments = {key: stage[key] for key in ("takes", "frames_each") if stage.get(key) is not None}
        args = {"model": config["model"], **arguments, "run": str(stage["run"]), "weights": digest}
        sections.append({"class_path": "videodiff.sampling.Stage", "init_args": args})
        weights |= {f"stages.{number}.model.{name}": w for name, w in checkpoint["state_dict"].items()}
        runs.append({
            "run": str(stage["run"]), "checkpoint": str(path), "step": checkpoint.get("global_step"),
            "ema": bool(checkpoint.get("ema")), "weights": digest, **facts_of_training(config),
        })  # fmt: skip
        if number and stage.get("takes") == "latent":
            check_first_stage(weights, number, place, stages)
        if stage.get("takes") != "latent" or data is None:  # which fills gaps in the video of the one before
            data = config.get("data")
    model = {"class_path": "videodiff.sampling.Pipeline", "init_args": {"stages": sections}}
    config = {"model": model} | ({} if data is None else {"data": data})
    return {"weights": weights, "config": config, "runs": runs}


def config_of(
    stage: Mapping[str, Any], checkpoint: Mapping[str, Any], path: Path, place: str
) -> dict[str, Any]:
    """The config of a stage's run, its model's arguments changed as the pipeline says."""
    config = stored_config(checkpoint, path)
    place_parts(config, path)
    section = config.get("model")
    if not isinstance(section, dict) or "class_path" not in section:
        raise CheckpointError(f"{place}: checkpoint {path}: its config names no model")
    changes = with_names_of_today({"model": {"init_args": stage.get("model") or {}}}, place)
    return {**config, "model": merge(section, changes["model"])}


def facts_of_training(config: Mapping[str, Any]) -> dict[str, Any]:
    """How long a config's run is trained, and on how many clips a step; None for what it does not say."""
    return {
        "max_steps": (config.get("trainer") or {}).get("max_steps"),
        "batch_size": ((config.get("data") or {}).get("init_args") or {}).get("batch_size"),
    }


def configs_of(file: Path) -> list[dict[str, Any]]:
    """The config of every stage of a pipeline, each with the ``run`` as the file names it.

    Raises:
        ValueError: as :func:`read_pipeline`.
    """
    found = []
    for number, stage in enumerate(parse(file)["pipeline"], 1):
        place = f"{file}: stage {number}"
        check_stage(stage, place)
        path = find_run(stage["run"], place, file)
        found.append({"run": stage["run"], "config": config_of(stage, load_file(path), path, place)})
    return found


def checkpoint_of(joined: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a checkpoint holds it."""
    text = numbered_config(yaml.safe_dump(joined["config"], sort_keys=False))
    ours = {
        "config": text,
        "weights_only": True,
        "runs": joined["runs"],
        "format": FORMATS["checkpoint"],
    }
    ema = all(run["ema"] for run in joined["runs"])
    return {"state_dict": joined["weights"], "ema": ema, "videodiff": ours}


def check_stage(stage: Any, place: str) -> None:
    """Refuse a stage that is no mapping with a run, or has an unknown key."""
    if not isinstance(stage, dict) or not isinstance(stage.get("run"), str):
        raise CheckpointError(f"{place} must name its run: {{run: PATH}}, got {str(stage)[:80]!r}")
    if unknown := [key for key in stage if key not in STAGE_KEYS]:
        raise CheckpointError(f"{place} has no key {unknown[0]!r}; a stage has {', '.join(STAGE_KEYS)}")
    if not isinstance(stage.get("model") or {}, dict):
        raise CheckpointError(
            f"{place}: model must be a mapping of the model's arguments, e.g. guidance_scale: 2"
        )


def find_run(run: str, place: str, file: Path | None) -> Path:
    """The checkpoint that a stage names: from the pipeline's own folder, else as any command finds it.

    Raises:
        CheckpointError: if there is none, or it is a pipeline itself.
    """
    found, said = None, None
    for spec in ([file.parent / run] if file is not None else []) + [Path(run)]:
        try:
            found = resolve_checkpoint(spec)
            break
        except FileNotFoundError as error:
            said = said or error
    if found is None:
        raise CheckpointError(f"{place}: {said}")
    if is_pipeline(found):
        itself = file is not None and found.resolve() == file.resolve()
        what = "this pipeline itself" if itself else "a pipeline"
        raise CheckpointError(f"{place} names {run}, which is {what}; name the runs that train its models")
    return found


def check_first_stage(weights: Mapping[str, Tensor], number: int, place: str, stages: Sequence[Any]) -> None:
    """Refuse a stage that continues a latent of another first stage."""
    ours, theirs = (
        {name.removeprefix(lead): w for name, w in weights.items() if name.startswith(lead)}
        for lead in (f"stages.{n}.model.autoencoder." for n in (number, number - 1))
    )
    same = ours.keys() == theirs.keys() and all(torch.equal(w, theirs[name]) for name, w in ours.items())
    if not same:
        raise CheckpointError(
            f"{place}: {stages[number]['run']} cannot continue the latent of {stages[number - 1]['run']}, which was "
            "trained on another first stage"
        )


def identity(path: Path) -> str:
    """SHA-256 of a checkpoint file; of a pipeline that of its file and of every run's checkpoint in it."""
    if not is_pipeline(path):
        return sha256_of(path)
    digest = hashlib.sha256(sha256_of(path).encode())
    for number, stage in enumerate(parse(path)["pipeline"]):
        place = f"{path}: stage {number + 1}"
        check_stage(stage, place)
        digest.update(sha256_of(find_run(stage["run"], place, path)).encode())
    return digest.hexdigest()


def with_interpolator(
    run: str, interpolator: str, changes: Mapping[str, Any] | None = None, trusted: Sequence[str] = ()
) -> Any:
    """The pipeline of a model of key frames and one that fills their gaps, by the first one's sampler; on the CPU.

    Args:
        run: of key frames, as ``resolve_checkpoint`` takes it.
        interpolator: the run that fills the gaps.
        changes: arguments of the first one's model in place of its own.
        trusted: further modules that may be named, from the command line.

    Raises:
        ValueError: in one line, if either cannot be loaded, or they do not go together.
    """
    from videodiff.checkpoints.run import built

    where = f"--interpolator {interpolator}"
    stages = [{"run": run, "model": dict(changes or {})}, {"run": interpolator, "takes": "latent"}]
    model = built(checkpoint_of(join(stages, where)), Path(where), {}, trusted)
    keys, gaps = model.models
    gaps.sampler = keys.sampler
    return model
