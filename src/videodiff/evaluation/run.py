"""One evaluation: extract features of both sides, score them, and record how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from videodiff.evaluation.detectors import Detector, build_detectors
from videodiff.evaluation.observed import Observed, observe
from videodiff.evaluation.plan import Batch
from videodiff.evaluation.protocol import Protocol, get_protocol
from videodiff.evaluation.results import Result
from videodiff.evaluation.score import score

Clips = Observed | Iterable[Batch | Tensor]


def evaluate(
    real: Clips,
    generated: Clips,
    protocol: Protocol | str = "styleganv",
    *,
    floor: Clips | None = None,
    detectors: Sequence[Detector] | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
    data: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    warnings: Sequence[str] = (),
    progress: Callable[[str, int], None] | None = None,
) -> Result:
    """Compare real and generated clips under a protocol.

    Args:
        real: uint8 batches ``[B, T, H, W, 3]``, read once in constant memory; or a side that was looked at before.
        generated: the same of the generated clips.
        protocol: a protocol or its name (:func:`~videodiff.evaluation.protocol.get_protocol`).
        floor: further real clips: how far a perfect model would be at this count.
        detectors: what to look with; by default those of the protocol.
        device: where the networks run.
        seed: that chose the clips, for the record.
        data: what identifies the real clips, for the record.
        model: sampler, steps, guidance and so on, for the record.
        warnings: what the caller knows that a reader must know.
        progress: called as ``progress(side, clips)`` while looking.

    Raises:
        ValueError: if a side holds fewer than 2 clips, or clips are too short for the network.
        RuntimeError: if a number is not finite.
    """
    protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
    dataset = (data or {}).get("dataset")
    detectors = build_detectors(protocol, device, dataset) if detectors is None else detectors
    sha256 = detectors[0].prepare()
    sides = {"real": real, "generated": generated, **({} if floor is None else {"floor": floor})}
    seen: dict[str, Observed] = {}
    for name, clips in sides.items():
        report = None if progress is None else (lambda done, name=name: progress(name, done))
        seen[name] = clips if isinstance(clips, Observed) else observe(clips, detectors, report)
    metrics, notes = score(seen["real"], seen["generated"], protocol, seen.get("floor"))
    metrics = {name: entry for name, entry in metrics.items() if entry["value"] is not None}
    num_real = min(len(seen["real"]), protocol.num_real)
    num_generated = min(len(seen["generated"]), protocol.num_generated)
    result = Result(
        name=result_name(protocol, num_real, num_generated),
        protocol=protocol.record(sha256),
        metrics=metrics,
        num_real=num_real,
        num_generated=num_generated,
        seed=seed,
        detector={"name": detectors[0].name, "sha256": sha256},
        data=dict(data or {}),
        resolution={
            "real": sorted(map(list, seen["real"].sizes)),
            "fake": sorted(map(list, seen["generated"].sizes)),
        },
        model=dict(model or {}),
        warnings=[*warnings, *notes],
    )
    result.check_finite()
    if not metrics:
        raise RuntimeError("no metric came out of this evaluation")
    return result


def result_name(protocol: Protocol, num_real: int, num_generated: int) -> str:
    """The protocol's label; a number at fewer clips never bears it bare."""
    counts = (num_real, num_generated)
    if counts == (protocol.num_real, protocol.num_generated):
        return protocol.label
    return (
        f"{protocol.label}_n{num_generated}"
        if num_real == num_generated
        else f"{protocol.label}_n{num_real}-{num_generated}"
    )
