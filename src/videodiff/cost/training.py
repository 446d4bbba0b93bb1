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

from .batches import keep_latents, make_batch, without_draws
from .counter import Ledger
from .functions import remembered
from .meta_model import Precision, Shadow, autocast, num_bytes


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
    shadow: Shadow,
    data: Mapping[str, Any],
    clips: int,
    precision: Precision = "fp32",
    accumulates: bool = False,
    kept_latents: bool = False,
) -> Step:
    """Run one training step of ``clips`` samples.

    Args:
        shadow: the model.
        data: ``init_args`` of the config's data.
        clips: samples of the batch.
        precision: of the step.
        accumulates: gradients of an earlier micro-batch are kept and added to.
        kept_latents: train on a cache of first-stage latents, so that nothing is encoded.

    Raises:
        TypeError: for a model of another kind than ours, or one that reads numbers of its batch.
    """
    model, ledger = trained_module(shadow.model, "steps are counted"), Ledger()
    without_draws(model)
    model.train()
    with ledger, remembered(ledger):
        ledger.take(shadow.tensors())
        batch = make_batch(model, data, clips, shadow.device)
        # On a CPU the loader's next batch lies in the same memory.
        ahead = make_batch(model, data, clips, "cpu") if shadow.device == "cpu" else None
        if kept_latents:
            batch = keep_latents(model, batch)
        own = num_bytes(shadow.tensors())
        trained = [p for p in model.parameters() if p.requires_grad]
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
        ledger.flop, encoded = 0, _count_first_stage(model, ledger)
        ledger.restart_peak()
        with autocast(precision, shadow.device):
            loss = model.training_loss(batch)
        forward = ledger.restart_peak() - own
        if not accumulates:
            clear(trained)
        loss.backward()
        del loss
        backward = ledger.restart_peak() - own
        peak = max(forward, backward, ledger.peak_with_workspace - own)
        del ahead
        gradients = num_bytes([p.grad for p in trained if p.grad is not None])
        clear(trained)
    return Step(clips, ledger.flop - encoded[0], encoded[0], forward, backward, gradients, peak)


def clear(parameters: list[nn.Parameter]) -> None:
    """Drop all gradients."""
    for parameter in parameters:
        parameter.grad = None


def _count_first_stage(model: TrainedModule, ledger: Ledger) -> list[int]:
    """A cell that grows by the FLOP of every call of a frozen first stage's ``encode``."""
    cell, stage = [0], model.first_stage
    if stage is None:
        return cell
    encode = type(stage).encode

    def counted(video: Tensor) -> Tensor:
        before = ledger.flop
        latent = encode(stage, video)
        cell[0] += ledger.flop - before
        return latent

    stage.encode = counted  # type: ignore[method-assign]  # of this one, while steps are counted
    return cell
