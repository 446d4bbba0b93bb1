"""The runs of a comparison: opened, checked against each other, named."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from videodiff.checkpoints import load_checkpoint, resolve_checkpoint, trusted_config
from videodiff.checkpoints.pipeline import facts_of_training, identity
from videodiff.checkpoints.run import build_model, load_weights
from videodiff.comparison.reference import UnequalRunsError, check_classes, options_for, reference_arguments
from videodiff.comparison.training import last_step
from videodiff.config import BuildError, build_data, without_latents
from videodiff.data.real_clips import differences
from videodiff.evaluation.choice import why_not_measured
from videodiff.evaluation.real import data_record
from videodiff.run_layout import CHECKPOINTS, PIPELINE, WEIGHTS, run_folder
from videodiff.sampling.video_model import generates_video


@dataclass
class Run:
    """A run that can be compared.

    Args:
        spec: as the user named it.
        path: of the checkpoint.
        config: stored in it.
        step: optimizer steps of the checkpoint; None for weights without a history.
        ema: whether the weights are averages.
        model: in evaluation mode, on the CPU.
        data: of the run's config.
        name: in the tables.
        warnings: what a reader must know.
        runs: those of a pipeline, as :func:`~videodiff.checkpoints.pipeline.join` tells them; else empty.
    """

    spec: str
    path: Path
    config: dict[str, Any]
    step: int | None
    ema: bool
    model: Any
    data: Any
    name: str = ""
    warnings: list[str] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def sha256(self) -> str:
        """Of the checkpoint file, or of all that a pipeline names, read once: some seconds per GB."""
        return identity(self.path)

    @property
    def frames(self) -> int:
        """Of the clip that the model draws."""
        return int(self.model.video_shape[1])

    @property
    def size(self) -> str:
        """Of the frames that the model draws, ``64x64``."""
        return "{}x{}".format(*self.model.video_shape[-2:])


def open_runs(
    specs: Sequence[str], trusted: Sequence[str] = (), opened: Mapping[str, Run] | None = None
) -> tuple[list[Run], list[dict[str, str]]]:
    """Every run that can be used, and ``{"run", "reason"}`` of the others, which are named on stderr too.

    Runs that are open already, by what `specs` calls them, keep the names they have.
    """
    known, runs, skipped = opened or {}, [], []
    for spec in specs:
        try:
            runs.append(known[spec] if spec in known else open_run(spec, trusted))
        except (ValueError, OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            skipped.append({"run": spec, "reason": reason})
            print(f"videodiff: skipped {spec}: {reason}", file=sys.stderr, flush=True)
    for run, name in zip(runs, names_of(runs), strict=True):
        run.name = run.name or name
        for warning in run.warnings:
            print(f"videodiff: warning: {run.name}: {warning}", file=sys.stderr, flush=True)
    return runs, skipped


def open_run(spec: str, trusted: Sequence[str] = ()) -> Run:
    """Model and data of a run, its checkpoint verified.

    Raises:
        FileNotFoundError: if there is no such run, or it has no checkpoint yet.
        ValueError: for a damaged checkpoint, or a model that generates no videos.
    """
    path = resolve_checkpoint(spec)
    checkpoint = load_checkpoint(path)
    config = trusted_config(checkpoint, path, trusted)
    section = config.get("model")
    if not isinstance(section, dict) or not isinstance(config.get("data"), dict):
        raise ValueError(f"checkpoint {path}: its config names no model or no data")
    model = build_model(section, path, trusted)
    if not generates_video(model):
        raise ValueError(
            f"{type(model).__name__} reconstructs videos and generates none; compare the models trained on its latents"
        )
    load_weights(model, checkpoint["state_dict"], path)
    try:
        data = build_data(without_latents(config), trusted)
    except BuildError as error:
        raise ValueError(f"checkpoint {path}: its data cannot be built: {error}") from error
    if reason := why_not_measured(data, model):
        raise ValueError(reason)
    step = checkpoint.get("global_step")
    run = Run(spec, path, config, step, bool(checkpoint.get("ema")), model.eval(), data)
    run.runs = checkpoint.get("videodiff", {}).get("runs", [])
    if warning := unfinished(run):
        run.warnings.append(warning)
    return run


def build_reference(runs: Sequence[Run], given: Mapping[str, Any], split: str, trusted: Sequence[str]) -> Any:
    """The data whose real clips all runs are judged on: what is given, and what all runs have in common.

    Raises:
        UnequalRunsError: if they differ in something that is not given, or a model does not know its classes.
        FileNotFoundError: if there are no such data.
        ValueError: if they cannot be built.
    """
    arguments = reference_arguments(runs, given, split)
    section = {"class_path": "videodiff.data.VideoDataModule", "init_args": {**arguments, "num_workers": 0}}
    try:
        data = build_data({"data": section}, trusted)
    except BuildError as error:
        raise ValueError(f"the reference cannot be built: {error}") from error
    check_classes(runs, data)
    return data


def unfinished(run: Run) -> str | None:
    """``unfinished: 1200 of 4000 steps``, or None for a run that came to its end or never had one."""
    found = [
        f"unfinished: {left}" + (f" of {part['run']}" if run.runs else "")
        for part in parts_of(run)
        if (left := steps_left(Path(part["checkpoint"]), part["step"], part["max_steps"]))
    ]
    return "; ".join(found) or None


def steps_left(checkpoint: Path, step: int | None, wanted: Any) -> str | None:
    """``1200 of 4000 steps`` of a run that has not come to its end."""
    if step is None or not isinstance(wanted, int) or wanted < 0:
        return None
    done = max(step, last_step(run_folder(checkpoint)))  # best.ckpt of a finished run lies before its end
    return f"{done} of {wanted} steps" if done < wanted else None


def parts_of(run: Run) -> list[dict[str, Any]]:
    """The runs that were trained: those of a pipeline, or this one alone."""
    own = {"run": run.spec, "checkpoint": str(run.path), "step": run.step, **facts_of_training(run.config)}
    return run.runs or [own]


def name_of(checkpoint: Path) -> str:
    """A run's name, its config's or the one it was given: ``vdm_digits`` of ``runs/vdm_digits/2``; else the file's."""
    is_run = checkpoint.parent.name == CHECKPOINTS or checkpoint.name in (WEIGHTS, PIPELINE)
    if not is_run:
        return checkpoint.stem
    named = (part for part in reversed(run_folder(checkpoint.resolve()).parts) if not part.isdecimal())
    return next(named, checkpoint.stem)


