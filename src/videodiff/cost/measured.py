"""Throughput of real training steps on this machine."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from videodiff.checkpoints.first_stage import FirstStage, config_of_name
from videodiff.config import build_model, find_config, load_yaml
from videodiff.device import pick_device
from videodiff.precision import default_precision

from .batches import make_batch
from .meta_model import Precision, autocast, hold_perceptual

STEPS = 3


def flop_per_second(
    section: Mapping[str, Any], data: Mapping[str, Any], flop_per_clip: float, trusted: Sequence[str] = ()
) -> tuple[float, str]:
    """FLOP per second of training steps of one clip, after one that does not count, and how they were measured.

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
    began = 0.0
    for step in range(STEPS + 1):
        batch = make_batch(model, data, 1, device)
        batch = {**batch, "video": batch["video"].uniform_(-1, 1), "sample": torch.tensor([step])}
        with autocast(precision, device):
            loss = model.training_loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        if step == 0:
            began = time.perf_counter()
    seconds = (time.perf_counter() - began) / STEPS
    why = f"measured: {STEPS} {precision} steps of one clip here on {device}, {seconds:.3g} s each"
    return flop_per_clip / seconds, why


def real_model(section: Mapping[str, Any], trusted: Sequence[str] = ()) -> Any:
    """The model with random weights; a trained first stage or LPIPS is not looked for, it costs the same untrained."""
    section = copy.deepcopy(dict(section))
    part = (section.get("init_args") or {}).get("autoencoder")
    if isinstance(part, dict) and str(part.get("class_path", "")).endswith(FirstStage.__name__):
        options = part.get("init_args") or {}
        name = options.get("config") or config_of_name(options.get("checkpoint", ""))
        if name is not None:
            tree = load_yaml(find_config(name))
            section["init_args"]["autoencoder"] = tree["model"]["init_args"]["autoencoder"]
    model = build_model({"model": section}, trusted)
    hold_perceptual(model, "cpu")
    return model
