"""One training step on tensors without numbers: its FLOP and what lives at its worst moment.

The order is Lightning's: forward, then the gradients of the last step are dropped, backward, optimizer step. So the
old gradients are alive during the forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from videodiff.models.trained import TrainedModule, trained_module

from .batches import keep_latents, make_batch, without_randomness
from .counter import Counter
from .group_norm import remembered
from .meta_model import MetaModel, Precision, autocast, num_bytes


@dataclass(frozen=True)
class Step:
    """What one step of a micro-batch takes.

    Attributes:
        clips: training samples in it.
        flop: forward and backward, what is computed again included, the first stage left out.
        first_stage_flop: of encoding the clips by a frozen first stage.
        forward_bytes: largest sum of live bytes in the forward pass, beyond the model's own; the batch and the
            gradients of the step before are among them.
        backward_bytes: the same of the backward pass, the gradients as far as they exist among them.
        gradient_bytes: of all gradients.
        peak_bytes: of the whole step, with the workspace of the CPU's convolutions, which one clip alone may have.
    """

    clips: int
    flop: int
    first_stage_flop: int
    forward_bytes: int
    backward_bytes: int
    gradient_bytes: int
    peak_bytes: int


def step_of(
    meta: MetaModel,
    data: Mapping[str, Any],
    clips: int,
    precision: Precision = "fp32",
    accumulates: bool = False,
    kept_latents: bool = False,
) -> Step:
    """Run one training step of ``clips`` samples.

    Args:
        meta: the model.
        data: ``init_args`` of the config's data.
        clips: samples of the batch.
        precision: of the step.
        accumulates: gradients of an earlier micro-batch are kept and added to.
        kept_latents: train on a cache of first-stage latents, so that nothing is encoded.

    Raises:
        TypeError: for a model of another kind than ours, or one that reads numbers of its batch.
    """
    model, counter = trained_module(meta.model, "steps are counted"), Counter()
    without_randomness(model)
    model.train()
    with counter, remembered(counter):
        counter.take(meta.tensors())
        batch = make_batch(model, data, clips, meta.device)
        # On a CPU the loader's next batch lies in the same memory.
        ahead = make_batch(model, data, clips, "cpu") if meta.device == "cpu" else None
        if kept_latents:
            batch = keep_latents(model, batch)
        own = num_bytes(meta.tensors())
        trained = [p for p in model.parameters() if p.requires_grad]
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
        counter.flop, encoded = 0, _count_first_stage(model, counter)
        counter.restart_peak()
        with autocast(precision, meta.device):
            loss = model.training_loss(batch)
        forward = counter.restart_peak() - own
        if not accumulates:
            clear(trained)
        loss.backward()
        del loss
        backward = counter.restart_peak() - own
        peak = max(forward, backward, counter.peak_with_workspace - own)
        del ahead
        gradients = num_bytes([p.grad for p in trained if p.grad is not None])
        clear(trained)
    return Step(clips, counter.flop - encoded[0], encoded[0], forward, backward, gradients, peak)


def clear(parameters: list[nn.Parameter]) -> None:
    """Drop all gradients."""
    for parameter in parameters:
        parameter.grad = None


def _count_first_stage(model: TrainedModule, counter: Counter) -> list[int]:
    """A cell that grows by the FLOP of every call of a frozen first stage's ``encode``."""
    cell, stage = [0], model.first_stage
    if stage is None:
        return cell
    encode = type(stage).encode

    def counted(video: Tensor) -> Tensor:
        before = counter.flop
        latent = encode(stage, video)
        cell[0] += counter.flop - before
        return latent

    stage.encode = counted  # type: ignore[method-assign]  # of this one, while steps are counted
    return cell
