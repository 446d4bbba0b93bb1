"""Exports a run as a folder: safetensors, config, model card, and the first stage of a latent model."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from safetensors.torch import save_file
from torch import Tensor

from videodiff import atomic
from videodiff.checkpoints.card import model_card, pipeline_card
from videodiff.checkpoints.config import portable_config, text_encoders, trusted_config
from videodiff.checkpoints.exported import (
    CONFIG,
    RECORD,
    is_pipeline,
    read_record,
    sha256_of,
)
from videodiff.checkpoints.first_stage import FirstStage
from videodiff.checkpoints.folders import resolve_checkpoint
from videodiff.checkpoints.image_folder import copy_image_folder
from videodiff.checkpoints.load import load_checkpoint, load_run
from videodiff.checkpoints.pipeline import find_run, parse
from videodiff.config import merge, without_latents
from videodiff.migrations import FORMATS, migrated, numbered_config
from videodiff.networks.frozen import hexadecimal, state_sha256
from videodiff.plain import parse_json
from videodiff.run_layout import PIPELINE, WEIGHTS, run_folder

STAGE = "first_stage"
TEXT_DIGEST = ".encoder.sha256"
FirstStageForm = Literal["include", "name"]
FEW = 16  # numbers; tensors of fewer are scales and sums, which halves would spoil for nothing


@dataclass(frozen=True)
class Form:
    """In what form runs are exported.

    Args:
        licence: of the weights, as model cards name it.
        command: that makes the folder, for the cards.
        trusted: further modules that configs may name.
        half: weights in fp16, half the bytes; tensors of fewer than ``FEW`` numbers stay as they are. A first
            stage's diffusers folder is copied as it is.
        first_stage: ``include`` a latent model's, or ``name`` it where it lies, by its hash.
    """

    licence: str = "other"
    command: Sequence[str] = ()
    trusted: Sequence[str] = ()
    half: bool = False
    first_stage: FirstStageForm = "include"


def export_run(
    spec: str | os.PathLike,
    out: str | os.PathLike,
    licence: str = "other",
    command: Sequence[str] = (),
    trusted: Sequence[str] = (),
    scheduler: Mapping[str, Any] | None = None,
    note: str = "",
    half: bool = False,
    changes: Mapping[str, Any] | None = None,
    first_stage: FirstStageForm = "include",
) -> Path:
    """Write ``model.safetensors``, ``config.yaml``, ``README.md`` and ``videodiff.json``; whole or not at all.

    The weights are those that every command draws with: the averaged ones. Of a pipeline every run is written so, into
    ``stage_<n>/``, and ``pipeline.yaml`` names them. A latent model's first stage is exported
    too, as ``first_stage/``, to which the config then points; the folder may be moved. Latents that the run was trained
    on are left out of its config, since they are of this machine.

    Args:
        spec: whatever ``resolve_checkpoint`` takes.
        out: the folder, absent or empty.
        licence: of the weights, as model cards name it.
        command: that made the folder, for the card.
        trusted: further modules that the config may name.
        scheduler: a diffusers scheduler config to add as ``scheduler/scheduler_config.json``.
        note: what the card says about the scheduler, if there is none.
        half: weights in fp16.
        changes: arguments of the model in place of the run's, of a run that is no pipeline.
        first_stage: ``include`` a latent model's, or leave it where it lies and ``name`` it, by its hash.

    Raises:
        FileNotFoundError: without the run.
        ValueError: for a damaged run, or a folder that is not empty, or weights that fp16 cannot hold.
    """
    path, out = resolve_checkpoint(spec), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"{out} exists and is not empty; nothing is overwritten, name another folder with --out"
        )
    load_run(path, trusted=trusted)  # what cannot be loaded is not handed on
    form = Form(licence, command, trusted, half, first_stage)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic.beside(out) as part:
        if is_pipeline(path):
            write_pipeline(path, part, form)
        else:
            write_folder(path, part, form, scheduler, note, changes)
    return out


def write_pipeline(path: Path, folder: Path, form: Form) -> None:
    """Every run of a pipeline as a folder of its own, and the file that names them, by the hashes of their weights."""
    folder.mkdir(parents=True)
    content = parse(path)
    for number, stage in enumerate(content["pipeline"], 1):
        run = find_run(stage["run"], f"{path}: stage {number}", path)
        write_folder(run, folder / f"stage_{number}", form, note="None of a stage.")
        stage["run"] = f"./stage_{number}"
        stage["weights"] = read_record(folder / f"stage_{number}")["weights"]
    content["format"] = FORMATS["pipeline"]
    atomic.write_text(folder / PIPELINE, yaml.safe_dump(content, sort_keys=False))
    card = pipeline_card(content["pipeline"], form.licence, form.command)
    atomic.write_text(folder / "README.md", card)


def write_folder(
    path: Path,
    folder: Path,
    form: Form,
    scheduler: Mapping[str, Any] | None = None,
    note: str = "",
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Everything of one run, its first stage included."""
    checkpoint = load_checkpoint(path)
    config = portable_config(trusted_config(checkpoint, path, form.trusted))
    if config.get("data"):
        config = without_latents(config)
    if changes:
        config["model"] = merge(config["model"], {"init_args": dict(changes)}, trusted=form.trusted)
    weights = {name: value.contiguous().clone() for name, value in checkpoint["state_dict"].items()}
    if form.half:
        weights = halved(weights, path)
    stage = stage_of(config)
    folder.mkdir(parents=True)
    if stage is not None and form.first_stage == "include":
        include_stage(stage, folder, form, weights)
    save_file(weights, folder / WEIGHTS)
    text = numbered_config(yaml.safe_dump(config, sort_keys=False))
    atomic.write_text(folder / CONFIG, text)
    run = run_folder(path)
    ours = checkpoint.get("videodiff", {})
    record = {
        "format": FORMATS["export"],
        "sha256": sha256_of(folder / WEIGHTS),
        "model": config["model"]["class_path"],
        "step": checkpoint.get("global_step", ours.get("step")),
        "ema": bool(checkpoint.get("ema")),
        "weights": state_sha256(weights).hex(),
        "data": ours.get("fingerprint"),
        "imported": ours.get("imported"),
        "licence": form.licence,
        "exported": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    if stage is not None and form.first_stage == "name":
        where = stage.get("folder", stage.get("checkpoint"))
        record["first_stage"] = {"place": where, "sha256": hexadecimal(weights["autoencoder.sha256"])}
    digests = [hexadecimal(value) for name, value in weights.items() if name.endswith(TEXT_DIGEST)]
    texts = [args for args in text_encoders(config) if "folder" in args]
    if digests and len(digests) == len(texts):  # their weights are public ones, and lie where they are
        named = zip(texts, digests, strict=True)
        record["text_encoders"] = [{"place": args["folder"], "sha256": digest} for args, digest in named]
    atomic.write_json(folder / RECORD, record, default=str)
    if scheduler is not None:
        (folder / "scheduler").mkdir()
        atomic.write_json(folder / "scheduler" / "scheduler_config.json", dict(scheduler))
    results = evaluations(sorted((run / "eval").glob("*.json")))
    card = model_card(record, config, weights, results, form.command, scheduler, note)
    atomic.write_text(folder / "README.md", card, errors="backslashreplace")


def halved(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """All but the smallest tensors in fp16.

    Raises:
        ValueError: for a weight beyond the range of fp16.
    """
    found = {}
    for name, value in weights.items():
        found[name] = value.half() if value.is_floating_point() and value.numel() >= FEW else value
        if not bool(found[name].isfinite().all()):
            raise ValueError(f"checkpoint {path}: {name} lies beyond the range of fp16, 65504")
    return found


def include_stage(stage: dict[str, Any], folder: Path, form: Form, weights: dict[str, Tensor]) -> None:
    """Write the first stage into an export, and point its part of the config there."""
    if "folder" in stage:
        copy_image_folder(stage["folder"], folder / STAGE)
        stage["folder"] = f"./{STAGE}"
        return
    write_folder(resolve_checkpoint(stage["checkpoint"]), folder / STAGE, replace(form, trusted=()))
    if form.half:  # the first stage's weights are others now, by which it is known
        weights["autoencoder.sha256"] = FirstStage(str(folder / STAGE)).sha256
    stage["checkpoint"] = f"./{STAGE}"


def stage_of(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments of the model's first stage, if it stands on the run or the folder of one."""
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
