"""validate, test, predict: one call of the trainer on a trained model and its data."""

import argparse
import json
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from videodiff import atomic
from videodiff.cli import protocols
from videodiff.cli.condition import told_by
from videodiff.cli.launch import RUN_VARIABLE, build, rank
from videodiff.cli.outputs import BOOKKEEPING, Leftovers, begun, folder_of_run, make_folder
from videodiff.config.loader import find_config, read_configs
from videodiff.usage import UsageError

# Arguments of the data module that decide how fast clips come, not which.
HOW_DATA_COME = ("num_workers",)


def look(verb: str, options: argparse.Namespace, rest: list[str]) -> int:
    """Validate, test or predict with a trained model; model and data come from the checkpoint unless overridden."""
    from videodiff.checkpoints import (
        RunLock,
        load_checkpoint,
        load_weights,
        resolve_checkpoint,
        trusted_config,
    )

    if options.ckpt_path is None:
        raise UsageError(
            f"{verb} needs --ckpt_path RUN (a run directory, RUN/best, RUN/last or a checkpoint file)"
        )
    if verb == "test":
        protocols.check(options)
    checkpoint = resolve_checkpoint(options.ckpt_path)
    content = load_checkpoint(checkpoint)
    config = trusted_config(content, checkpoint, options.trust)
    stored = {k: v for k, v in config.items() if k in ("model", "data", "seed_everything")}
    run_directory = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    leftovers = Leftovers(options.out or run_directory / verb)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "config.yaml", *(find_config(name) for name in options.config)]
        files[0].write_text(yaml.safe_dump(stored))
        try:
            written = read_configs(files, verb, rest, options.trust)
        except UsageError as error:
            raise UsageError(str(error).replace(str(files[0]), f"config of {checkpoint}")) from None
        told = told_by(options) if verb == "predict" else {}
        plan = plan_of(checkpoint, written, told) if verb == "predict" else None
        if verb == "test":
            atomic.refuse_link(run_directory / "eval")
        out = results_directory(verb, options.out, run_directory, plan)
        try:
            with ExitStack() as held:
                cli = build(verb, out, files, rest, options.trust, written)
                tell(cli.model, told)
                if plan is not None:
                    from videodiff.callbacks import PredictionWriter
                    from videodiff.callbacks.prediction_journal import PredictionJournal

                    if rank() == 0:
                        held.enter_context(RunLock(out))
                        atomic.clear_parts(out)
                        PredictionJournal(out).begin(plan)
                    cli.trainer.callbacks.append(PredictionWriter(out))
                judge = None
                if verb == "test":
                    folders = [out] if options.out is not None else [out, run_directory]
                    judge = protocols.attach(options, cli, folders, checkpoint, content)
                load_weights(cli.model, content["state_dict"], checkpoint)
                result = getattr(cli.trainer, verb)(cli.model, datamodule=cli.datamodule)
        except BaseException:
            if rank() == 0:
                leftovers.remove(out)
            raise
    if judge is not None and rank() == 0:
        protocols.tell(judge.result)
    code = report(verb, out, checkpoint, content.get("global_step"), result)
    if rank() == 0:
        protocols.tell_beside(judge)
    return code


def tell(model: Any, told: dict[str, Any]) -> None:
    """Give a model what ``predict`` asks of every clip.

    Raises:
        ValueError: for a model that reconstructs clips, which are told nothing.
    """
    from videodiff.sampling.video_model import video_model

    if told:
        video_model(model, f"--{next(iter(told))}: the model").asked = told


def plan_of(checkpoint: Path, written: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Everything that decides what is predicted, as JSON holds it."""
    from videodiff.checkpoints.pipeline import identity
    from videodiff.conditioning.request import recorded

    data = dict(written.get("data") or {})
    data["init_args"] = {k: v for k, v in (data.get("init_args") or {}).items() if k not in HOW_DATA_COME}
    plan = {
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": identity(checkpoint),
        "model": written.get("model"),
        "data": data,
        "seed": written.get("seed_everything"),
        "precision": (written.get("trainer") or {}).get("precision"),
        **({"told": recorded(told)} if told else {}),
    }
    return json.loads(json.dumps(plan, default=str))


def results_directory(verb: str, out: Path | None, run_directory: Path, plan: dict[str, Any] | None) -> Path:
    """Where a verb writes: ``--out``, else the next ``<run>/<verb>/<n>`` beside the checkpoint.

    A prediction goes on in the folder in which one of the same plan was interrupted.

    Raises:
        UsageError: if ``--out`` holds anything but what an interrupted command has left.
    """
    if RUN_VARIABLE in os.environ:
        return Path(os.environ[RUN_VARIABLE])
    if out is None:
        out = begun(run_directory / verb, lambda folder: plan is not None and is_begun(folder, plan))
        out = out or folder_of_run(verb, run_directory)
    elif out.is_dir() and not (plan is not None and is_begun(out, plan)) and any(map(is_work, out.iterdir())):
        raise UsageError(f"--out {out} is not empty; nothing is overwritten, name another directory")
    make_folder(out)
    os.environ[RUN_VARIABLE] = str(out)
    return out


def is_begun(folder: Path, plan: dict[str, Any]) -> bool:
    """Whether a prediction of this plan was begun in a folder, and is not finished."""
    from videodiff.callbacks.prediction_journal import PredictionJournal

    return PredictionJournal(folder).is_of(plan)


def is_work(path: Path) -> bool:
    """Whether a file is more than what an interrupted command leaves behind before it has a result."""
    kept = (*BOOKKEEPING, "eval", "skipped_videos.jsonl", "bad_clips.jsonl")
    if (path.parent / "results.json").exists():
        return True
    return not atomic.is_part(path.name) and not path.name.startswith(kept)


def report(verb: str, out: Path, checkpoint: Path, step: int | None, result: Any) -> int:
    """Write and print what a verb measured; nothing measured is a failure."""
    if rank() > 0:
        return 0
    if verb == "predict":
        print(f"predictions: {out}")
        return 0
    metrics = {key: float(value) for part in result for key, value in part.items()}
    if not metrics:
        raise RuntimeError(f"{verb} saw no clip; is the {verb} split empty?")
    record = {"verb": verb, "checkpoint": str(checkpoint), "step": step, "metrics": metrics}
    atomic.write_json(out / "results.json", record)
    for key, value in metrics.items():
        print(f"{key:20s} {value:.6g}")
    return 0