def names_of(runs: Sequence[Run]) -> list[str]:
    """Each run's own name; with the run as it was given where that is not unique; numbered if that is not either."""
    own = [name_of(run.path) for run in runs]
    many = Counter(own)
    names = [name if many[name] == 1 else f"{name} ({run.spec})" for name, run in zip(own, runs, strict=True)]
    seen: Counter[str] = Counter()
    for i, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[i] = f"{name} {seen[name]}"
    return names


def check_equal(runs: Sequence[Run], split: str) -> None:
    """Refuse runs of different real clips.

    Args:
        runs: that were opened.
        split: that the real clips are taken from.

    Raises:
        FileNotFoundError: if the data are not where a run says.
        UnequalRunsError: in one line with the runs, what they differ in and what to do.
    """
    first = runs[0]
    for run in runs[1:]:
        different = differences(data_record(first.data, split), data_record(run.data, split), split)
        if not different and first.size != run.size:
            different = [f"resolution of generated clips {first.size} against {run.size}"]
        if different:
            words = [text.split()[0] for text in different]
            names = ["root" if word in ("dataset", "layout", "other") else word for word in words]
            raise UnequalRunsError(
                f"{first.spec} and {run.spec} cannot be compared: {', '.join(different)}; leave one out, or compare "
                f"all on one reference with {options_for(dict.fromkeys(names))}"
            )


def check_frames(runs: Sequence[Run], frames: int | None) -> None:
    """Refuse runs that generate clips of different length unless the number of frames is given.

    Raises:
        UnequalRunsError: in one line with what to do.
    """
    if frames is None and len({run.frames for run in runs}) > 1:
        clips = ", ".join(f"{run.spec} {run.frames}" for run in runs)
        least = min(run.frames for run in runs)
        raise UnequalRunsError(
            f"the runs generate clips of different length ({clips} frames); give --frames {least}"
        )


def checkpoint_record(run: Run) -> dict[str, Any]:
    """What identifies the weights."""
    found = {"file": run.path.as_posix(), "sha256": run.sha256, "step": run.step, "ema": run.ema}
    names = ("run", "checkpoint", "step", "ema", "weights")
    runs = [{name: part[name] for name in names} for part in run.runs]
    return found | ({"runs": runs} if runs else {})
