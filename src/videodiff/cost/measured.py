"""Throughput of real training steps on this machine."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from videodiff.checkpoints.first_stage import FirstStage, config_of_name
from videodiff.checkpoints.image_first_stage import ImageFirstStage, untrained_section
from videodiff.config import build_model, find_config, load_yaml
from videodiff.device import pick_device
from videodiff.precision import default_precision
from videodiff.say import counted

from .batches import make_batch
from .meta_model import Precision, autocast, hold_perceptual

STEPS, SECONDS = 10, 20.0
"""Steps that are timed, of which the median counts; fewer where they take longer than so many seconds together."""


def flop_per_second(
    section: Mapping[str, Any], data: Mapping[str, Any], flop_per_clip: float, trusted: Sequence[str] = ()
) -> tuple[float, str]:
    """FLOP per second of training steps, and how they were measured.

    The batch is that of the run, as far as it fits into the time: a step of one clip takes far more than its share of
    a step of many.

    Args:
        section: the ``model`` section of a config, classes with their full paths.
        data: ``init_args`` of its data.
        flop_per_clip: of one such step.
        trusted: modules from ``--trust``.
    """
    device = pick_device().type
    precision: Precision = "bf16-mixed" if default_precision(device) == "bf16-mixed" else "fp32"
    model = real_model(section, trusted).to(device).train()
    optimizer = model.make_optimizer([p for p in model.parameters() if p.requires_grad])

    def step(clips: int) -> float:
        batch = make_batch(model, data, clips, device)
        batch = {**batch, "video": batch["video"].uniform_(-1, 1), "sample": torch.arange(clips)}
        began = time.perf_counter()
        with autocast(precision, device):
            loss = model.training_loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    step(1)  # what is set up once does not count
    clips = min(int(data.get("batch_size") or 1), max(1, int(SECONDS / 4 / step(1))))
    while True:
        try:
            step(clips)
            break
        except torch.OutOfMemoryError:
            if clips == 1:
                raise
            clips //= 2
    took: list[float] = []
    while len(took) < STEPS and (len(took) < 2 or sum(took) < SECONDS):
        took.append(step(clips))
    seconds = statistics.median(took)
    what = f"{len(took)} {precision} steps of {counted(clips, 'clip')}"
    return clips * flop_per_clip / seconds, f"measured: {what} here on {device}, {seconds:.3g} s each"


def real_model(section: Mapping[str, Any], trusted: Sequence[str] = ()) -> Any:
    """The model with random weights; a trained first stage or LPIPS is not looked for, it costs the same untrained."""
    section = copy.deepcopy(dict(section))
    arguments = section.get("init_args") or {}
    arguments |= {"autoencoder": untrained(arguments["autoencoder"])} if "autoencoder" in arguments else {}
    model = build_model({"model": section}, trusted)
    hold_perceptual(model, "cpu")
    return model


def untrained(part: Any) -> Any:
    """The section of a first stage that is trained already, as one of the same network that is not."""
    if not isinstance(part, dict):
        return part
    kind, options = str(part.get("class_path", "")).rpartition(".")[2], part.get("init_args") or {}
    if kind == FirstStage.__name__:
        name = options.get("config") or config_of_name(options.get("checkpoint", ""))
        return part if name is None else load_yaml(find_config(name))["model"]["init_args"]["autoencoder"]
    return untrained_section(options) if kind == ImageFirstStage.__name__ else part
