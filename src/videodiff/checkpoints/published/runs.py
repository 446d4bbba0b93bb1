"""From a published file to a run folder, which every command takes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from videodiff import atomic
from videodiff.checkpoints.files import save_checkpoint
from videodiff.checkpoints.first_stage import FirstStage
from videodiff.checkpoints.folders import resolve_checkpoint
from videodiff.checkpoints.image_folder import read_image_folder
from videodiff.checkpoints.run import build_model
from videodiff.migrations import FORMATS, numbered_config
from videodiff.run_layout import CHECKPOINTS, CONFIG, LAST, run_folder
from videodiff.weights import file_sha256, load_training_file, without_wrappers

from .convert import Imported, convert, holds
from .keys import flatten
from .kinds import format_of
from .recipes import RECIPES, data_section, latent_sizes, model_section, part
from .report import Report

STAGE_OF = {"pvdm": "pvdm-autoencoder", "lvdm": "lvdm-autoencoder"}
FOLDER_STAGES = ("latte",)
"""Kinds whose first stage is an image autoencoder in a folder."""


def import_run(
    kind: str,
    file: str | os.PathLike,
    out: str | os.PathLike,
    first_stage: str | None = None,
    vae: str | None = None,
    average: bool = True,
    latent_scale: tuple[float, float] | None = None,
    changes: Mapping[str, Any] | None = None,
    **sizes: Any,
) -> list[Report]:
    """Write a run folder: ``config.yaml``, ``checkpoints/last.ckpt`` and ``import.json``, the report of every key.

    A file that holds the first stage too (``first_stage_model.``) gives a run of its own below, ``out/first_stage``.

    Args:
        kind: of checkpoint.
        file: as published; whole training checkpoints too.
        out: the folder, absent or empty.
        first_stage: run of the first stage (a folder, name or checkpoint), for a network of latents.
        vae: folder of an image autoencoder as diffusers saves it, for a network of its latents.
        average: prefer the moving average of the weights.
        latent_scale: scale and shift of an autoencoder's latent, ``scale (z + shift)``; LVDM has them in its configs,
            not in its files.
        changes: to the model section's ``init_args`` (schedule, sampler, prediction).
        sizes: arguments of the network that no tensor shows.

    Returns:
        The reports: of the first stage, if the file held it, and of the network.

    Raises:
        ValueError: in one line, for a file that is none of its kind or names code, or a first stage that does not fit.
        FileNotFoundError: without the file or the first stage.
    """
    fmt, path, out = format_of(kind), Path(file), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"{out} exists and is not empty; nothing is overwritten, name another folder with --out"
        )
    check_stages(kind, first_stage, vae)
    tensors, others = load_training_file(path)
    tensors = without_wrappers(tensors)
    source = {"file": path.name, "sha256": file_sha256(path), "without_tensors": others}
    reports: list[Report] = []
    stage_kind = STAGE_OF.get(kind.split("-")[0])
    if latent_scale is not None and fmt.scale_arguments is not None:
        sizes |= dict(zip(fmt.scale_arguments, (latent_scale[0], -latent_scale[1]), strict=True))
    elif latent_scale is not None:
        tensors = with_scale(tensors, latent_scale)
    if stage_kind is not None and kind != stage_kind:
        if first_stage is None and holds(format_of(stage_kind), tensors):
            found = convert(stage_kind, tensors, average)
            write_run(found, out / "first_stage", None, source, {})
            first_stage, reports = str(out / "first_stage"), [found.report]
        first_stage = str(run_of(first_stage, fmt.kind, stage_kind))
        sizes = {**latent_sizes(kind, FirstStage(first_stage)), **sizes}
    size = sizes.pop("resolution", None) if vae is not None else None
    found = convert(kind, flatten(tensors), average, **sizes)
    stage = None
    if first_stage is not None:
        stage = part("videodiff.checkpoints.FirstStage", checkpoint=first_stage)
    elif vae is not None:
        stage = folder_section(vae, found, size, side_of(tensors, found.init_args["patch_size"][1]))
    write_run(found, out, stage, source, changes or {})
    return [*reports, found.report]


def with_scale(tensors: Mapping[str, Tensor], values: tuple[float, float]) -> dict[str, Tensor]:
    """The file's tensors with a scale and a shift of latents as if it held them."""
    import torch

    kept = {k: v for k, v in tensors.items() if k.split(".")[-1] not in ("scale_factor", "shift_factor")}
    return kept | {"scale_factor": torch.tensor(values[0]), "shift_factor": torch.tensor(values[1])}


