"""validate, test, predict: a trained model and its data, looked at by one call of the trainer."""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from videodiff.cli import protocols
from videodiff.cli.config import find_config, read_configs
from videodiff.cli.errors import UsageError
from videodiff.cli.launch import RUN_VARIABLE, build, rank
from videodiff.cli.outputs import Leftovers, make_folder, numbered_folder


def look(verb: str, options: argparse.Namespace, rest: list[str]) -> int:
    """Validate, test or predict with a trained model; model and data come from the checkpoint unless overridden."""
    from videodiff.checkpoints import load_checkpoint, load_weights, resolve_checkpoint, trusted_config

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
        out = results_directory(verb, options.out, run_directory)
        try:
            cli = build(verb, out, files, rest, options.trust, written)
            if verb == "predict":
                from videodiff.callbacks import PredictionWriter

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


def results_directory(verb: str, out: Path | None, run_directory: Path) -> Path:
    """Where a verb writes: ``--out``, else the next ``<run>/<verb>/<n>`` beside the checkpoint."""
    if RUN_VARIABLE in os.environ:
        return Path(os.environ[RUN_VARIABLE])
    if out is not None and out.is_dir() and any(out.iterdir()):
        raise UsageError(f"--out {out} is not empty; nothing is overwritten, name another directory")
    if out is None:
        out = numbered_folder(verb, run_directory)
    make_folder(out)
    os.environ[RUN_VARIABLE] = str(out)
    return out


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
    (out / "results.json").write_text(json.dumps(record, indent=2) + "\n")
    for key, value in metrics.items():
        print(f"{key:20s} {value:.6g}")
    return 0
