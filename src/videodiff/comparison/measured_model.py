"""One model of a comparison, measured in all that a comparison tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videodiff.comparison.drift import drift
from videodiff.comparison.reconstruction import Reconstruction, stage_training
from videodiff.comparison.record import Draw, ModelClips, ModelRecord, Training
from videodiff.comparison.reference import data_rule, departures
from videodiff.comparison.runs import Run, checkpoint_record
from videodiff.comparison.settings import Settings, make_sampler
from videodiff.comparison.training import together, training_batch, training_of
from videodiff.conditioning.asked import request_of
from videodiff.cost.real_run import flop_of_sampling, flop_per_step, peak_of_sampling
from videodiff.diffusion import Sampler
from videodiff.evaluation.generated import GeneratedClips
from videodiff.evaluation.measurement import Measurement, Progress


class MeasuredModel:
    """One model of a comparison, measured in all that a comparison tells.

    Args:
        run: with its model.
        measurement: of all models.
        settings: of all models.
        device: where the model draws.
        progress: see :func:`compare_runs`.
    """

    def __init__(
        self, run: Run, measurement: Measurement, settings: Settings, device: torch.device, progress: Progress
    ) -> None:
        self.run, self.measurement, self.settings = run, measurement, settings
        self.device, self.progress = device, progress
        self.model = run.model.to(device)
        self.samples = torch.zeros(0)
        self.warnings = list(run.warnings)
        if settings.reference:
            self.warnings += departures(data_rule(run.data), data_rule(measurement.data))

    def measure(self) -> tuple[ModelRecord, ModelClips]:
        """Generate, measure, and count."""
        settings, run = self.settings, self.run
        pairs = [(name, steps) for name in settings.samplers for steps in settings.steps]
        ways = [(make_sampler(*pair), scale) for pair in pairs for scale in self.scales]
        draws = [self.measured_clips(*way, keep=way is ways[0]) for way in ways]
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

    @property
    def scales(self) -> tuple[float | None, ...]:
        """The scales of guidance that were asked for, of a model on which they have an effect; None is its own."""
        return self.settings.scales if self.model.takes_guidance else (None,)

    def clips(self, sampler: Sampler, frames: int, count: int, what: str) -> GeneratedClips:
        """Clips of this model that are generated from noise, at the first scale."""
        settings, measurement = self.settings, self.measurement
        return GeneratedClips(
            self.model, frames, range(count), settings.seed, settings.batch_size,
            request_of(settings.conditions, self.model.generated, frames),
            measurement.labels(self.model, self.run.data.class_names), measurement.protocol.rounding,
            sampler, self.scales[0], progress=self.report(what, count),
            actions=measurement.actions(self.model) if frames == measurement.protocol.frames else None,
            captions=measurement.captions(self.model),
        )  # fmt: skip

    def report(self, what: str, count: int) -> Callable[[int], None]:
        """Progress by the name of this model."""
        return lambda done: self.progress(f"{self.run.name}: {what}", done, count)

    def measured_clips(self, sampler: Sampler, guidance: float | None, keep: bool) -> Draw:
        """One set of clips, measured; the first ones are kept for the page."""
        measurement, kept, settings = self.measurement, [], self.settings
        name = f"{type(sampler).__name__} {sampler.num_steps}"
        if len(self.scales) > 1:
            name += f", guidance {guidance:g}"
        asked = request_of(settings.conditions, self.model.generated, measurement.protocol.frames)
        clips = measurement.generated(
            self.model, asked, self.run.data.class_names, sampler=sampler, guidance=guidance,
            progress=self.report(f"clips ({name})", measurement.count),
        )  # fmt: skip

        def through() -> Any:
            # Of a prediction the first draw of each clip, beside the real clips of the page.
            left, draws = settings.shown if keep else 0, measurement.protocol.draws
            for batch in clips:
                first = [k for k, place in enumerate(batch.places) if place % draws == 0][:left]
                if first:
                    kept.append(batch.clips[first])
                    left -= len(first)
                yield batch

        side = measurement.observe_generated(clips, f"{self.run.name} measured", through())
        result = measurement.result(side)
        self.warnings += result.warnings
        if keep:
            size = (0, measurement.protocol.frames, *self.model.video_shape[-2:], 3)
            self.samples = torch.cat(kept) if kept else torch.zeros(size, dtype=torch.uint8)
        return Draw(
            sampler=type(sampler).__name__,
            steps=sampler.num_steps,
            frames=measurement.protocol.frames,
            count=measurement.count,
            metrics=result.metrics,
            flop_per_video=flop_of_sampling(partial(clips.clips, [0]), sampler),
            guidance=self.model.guidance_scale if guidance is None else guidance,
            conditioned_on=told_in_words(self.run, measurement, settings, guidance),
            timing={
                "seconds_per_video": clips.seconds_per_video,
                "peak_memory_bytes": peak_of_sampling(
                    self.model, self.device, partial(clips.clips, clips.batches[0]), sampler
                ),
                "batch_size": min(self.settings.batch_size, measurement.count),
            },
        )

    def first_stage(self) -> tuple[dict[str, Any] | None, Tensor | None]:
        """Reconstruction of the real clips by the first stage, and its training."""
        stage = self.model.first_stage
        if stage is None:
            return None, None
        self.progress(f"{self.run.name}: reconstructions", 0, len(self.measurement.plan))
        rule = self.measurement.data.selection.rule.resize
        rebuilt = Reconstruction(stage, self.device, self.settings.shown, rule)
        metrics = rebuilt.measure(self.measurement.clips())
        kept = torch.cat(rebuilt.kept) if rebuilt.kept else None
        return {"training": stage_training(stage), "metrics": metrics}, kept

    def long_video(self, sampler: Sampler) -> tuple[Tensor | None, list[dict[str, Any]]]:
        """Long videos and their drift; the page gets the first two."""
        frames, count = self.settings.long_frames, self.settings.long_videos
        if not frames:
            return None, []
        clips = self.clips(sampler, frames, count, f"videos of {frames} frames")
        videos = torch.cat([batch.clips for batch in clips])
        return videos[:2], drift(self.measurement.sized(videos), self.measurement)

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


def told_in_words(run: Run, measurement: Measurement, settings: Settings, guidance: float | None) -> str:
    """What the clips of a run are conditioned on."""
    asked = {**settings.conditions, "guidance": guidance}
    return measurement.told(run.model, asked, run.data.class_names)


def parameters(parts: Mapping[str, torch.nn.Module]) -> dict[str, int]:
    """Parameters by part of a model."""
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    return {name: count for name, count in counts.items() if count}
