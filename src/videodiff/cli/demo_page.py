"""The page of a demo while it runs: real clips at once, then those of the shipped models, then of each training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videodiff.cli.demo_plan import MODELS, Plan, paper_name

if TYPE_CHECKING:
    from videodiff.cli.side_by_side import Training

SHOWN = 8  # clips of each model while it grows
EVERY_S = 15.0  # between two pages where nothing else happens, and what a page waits before it reloads itself
TITLE = "VDM, LVDM and PVDM on bouncing digits"
FROZEN = "frozen"
WORDS = {"waiting": "waits", "running": "runs", "done": "trained"}


class DemoPage:
    """What the page shows so far.

    Args:
        path: of the page.
        overlays: of every model's config.
        steps: of the sampler.
        sampler: name.

    Attributes:
        shipped: name on the page -> ``demo/NAME`` of the shipped models that can stand beside this demo's.
        runs: name on the page -> run of each model whose clips are shown.
        now: what happens at the moment.
    """

    def __init__(self, path: Path, overlays: Sequence[str], steps: int, sampler: str) -> None:
        import torch

        from videodiff.comparison import Clips, Settings
        from videodiff.comparison.compare import asked_protocol, real_clips
        from videodiff.comparison.record import ModelClips
        from videodiff.comparison.settings import make_sampler
        from videodiff.config import build_data, find_config, read_configs
        from videodiff.evaluation.measurement import Measurement
        from videodiff.metrics.baselines import frozen_clips

        names = (next(iter(MODELS)), *overlays)
        data = build_data(read_configs([find_config(name) for name in names], "fit"))
        self.path, self.now = path, "Real clips are there; models follow."
        self.device = torch.device("cpu")
        self.settings = Settings(
            num_clips=SHOWN, samplers=(sampler,), steps=(steps,), batch_size=SHOWN, shown=SHOWN
        )
        self.sampler = make_sampler(sampler, steps)
        protocol = asked_protocol(data, self.settings, data.num_frames)
        self.measurement = Measurement(data, protocol, SHOWN, may_fall_back=True, batch_size=SHOWN)
        real = real_clips(self.measurement, SHOWN)
        self.clips = Clips(real, {FROZEN: ModelClips(frozen_clips(real))})
        self.plan: Plan | None = None
        self.shipped: dict[str, str] = {}
        self.runs: dict[str, Any] = {}
        self.notes: list[str] = []
        self.written = 0.0

    def trained_name(self, model: str) -> str:
        """``VDM (5 min)``: of a model of this demo, by its training's time."""
        if self.plan is None:
            return paper_name(model)
        name = f"{paper_name(model)} ({short_time(self.plan.model_seconds(model))})"
        return f"{name} here" if name in self.shipped else name

    def names(self) -> list[str]:
        """Of all columns, in the order of their colours."""
        found = []
        for model in MODELS:
            found.append(self.trained_name(model))
            found += [name for name, spec in self.shipped.items() if spec.endswith(f"/{model}")]
        return [*found, FROZEN]

    def add_shipped(self, spec: str) -> str:
        """Show the clips of a model that comes with the package; a line about it.

        Raises:
            UnequalRunsError: if it was trained on other clips than this demo's models.
        """
        from videodiff.checkpoints.shipped import shipped_record
        from videodiff.comparison.reference import UnequalRunsError
        from videodiff.comparison.runs import open_run
        from videodiff.data.real_clips import differences
        from videodiff.evaluation.real import data_record

        run, record, split = open_run(spec), shipped_record(spec), self.measurement.protocol.split
        ours = self.measurement.data
        different = differences(data_record(ours, split), data_record(run.data, split), split)
        if different or run.size != "{}x{}".format(*ours.frame_size):
            raise UnequalRunsError(f"{spec} was trained on other clips ({', '.join(different) or run.size})")
        name = f"{paper_name(spec.partition('/')[2])} ({short_time(60 * record['minutes'])})"
        run.name = name
        self.shipped[name] = spec
        self.show(name, run)
        line = f"{name}: comes with videodiff as {spec}, trained on {record['machine']}"
        self.notes.append(f"{line}.")
        return line

    def add_trained(self, model: str, folder: Path) -> None:
        """Show the clips of a model that this demo has trained."""
        from videodiff.comparison.runs import open_run

        run = open_run(str(folder))
        run.name = self.trained_name(model)
        self.show(run.name, run)

    def show(self, name: str, run: Any) -> None:
        """Generate a model's clips for the page."""
        import torch

        from videodiff.comparison.measured_model import MeasuredModel
        from videodiff.comparison.reconstruction import reconstruct
        from videodiff.comparison.record import ModelClips

        measured = MeasuredModel(
            run, self.measurement, self.settings, self.device, lambda what, done, total: None
        )
        clips = measured.clips(self.sampler, run.frames, SHOWN, "clips")
        stage, rebuilt = run.model.first_stage, None
        if stage is not None:
            rebuilt = reconstruct(stage, self.clips.real, self.device)
        self.clips.models[name] = ModelClips(torch.cat([batch.clips for batch in clips]), rebuilt)
        self.runs[name] = run

    def add_first_stage(self, model: str, folder: Path) -> None:
        """Show what a first stage makes of the real clips; its model generates none yet."""
        import torch

        from videodiff.checkpoints import FirstStage
        from videodiff.comparison.reconstruction import reconstruct
        from videodiff.comparison.record import ModelClips

        rebuilt = reconstruct(FirstStage(str(folder)), self.clips.real, self.device)
        self.clips.models[self.trained_name(model)] = ModelClips(torch.zeros_like(rebuilt[:0]), rebuilt)

    def write(self, trainings: Sequence[Training] = (), ended: str = "") -> Path:
        """Write the page as it stands; with the words of an ending it does not reload itself any more."""
        from videodiff.report.growing import Growing, write_growing_page

        growing = Growing(
            TITLE,
            ended or self.now,
            self.stage_lines(trainings),
            self.notes,
            time.time(),
            0.0 if ended else EVERY_S,
        )
        self.written = time.monotonic()
        return write_growing_page(self.comparison(trainings), self.clips, growing, self.path)

    def beat(self, now: str, trainings: Sequence[Training] = ()) -> None:
        """Say what happens now, on a page that is written anew if the last one is old enough."""
        if time.monotonic() - self.written > EVERY_S:
            self.now = now
            self.write(trainings)

    def stage_lines(self, trainings: Sequence[Training]) -> list[Any]:
        """How far the trainings are, by what they write down."""
        from videodiff.comparison.training import read_lines
        from videodiff.report.growing import StageLine

        found = []
        for model in MODELS:
            for stage in MODELS[model]:
                training = next((each for each in trainings if each.name == stage.config), None)
                if training is None or self.plan is None:
                    continue
                lines = [line for line in read_lines(training.folder) if "train/loss" in line]
                last = lines[-1] if lines else {}
                state = WORDS.get(training.state) or f"failed: {training.reason}"
                found.append(
                    StageLine(
                        stage.title, state, int(last.get("step", 0)), self.plan.steps(stage), last.get("train/loss"),
                        training.seconds,
                    )
                )  # fmt: skip
        return found

    def comparison(self, trainings: Sequence[Training]) -> Any:
        """The columns of the page as a comparison in which nothing is measured yet, with the losses so far."""
        from videodiff.comparison import Comparison, ModelRecord
        from videodiff.comparison.record import Training as Cost

        losses = {each.name: Cost(0, curves=curves(each.folder)) for each in trainings}
        of_model = {self.trained_name(model): MODELS[model] for model in MODELS}
        records = []
        for name in self.names():
            stages = of_model.get(name, ())
            last = losses.get(stages[-1].config, Cost(0)) if stages else Cost(0)
            first = losses.get(stages[0].config) if len(stages) > 1 else None
            stage = {"training": vars(first)} if first is not None else None
            records.append(ModelRecord(name, "", "", {}, {}, last, [], stage))
        return Comparison({}, {}, {}, records)


def curves(folder: Path) -> dict[str, list[list[float]]]:
    """The losses of a run so far."""
    from videodiff.comparison.training import CURVES, curve_of, read_lines

    lines = read_lines(folder)
    return {name: curve for name in CURVES if (curve := curve_of(lines, name))}


def short_time(seconds: float) -> str:
    """``8 s``, ``5 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
