"""The training of a run, from its folder: steps, clips, seconds, curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from videodiff.comparison.record import Training
from videodiff.data.captions import chosen
from videodiff.data.pixels import to_float
from videodiff.plain import parse_json
from videodiff.run_layout import run_folder

POINTS = 400  # of a curve
CURVES = ("train/loss", "val/loss")


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` by step; of a step written twice (a resumed run) the later one holds.

    A half-written line, the last one of a run that was killed, is passed over.
    """
    path = folder / "metrics.jsonl"
    found: dict[tuple[int, bool], dict[str, Any]] = {}
    if path.is_file():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = parse_json(text)
                found[int(line["step"]), any(key.startswith("val/") for key in line)] = line
            except (ValueError, KeyError, TypeError):
                continue
    return [found[key] for key in sorted(found)]


def last_step(folder: Path) -> int:
    """Of ``metrics.jsonl``; 0 without one."""
    lines = read_lines(folder)
    return int(lines[-1]["step"]) if lines else 0


def training_of(
    checkpoint: Path, config: dict[str, Any], step: int | None, flop: int | None = None
) -> Training:
    """What the weights of a checkpoint cost.

    Args:
        checkpoint: the file; ``metrics.jsonl`` lies in its run folder.
        config: of the run, for the batch size.
        step: optimizer steps; None for weights that came without a history.
        flop: of one optimizer step.
    """
    lines = [line for line in read_lines(run_folder(checkpoint)) if step is None or line["step"] <= step]
    batch = ((config.get("data") or {}).get("init_args") or {}).get("batch_size")
    steps = step or 0
    return Training(
        steps=steps,
        clips=steps * batch if isinstance(batch, int) and steps else None,
        seconds=seconds_of(lines, steps),
        flop_per_step=flop,
        curves={name: curve for name in CURVES if (curve := curve_of(lines, name))},
    )


def together(parts: Sequence[Training]) -> Training:
    """What several trainings cost; a sum is not known where one of its parts is not."""

    def total(values: Sequence[Any]) -> Any:
        return None if None in values else sum(values)

    return Training(
        steps=sum(part.steps for part in parts),
        clips=total([part.clips for part in parts]),
        seconds=total([part.seconds for part in parts]),
    )


def seconds_of(lines: Sequence[dict[str, Any]], steps: int) -> float | None:
    """Seconds of `steps` optimizer steps, validation, sampling and pauses left out; None if they were not recorded.

    Each line holds the mean over the steps since the line before; steps after the last line, and those of lines that
    were lost, count as those of the nearest line before.
    """
    total, done, rate = 0.0, 0, None
    for line in lines:
        rate = line.get("throughput/seconds_per_step")
        if rate is not None and line["step"] > done:
            total += rate * (line["step"] - done)
            done, last = line["step"], rate
    if not done:
        return None
    return round(total + last * max(steps - done, 0), 3)


def curve_of(lines: Sequence[dict[str, Any]], name: str) -> list[list[float]]:
    """``[[step, value], ...]``; more than :data:`POINTS` are averaged in equal groups of neighbours."""
    points = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
    if len(points) <= POINTS:
        return [[float(step), float(value)] for step, value in points]
    size = -(-len(points) // POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [[float(g[-1][0]), sum(float(v) for _, v in g) / len(g)] for g in groups]


def training_batch(data: Any, device: torch.device) -> dict[str, Any]:
    """The first training clip as a batch: ``video [1, 3, T, H, W]`` in [-1, 1], ``sample``, ``label``, ``caption``."""
    source = data.source("train")
    clip = source.read(0, 0, data.num_frames, data.frame_stride)
    batch: dict[str, Any] = {
        "video": to_float(clip[None]).permute(0, 4, 1, 2, 3).to(device),
        "sample": torch.zeros(1, dtype=torch.long),
        "num_images": 0,
    }
    if source.labels:
        batch["label"] = torch.tensor([source.labels[0]], device=device)
    if source.has_captions:
        batch["caption"] = [chosen(source.captions_of(0, 0, data.num_frames, data.frame_stride), 0.0)]
    return batch
