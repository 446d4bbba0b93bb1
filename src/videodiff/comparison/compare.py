"""One comparison: open the runs, generate the same clips of each, measure all against the same real ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from videodiff.comparison.baselines import baselines
from videodiff.comparison.measured_model import MeasuredModel, told_in_words
from videodiff.comparison.nearest import find_nearest
from videodiff.comparison.published import published_rows
from videodiff.comparison.record import Clips, Comparison, ModelClips, ModelRecord
from videodiff.comparison.reference import UnequalRunsError, argument_of, data_rule
from videodiff.comparison.runs import (
    Run,
    build_reference,
    check_equal,
    check_frames,
    open_runs,
)
from videodiff.comparison.settings import Settings, frames_of
from videodiff.conditioning.asked import check_own_frames, request_of
from videodiff.conditioning.request import Request, recorded
from videodiff.device import pick_device
from videodiff.evaluation.choice import default_protocol
from videodiff.evaluation.clip_judge import ClipJudge
from videodiff.evaluation.generated import NonFiniteClipsError
from videodiff.evaluation.measurement import Measurement, Progress
from videodiff.evaluation.protocol import Protocol, get_protocol
from videodiff.evaluation.results import conditioned_otherwise, versions
from videodiff.precision import default_precision
from videodiff.say import none_can_be


def compare_runs(
    runs: Sequence[str],
    settings: Settings | None = None,
    progress: Progress | None = None,
    command: str = "",
    claim: Callable[[dict[str, Any]], None] | None = None,
    opened: Mapping[str, Run] | None = None,
) -> tuple[Comparison, Clips]:
    """Put runs beside each other: same real clips, noise, samplers, steps and protocol.

    Args:
        runs: whatever ``resolve_checkpoint`` takes.
        settings: what is asked for.
        progress: called as ``progress(what, done, total)``.
        command: that was given, for the record.
        claim: called before anything is generated with what tells this comparison from others: ``protocol``,
            ``settings`` and ``data`` of its record, and ``runs``, each ``{"run", "step"}``; it may refuse by raising.
        opened: those of the runs that are open already, by what `runs` calls them; they keep the names they have.

    Returns:
        The record, and the clips that a page shows.

    Raises:
        ValueError: if no run can be used, or the runs are not of the same data and clips.
        RuntimeError: if every model fails while it draws.
    """
    settings, progress = settings or Settings(), progress or (lambda what, done, total: None)
    found, skipped = open_runs(runs, settings.trusted, opened)
    if not found:
        reasons = "; ".join(f"{entry['run']}: {entry['reason']}" for entry in skipped)
        raise ValueError(f"{none_can_be('compared', len(runs), 'run')} ({reasons})")
    check_frames(found, frames_of(settings))
    frames = min(run.frames for run in found)
    split = asked_protocol(found[0].data, settings, frames).split
    data = next((run.data for run in found if run.data.selection.captions is not None), found[0].data)
    if settings.reference:
        data = build_reference(found, settings.reference, split, settings.trusted)
    else:
        check_equal(found, split)
    device = pick_device(settings.device)
    clip = None if settings.clip_model is None else ClipJudge.of_folder(settings.clip_model, device)
    measurement = Measurement(
        data, asked_protocol(data, settings, frames), settings.num_clips,
        may_fall_back=settings.protocol is None, seed=settings.seed, batch_size=settings.batch_size, device=device,
        progress=progress, clip=clip,
    )  # fmt: skip
    for note in measurement.notes:
        print(f"videodiff: warning: {note}", file=sys.stderr, flush=True)
    measurement.look_at_real_clips()
    facts = {**measurement.facts, "num_real": len(measurement.real)}
    asked = settings.record()
    check_requests(found, settings, measurement.protocol)
    check_told_alike(found, settings, measurement)
    if settings.conditions:
        asked["told"] = recorded(settings.conditions)
    if clip is not None:
        asked["clip_sha256"] = clip.digest
    if settings.reference:
        asked["reference"] = data_rule(data) | {name: argument_of(data, name) for name in settings.reference}
    asked |= {
        "device": device.type,
        "precision": default_precision(device.type),
        "num_clips": measurement.count,
        "frames": measurement.protocol.frames,
        "weights": [run.sha256 for run in found],
    }
    protocol = measurement.protocol_record
    if claim is not None:
        named = [{"run": run.spec, "step": run.step} for run in found]
        claim({"protocol": protocol, "settings": asked, "data": facts, "runs": named})
    measured: list[tuple[Run, ModelRecord, ModelClips]] = []
    for run in found:
        try:
            measured.append((run, *MeasuredModel(run, measurement, settings, device, progress).measure()))
        except NonFiniteClipsError as error:
            skipped.append({"run": run.spec, "reason": str(error)})
            print(f"videodiff: skipped {run.spec}: {error}", file=sys.stderr, flush=True)
        finally:
            run.model.to("cpu")
    if not measured:
        raise RuntimeError(f"none of the models generated videos ({'; '.join(s['reason'] for s in skipped)})")
    find_nearest(measured, measurement.protocol, settings.seed, progress)
    comparison = Comparison(
        protocol=protocol,
        settings={**asked, "notes": measurement.notes},
        data=facts,
        models=[record for _, record, _ in measured],
        baselines=baselines(measurement),
        skipped=skipped,
        published=published_rows(facts),
        versions=versions(),
        command=command,
    )  # fmt: skip
    return comparison, Clips(
        real_clips(measurement, settings.shown),
        {record.name: shown for _, record, shown in measured},
        words=words_of_samples(found, settings, measurement),
    )


def asked_protocol(data: Any, settings: Settings, frames: int) -> Protocol:
    """The protocol at the length of the clips: what is asked for, what it says itself, or else the models'."""
    found = default_protocol(data, frames) if settings.protocol is None else get_protocol(settings.protocol)
    return found.changed(frames=frames_of(settings) or frames)


