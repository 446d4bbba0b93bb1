"""Exports a run as a folder: safetensors, config, model card, and the first stage of a latent model."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file

from videodiff import atomic
from videodiff.checkpoints.card import model_card, pipeline_card
from videodiff.checkpoints.config import portable_config, trusted_config
from videodiff.checkpoints.exported import (
    CONFIG,
    PIPELINE,
    RECORD,
    WEIGHTS,
    is_pipeline,
    read_record,
    sha256_of,
)
from videodiff.checkpoints.first_stage import state_sha256
from videodiff.checkpoints.folders import resolve_checkpoint
from videodiff.checkpoints.load import load_checkpoint, load_run
from videodiff.checkpoints.pipeline import find_run, parse
from videodiff.migrations import FORMATS, migrated, numbered_config
from videodiff.plain import parse_json
from videodiff.run_layout import run_folder

STAGE = "first_stage"


def export_run(
    spec: str | os.PathLike,
    out: str | os.PathLike,
    licence: str = "other",
    command: Sequence[str] = (),
    trusted: Sequence[str] = (),
    scheduler: Mapping[str, Any] | None = None,
    note: str = "",
) -> Path:
    """Write ``model.safetensors``, ``config.yaml``, ``README.md`` and ``videodiff.json``; whole or not at all.

    The weights are those that every command draws with: the averaged ones. Of a pipeline every run is written so, into
    ``stage_<n>/``, and ``pipeline.yaml`` names them. A latent model's first stage is exported
    too, as ``first_stage/``, to which the config then points; the folder may be moved.

    Args:
        spec: whatever ``resolve_checkpoint`` takes.
        out: the folder, absent or empty.
        licence: of the weights, as model cards name it.
        command: that made the folder, for the card.
        trusted: further modules that the config may name.
        scheduler: a diffusers scheduler config to add as ``scheduler/scheduler_config.json``.
        note: what the card says about the scheduler, if there is none.

    Raises:
        FileNotFoundError: without the run.
        ValueError: for a damaged run, or a folder that is not empty.
    """
    path, out = resolve_checkpoint(spec), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"{out} exists and is not empty; nothing is overwritten, name another folder with --out"
        )
    load_run(path, trusted=trusted)  # what cannot be loaded is not handed on
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic.beside(out) as part:
        if is_pipeline(path):
            write_pipeline(path, part, licence, command, trusted)
        else:
            write_folder(path, part, licence, command, trusted, scheduler, note)
    return out


def write_pipeline(
    path: Path, folder: Path, licence: str, command: Sequence[str], trusted: Sequence[str]
) -> None:
    """Every run of a pipeline as a folder of its own, and the file that names them, by the hashes of their weights."""
    folder.mkdir(parents=True)
    content = parse(path)
    for number, stage in enumerate(content["pipeline"], 1):
        run = find_run(stage["run"], f"{path}: stage {number}", path)
        write_folder(run, folder / f"stage_{number}", licence, command, trusted, None, "None of a stage.")
        stage["run"] = f"./stage_{number}"
        stage["weights"] = read_record(folder / f"stage_{number}")["weights"]
    content["format"] = FORMATS["pipeline"]
    atomic.write_text(folder / PIPELINE, yaml.safe_dump(content, sort_keys=False))
    atomic.write_text(folder / "README.md", pipeline_card(content["pipeline"], licence, command))


def write_folder(
    path: Path,
    folder: Path,
    licence: str,
    command: Sequence[str],
    trusted: Sequence[str],
    scheduler: Mapping[str, Any] | None,
    note: str,
) -> None:
    """Everything of one run, its first stage included."""
    checkpoint = load_checkpoint(path)
    config = portable_config(trusted_config(checkpoint, path, trusted))
    stage = stage_of(config)
    folder.mkdir(parents=True)
    if stage is not None:
        write_folder(resolve_checkpoint(stage["checkpoint"]), folder / STAGE, licence, command, (), None, "")
        stage["checkpoint"] = f"./{STAGE}"
    weights = {name: value.contiguous().clone() for name, value in checkpoint["state_dict"].items()}
    save_file(weights, folder / WEIGHTS)
    text = numbered_config(yaml.safe_dump(config, sort_keys=False))
    atomic.write_text(folder / CONFIG, text)
    run = run_folder(path)
    ours = checkpoint.get("videodiff", {})
    record = {
        "format": FORMATS["export"],
        "sha256": sha256_of(folder / WEIGHTS),
        "model": config["model"]["class_path"],
        "step": checkpoint.get("global_step"),
        "weights": state_sha256(weights).hex(),
        "data": ours.get("fingerprint"),
        "imported": ours.get("imported"),
        "licence": licence,
        "exported": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    atomic.write_json(folder / RECORD, record, default=str)
    if scheduler is not None:
        (folder / "scheduler").mkdir()
        atomic.write_json(folder / "scheduler" / "scheduler_config.json", dict(scheduler))
    results = evaluations(sorted((run / "eval").glob("*.json")))
    card = model_card(record, config, weights, results, command, scheduler, note)
    atomic.write_text(folder / "README.md", card, errors="backslashreplace")


def stage_of(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments of the model's first stage, if it stands on the run of one."""
    part = (config.get("model", {}).get("init_args") or {}).get("autoencoder")
    if isinstance(part, dict) and str(part.get("class_path", "")).endswith("FirstStage"):
        return part["init_args"]
    return None


def evaluations(files: Iterable[Path]) -> list[dict[str, Any]]:
    """The results in files of a run's folder ``eval``; what holds none is passed over."""
    found = []
    for file in files:
        try:
            result = parse_json(file.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(result, dict) and isinstance(result.get("metrics"), dict) and "protocol" in result:
            found.append(migrated("result", result, file))
    return found
