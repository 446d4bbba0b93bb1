"""One comparison: open the runs, draw the same clips of each, measure all by one judge."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videodiff.comparison.drawing import Draws, NonFiniteDrawError, Progress
from videodiff.comparison.drift import drift
from videodiff.comparison.judging import Judge, asked_protocol, frames_of
from videodiff.comparison.nearest import nearest, training_clips
from videodiff.comparison.published import published_rows
from videodiff.comparison.reconstruction import Reconstruction, stage_training
from videodiff.comparison.record import Clips, Comparison, Draw, ModelClips, ModelRecord, Training
from videodiff.comparison.reference import argument_of, data_rule, departures
from videodiff.comparison.runs import (
    Run,
    build_reference,
    check_equal,
    check_frames,
    checkpoint_record,
    open_runs,
)
from videodiff.comparison.settings import Settings, make_sampler
from videodiff.comparison.training import together, training_batch, training_of
from videodiff.conditioning.asked import request_of
from videodiff.conditioning.request import recorded
from videodiff.cost.real_run import flop_of_sampling, flop_per_step, peak_of_sampling
from videodiff.data.real_clips import differences
from videodiff.diffusion import Sampler
from videodiff.evaluation.of_run import told_of
from videodiff.evaluation.protocol import Protocol
from videodiff.evaluation.results import versions
from videodiff.evaluation.sampling import Batch
from videodiff.precision import default_precision


def compare_runs(
    runs: Sequence[str],
    settings: Settings | None = None,
    progress: Progress | None = None,
    command: str = "",
    claim: Callable[[dict[str, Any]], None] | None = None,
) -> tuple[Comparison, Clips]:
    """Put runs beside each other: same real clips, noise, samplers, steps and protocol.

    Args:
        runs: whatever ``resolve_checkpoint`` takes.
        settings: what is asked for.
        progress: called as ``progress(what, done, total)``.
        command: that was given, for the record.
        claim: called before anything is drawn with what tells this comparison from others: ``protocol``, ``settings``
            and ``data`` of its record, and ``runs``, each ``{"run", "step"}``; it may refuse by raising.

    Returns:
        The record, and the clips that a page shows.

    Raises:
        ValueError: if no run can be used, or the runs are not of the same data and clips.
        RuntimeError: if every model fails while it draws.
    """
    settings, progress = settings or Settings(), progress or (lambda what, done, total: None)
    opened, skipped = open_runs(runs, settings.trusted)
    if not opened:
        reasons = "; ".join(f"{entry['run']}: {entry['reason']}" for entry in skipped)
        raise ValueError(f"none of the {len(runs)} runs can be compared ({reasons})")
    check_frames(opened, frames_of(settings))
    frames = min(run.frames for run in opened)
    split = asked_protocol(opened[0].data, settings, frames).split
    data = opened[0].data
    if settings.reference:
        data = build_reference(opened, settings.reference, split, settings.trusted)
    else:
        check_equal(opened, split)
    device = pick_device(settings.device)
    judge = Judge(data, settings, frames, device, progress)
    asked = settings.record()
    check_told(opened, settings, judge.protocol.frames)
    if settings.told:
        asked["told"] = recorded(settings.told)
    if settings.reference:
        asked["reference"] = data_rule(data) | {name: argument_of(data, name) for name in settings.reference}
    asked |= {
        "device": device.type,
        "precision": default_precision(device.type),
        "num_clips": judge.count,
        "frames": judge.protocol.frames,
        "weights": [run.sha256 for run in opened],
    }
    protocol = judge.protocol.record(judge.checksums[judge.detectors[0].name])
    if claim is not None:
        named = [{"run": run.spec, "step": run.step} for run in opened]
        claim({"protocol": protocol, "settings": asked, "data": judge.facts, "runs": named})
    measured: list[tuple[Run, ModelRecord, ModelClips]] = []
    for run in opened:
        try:
            measured.append((run, *Contestant(run, judge, settings, device, progress).measure()))
        except NonFiniteDrawError as error:
            skipped.append({"run": run.spec, "reason": str(error)})
            print(f"videodiff: skipped {run.spec}: {error}", file=sys.stderr, flush=True)
        finally:
            run.model.to("cpu")
    if not measured:
        raise RuntimeError(f"none of the models drew videos ({'; '.join(s['reason'] for s in skipped)})")
    find_nearest(measured, judge.protocol, settings.seed, progress)
    comparison = Comparison(
        protocol=protocol,
        settings={**asked, "notes": judge.notes},
        data=judge.facts,
        models=[record for _, record, _ in measured],
        baselines=judge.baselines(),
        skipped=skipped,
        published=published_rows(judge.facts),
        versions=versions(),
        command=command,
    )  # fmt: skip
    return comparison, Clips(
        judge.shown(settings.shown), {record.name: shown for _, record, shown in measured}
    )


def check_told(runs: Sequence[Run], settings: Settings, frames: int) -> None:
    """Refuse, before anything is drawn, what a model cannot be told, or one that draws only when it is told more.

    Raises:
        ValueError: naming its run.
    """
    for run in runs:
        try:
            for length in (frames, *([settings.long_frames] if settings.long_frames else [])):
                asked = request_of(settings.told, run.model.video_shape, length)
                run.model.check_request(asked, length)
        except ValueError as error:
            raise ValueError(f"{run.spec}: {error}") from error


def find_nearest(
    measured: Sequence[tuple[Run, ModelRecord, ModelClips]], protocol: Protocol, seed: int, progress: Progress
) -> None:
    """Give every record and its clips the nearest training clip of each shown sample.

    The training clips are each model's own, at its own size and pace. Models that were trained on the same ones are
    searched together: these are read once.
    """
    groups: list[list[tuple[Run, ModelRecord, ModelClips]]] = []
    for entry in measured:
        if not len(entry[2].samples):
            continue
        mine = told_of(entry[0].data, "train")
        for group in groups:
            theirs = told_of(group[0][0].data, "train")
            if mine["limits"]["train"] == theirs["limits"]["train"] and not differences(
                mine, theirs, "train"
            ):
                group.append(entry)
                break
        else:
            groups.append([entry])
    for group in groups:
        source, batches, count = training_clips(group[0][0].data, protocol, seed)
        found, clips = nearest(
            torch.cat([shown.samples for _, _, shown in group]), told(batches, count, progress)
        )
        for _, record, shown in group:
            its, found = found[: len(shown.samples)], found[len(shown.samples) :]
            shown.nearest, clips = clips[: len(its)], clips[len(its) :]
            record.nearest = [
                {"sample": i, "train": place, "name": source.name(place), "distance": distance}
                for i, (place, distance) in enumerate(its)
            ]


def told(batches: Iterable[Batch], total: int, progress: Progress) -> Iterator[Batch]:
    """The same batches, with progress."""
    for batch in batches:
        progress("training clips searched", batch.places[-1] + 1, total)
        yield batch


class Contestant:
    """One model of a comparison, measured in all that a comparison tells.

    Args:
        run: with its model.
        judge: of all models.
        settings: of all models.
        device: where the model draws.
        progress: see :func:`compare_runs`.
    """

    def __init__(
        self, run: Run, judge: Judge, settings: Settings, device: torch.device, progress: Progress
    ) -> None:
        self.run, self.judge, self.settings = run, judge, settings
        self.device, self.progress = device, progress
        self.model = run.model.to(device)
        self.samples = torch.zeros(0)
        self.warnings = list(run.warnings)
        if settings.reference:
            self.warnings += departures(data_rule(run.data), data_rule(judge.data))

    def measure(self) -> tuple[ModelRecord, ModelClips]:
        """Draw, judge, and count."""
        settings, run = self.settings, self.run
        pairs = [(name, steps) for name in settings.samplers for steps in settings.steps]
        draws = [self.draw(make_sampler(*pair), keep=pair == pairs[0]) for pair in pairs]
        stage, rebuilt = self.first_stage()
        long, drifts = self.long_video(make_sampler(*pairs[0]))
        record = ModelRecord(
            name=run.name,
            run=run.spec,
            model=type(self.model).__name__,
            checkpoint=checkpoint_record(run),
            parameters=parameters(self.model.parts()),
            training=self.training(),
            draws=draws,
            first_stage=stage,
            drift=drifts,
            data=data_rule(run.data),
            warnings=list(dict.fromkeys(self.warnings)),
        )
        return record, ModelClips(self.samples, rebuilt, long=long)

    def draws(self, sampler: Sampler, frames: int, count: int, what: str) -> Draws:
        """Clips of this model to be drawn."""
        labels = self.judge.labels(self.model, self.run.data.class_names)
        return Draws(
            self.model, sampler, frames, count, self.settings.seed, self.settings.batch_size,
            self.settings.guidance, labels, self.judge.protocol.rounding,
            lambda done: self.progress(f"{self.run.name}: {what}", done, count),
            request_of(self.settings.told, self.model.video_shape, frames),
        )  # fmt: skip

    def draw(self, sampler: Sampler, keep: bool) -> Draw:
        """One set of clips, judged; the first ones are kept for the page."""
        judge, kept = self.judge, []
        name = f"{type(sampler).__name__} {sampler.num_steps}"
        draws = self.draws(sampler, judge.protocol.frames, judge.count, f"clips ({name})")

        def through() -> Any:
            left = self.settings.shown if keep else 0
            for batch in draws:
                if left > 0:
                    kept.append(batch.clips[:left])
                    left -= len(batch.clips)
                yield batch._replace(clips=judge.sized(batch.clips[:, :: judge.protocol.subsample]))

        metrics, said = judge.judge(judge.look(through(), f"{self.run.name} judged", judge.count))
        self.warnings += said
        if keep:
            size = (0, judge.protocol.frames, *self.model.video_shape[-2:], 3)
            self.samples = torch.cat(kept) if kept else torch.zeros(size, dtype=torch.uint8)
        first = list(range(min(draws.batch_size, draws.count)))
        return Draw(
            sampler=type(sampler).__name__,
            steps=sampler.num_steps,
            frames=judge.protocol.frames,
            count=judge.count,
            metrics=metrics,
            flop_per_video=flop_of_sampling(partial(draws.clips, [0]), sampler),
            guidance=self.model.guidance_scale if self.settings.guidance is None else self.settings.guidance,
            timing={
                "seconds_per_video": draws.seconds_per_video,
                "peak_memory_bytes": peak_of_sampling(
                    self.model, self.device, partial(draws.clips, first), sampler
                ),
                "batch_size": min(self.settings.batch_size, judge.count),
            },
        )

    def first_stage(self) -> tuple[dict[str, Any] | None, Tensor | None]:
        """Reconstruction of the real clips by the first stage, and its training."""
        stage = self.model.first_stage
        if stage is None:
            return None, None
        self.progress(f"{self.run.name}: reconstructions", 0, len(self.judge.plan))
        rule = self.judge.data.selection.rule.resize
        judged = Reconstruction(stage, self.device, self.settings.shown, rule)
        metrics = judged.measure(self.judge.clips())
        kept = torch.cat(judged.kept) if judged.kept else None
        return {"training": stage_training(stage), "metrics": metrics}, kept

    def long_video(self, sampler: Sampler) -> tuple[Tensor | None, list[dict[str, Any]]]:
        """Long videos and their drift; the page gets the first two."""
        frames, count = self.settings.long_frames, self.settings.long_videos
        if not frames:
            return None, []
        draws = self.draws(sampler, frames, count, f"videos of {frames} frames")
        videos = torch.cat([batch.clips for batch in draws])
        return videos[:2], drift(self.judge.sized(videos), self.judge, self.settings.batch_size)

    def training(self) -> Training:
        """What the weights cost; of a pipeline what those of all its runs did together."""
        run = self.run
        if not run.runs:
            return training_of(run.path, run.config, run.step, self.flop_per_step())
        parts = []
        for part in run.runs:
            config = {"data": {"init_args": {"batch_size": part["batch_size"]}}}
            parts.append(training_of(Path(part["checkpoint"]), config, part["step"]))
        return together(parts)

    def flop_per_step(self) -> int | None:
        """Of one optimizer step; None where the run does not say its batch size."""
        size = getattr(self.run.data, "batch_size", None)
        if not size:
            return None
        return flop_per_step(self.model, training_batch(self.run.data, self.device), size)


def parameters(parts: Mapping[str, torch.nn.Module]) -> dict[str, int]:
    """Parameters by part of a model."""
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    return {name: count for name, count in counts.items() if count}


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one.

    Raises:
        ValueError: for another name, or CUDA without a device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"--device must be auto, cpu or cuda, got {name!r}")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: no CUDA device here; use --device cpu")
    return torch.device(name)