def real_clips(measurement: Measurement, count: int) -> Tensor:
    """The first real clips, uint8 ``[count, T, H, W, 3]``."""
    places = range(min(count, len(measurement.plan)))
    found = [batch.clips for batch in measurement.clips(places=places)]
    return torch.cat(found) if found else torch.zeros(0, 1, 1, 1, 3, dtype=torch.uint8)


def words_of_samples(runs: Sequence[Run], settings: Settings, measurement: Measurement) -> list[str]:
    """What the shown samples were told in words; empty where none was."""
    count = min(settings.shown, len(measurement.plan))
    for run in runs:
        captions = measurement.captions(run.model)
        asked = request_of(settings.conditions, run.model.generated, measurement.protocol.frames).prompt
        if asked:
            return list(Request(prompt=asked).of_videos(range(count)).prompt)
        if captions is not None:
            return captions(range(count))
    return []


def check_requests(runs: Sequence[Run], settings: Settings, protocol: Protocol) -> None:
    """Refuse, before generating, conditions that a model does not take, or a model that needs others.

    Raises:
        ValueError: naming its run.
    """
    if protocol.is_prediction:
        check_own_frames(settings.conditions)
        if settings.long_frames:
            raise ValueError(
                "--long_frames: long videos are generated from noise, and this protocol is of predictions"
            )
    for run in runs:
        try:
            if protocol.is_prediction:
                run.model.check_given(protocol.given, protocol.frames)
            for length in (protocol.frames, *([settings.long_frames] if settings.long_frames else [])):
                asked = request_of(settings.conditions, run.model.generated, length)
                run.model.check_request(asked, length)
        except ValueError as error:
            raise ValueError(f"{run.spec}: {error}") from error


def check_told_alike(runs: Sequence[Run], settings: Settings, measurement: Measurement) -> None:
    """Refuse, before generating, runs whose clips would have conditions of two kinds.

    Raises:
        UnequalRunsError: naming two runs, what they would be told, and what all can be told.
    """
    kinds = {run.spec: told_in_words(run, measurement, settings, settings.scales[0]) for run in runs}
    first, *others = kinds.items()
    for spec, kind in others:
        if kind != first[1]:
            in_words = "captions of the real clips" in (*first[1].split(", "), *kind.split(", "))
            way_out = "--prompt '', the empty prompt" if in_words else "--class_id none"
            raise UnequalRunsError(
                f"{conditioned_otherwise(first[1], kind)} ({first[0]}, {spec}): scores of two kinds mean two things; "
                f"give {way_out}, which all can be told, or compare them apart"
            )