NO_RUN = {
    "sit": "it predicts the velocity from noise to data at times 0 to 1, which no schedule here has",
    "latte-text": "its file holds no text encoder",
}
"""Kind of which the network alone loads -> why."""


def run_of(first_stage: str | None, kind: str, stage_kind: str) -> Path:
    """The folder of the first stage's run, absolute, so that the new run finds it from anywhere."""
    if first_stage is None:
        raise ValueError(
            f"{kind} generates latents and its file holds no first stage: import that with kind {stage_kind} and name "
            "its run with --first_stage RUN"
        )
    file = resolve_checkpoint(first_stage)
    return run_folder(file).resolve()


def check_stages(kind: str, first_stage: str | None, vae: str | None) -> None:
    """Raise ValueError for a first stage that a kind has not, one that is missing, or a kind that makes no run."""
    if kind not in RECIPES:
        raise ValueError(
            f"{kind} makes no run: {NO_RUN[kind]}. Its network loads by "
            f"videodiff.checkpoints.published.load({kind!r}, state_dict)"
        )
    if (STAGE_OF.get(kind.split("-")[0]) in (None, kind)) and first_stage is not None:
        instead = "; its image autoencoder is a folder, --vae" if kind in FOLDER_STAGES else ""
        raise ValueError(f"{kind} has no first stage; leave out --first_stage{instead}")
    if vae is not None and kind not in FOLDER_STAGES:
        raise ValueError(f"{kind} takes no image autoencoder; leave out --vae")
    if vae is None and kind in FOLDER_STAGES:
        raise ValueError(
            f"{kind} generates latents of an image autoencoder: name its folder as diffusers saved it, --vae FOLDER "
            "(stabilityai/sd-vae-ft-ema for the published weights)"
        )


def side_of(tensors: Mapping[str, Tensor], patch: int) -> int | None:
    """Side of the latent of a file's network, which its table of positions tells; None without one."""
    tables = (
        value for name, value in tensors.items() if name.split(".")[-1] == "pos_embed" and value.ndim == 3
    )
    return next((math.isqrt(table.shape[1]) * patch for table in tables), None)


def folder_section(folder: str, found: Imported, resolution: Any, side: int | None) -> dict[str, Any]:
    """The first stage of a network of an image autoencoder's latents, from its folder.

    Args:
        folder: as diffusers saved it.
        found: the network.
        resolution: of the clips in pixels; None is what follows from ``side``.
        side: of the latent that the network was trained on.

    Raises:
        FileNotFoundError: without the folder or its config.
        ValueError: for a folder of another architecture, or whose latents have other channels.
    """
    image_folder = read_image_folder(folder)
    channels = image_folder.sizes["latent_channels"]
    wanted = found.init_args["channels"]
    if channels != wanted:
        raise ValueError(f"{folder}: its latents have {channels} channels, the network takes {wanted}")
    if resolution is None and side is not None:
        resolution = side * 2 ** (len(image_folder.sizes["block_out_channels"]) - 1)
    return part(
        "videodiff.checkpoints.ImageFirstStage",
        folder=str(Path(folder).resolve()),
        num_frames=found.init_args["num_frames"],
        **({} if resolution is None else {"resolution": resolution}),
    )


def write_run(
    found: Imported,
    out: Path,
    first_stage: dict[str, Any] | None,
    source: dict[str, Any],
    changes: Mapping[str, Any],
) -> None:
    """Build the run's model around the network and write the folder; the network is checked against it."""
    section = model_section(found, first_stage)
    section["init_args"] |= changes
    model = build_model(section, out, ())
    model.core.load_state_dict(found.network.state_dict())
    config = {"seed_everything": 0, "model": section, "data": data_section(model)}
    text = numbered_config(yaml.safe_dump(config, sort_keys=False))
    record = {**source, **found.report.to_dict()}
    (out / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    checkpoint = {
        "state_dict": model.state_dict(),
        "videodiff": {
            "format": FORMATS["checkpoint"],
            "config": text,
            "weights_only": True,
            "imported": {"kind": found.report.kind, **source},
        },
    }
    save_checkpoint(checkpoint, out / CHECKPOINTS / LAST)
    atomic.write_json(out / "import.json", record)
    atomic.write_text(out / CONFIG, text)
