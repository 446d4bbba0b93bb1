"""The verbs with a trainer, and fit: from the words on the command line to one call of the trainer."""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from videodiff.cli.arguments import LightParser
from videodiff.cli.config import check_config, find_config, read_configs, shipped_configs
from videodiff.cli.errors import UsageError
from videodiff.cli.launch import RESUME_VARIABLE, RUN_VARIABLE, build, rank, say
from videodiff.cli.look import look
from videodiff.cli.outputs import Leftovers, make_folder, numbered_folder
from videodiff.migrations import numbered_config

# Parts of a config that a checkpoint only fits as they are.
FIXED_PARTS = ("net", "autoencoder", "schedule", "prediction")


def run(verb: str, argv: list[str]) -> int:
    """Run one verb; returns the exit code."""
    options, rest = own_options(verb).parse_known_args(argv)
    inherited = RUN_VARIABLE in os.environ
    try:
        return fit(options, rest) if verb == "fit" else look(verb, options, rest)
    finally:
        if not inherited:
            for name in (RUN_VARIABLE, RESUME_VARIABLE):
                os.environ.pop(name, None)


def own_options(verb: str) -> argparse.ArgumentParser:
    """The options that are ours and not the LightningCLI's."""
    parser = LightParser(f"videodiff {verb}", add_help=False)
    parser.add_argument("-c", "--config", action="append", default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--name")
    parser.add_argument("--ckpt_path")
    parser.add_argument("--trust", action="append", default=[])
    parser.add_argument("--force", action="store_true")
    if verb == "test":
        parser.add_argument("--protocol")
        parser.add_argument("--num_clips", type=int)
        parser.add_argument("--inception", action="store_true")
    return parser


def fit(options: argparse.Namespace, rest: list[str]) -> int:
    """Train; goes on from the newest checkpoint that verifies when the run directory already holds a run."""
    from videodiff.checkpoints import resolve_checkpoint

    files = [find_config(name) for name in options.config]
    if options.ckpt_path is not None:  # before this run's folder is one of those that a name may mean
        options.ckpt_path = str(resolve_checkpoint(options.ckpt_path))
        if not files and not (options.out is not None and (options.out / "config.yaml").is_file()):
            with tempfile.TemporaryDirectory() as folder:
                return fit_files(options, rest, [config_of_weights(options, Path(folder))])
    return fit_files(options, rest, files)


def config_of_weights(options: argparse.Namespace, folder: Path) -> Path:
    """The config of a checkpoint that is weights alone, as a file: what fine-tuning it begins with.

    Raises:
        UsageError: for a checkpoint of a run, which names its config itself, or without a name for the new run.
    """
    from videodiff.checkpoints import load_checkpoint, trusted_config

    path = Path(options.ckpt_path)
    stored = load_checkpoint(path)
    if not is_weights_only(stored):
        raise needs_config()
    if options.out is None and options.name is None:
        raise UsageError(
            f"fit from the weights of {path} makes a new run: name it with --name NAME or --out DIR"
        )
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(trusted_config(stored, path, options.trust)), encoding="utf-8")
    return file


def is_weights_only(stored: dict[str, Any]) -> bool:
    """Whether a checkpoint was imported or exported: nothing but weights to begin with."""
    return bool(stored.get("videodiff", {}).get("weights_only"))


def fit_files(options: argparse.Namespace, rest: list[str], files: list[Path]) -> int:
    """``fit`` with its configs found."""
    from videodiff.checkpoints import RunLock

    leftovers = Leftovers(options.out or Path("runs") / run_name(options, files))
    directory, existing = choose_run(options, files)
    if existing:
        files.insert(0, directory / "config.yaml")
    try:
        if not files:
            raise needs_config()
        written = read_configs(files, "fit", rest, options.trust)
        if rank() > 0:
            return train(options, directory, files, rest, existing, written)
        make_folder(directory)
        with RunLock(directory):
            if not existing and (directory / "config.yaml").is_file():
                raise UsageError(f"--out {directory}: another run has just been made there; name another one")
            return train(options, directory, files, rest, existing, written)
    except BaseException:
        if rank() == 0 and not existing:
            leftovers.remove(directory)
        raise


def run_name(options: argparse.Namespace, files: Sequence[Path]) -> str:
    """The folder of runs that a run without ``--out`` joins."""
    return options.name or (files[0].stem if files else "")


def needs_config() -> UsageError:
    """What to say when ``fit`` is given nothing to do."""
    return UsageError(f"fit needs --config FILE or NAME; shipped: {', '.join(shipped_configs())}")


def train(
    options: argparse.Namespace,
    directory: Path,
    files: list[Path],
    rest: list[str],
    existing: bool,
    written: dict[str, Any],
) -> int:
    """The part of ``fit`` that every rank does."""
    from videodiff.checkpoints import (
        check_resumable,
        load_checkpoint,
        load_weights,
        resolve_checkpoint,
        trusted_config,
    )

    checkpoint = starting_point(options, directory, existing)
    stored, before = None, {}
    if checkpoint is not None:
        stored = load_checkpoint(checkpoint)
        before = trusted_config(stored, checkpoint, options.trust)
        check_config(before, f"config of {checkpoint}", "fit", options.trust)
        if not is_weights_only(stored):
            check_resumable(stored, checkpoint)
    cli = build("fit", directory, files, rest, options.trust, written)
    done = 0
    if stored is not None:
        done = int(stored.get("global_step", 0))
        if existing:
            check_same_run(stored, before, cli, options.force)
        load_weights(cli.model, stored["state_dict"], checkpoint)  # refuses another model in one line
        if is_weights_only(stored):
            say(f"starting from the weights of {checkpoint}")
            checkpoint = None
        else:
            say(f"going on from {checkpoint} (step {done})")
        del stored
    if 0 <= cli.trainer.max_steps <= done:
        say(f"{directory} is finished: {done} of {cli.trainer.max_steps} steps are done")
        return 0
    if rank() == 0:
        write_config(directory, numbered_config(cli.config_text()))
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint and str(checkpoint))
    if cli.trainer.global_step <= done:
        raise RuntimeError(
            f"no training step was taken (max_steps {cli.trainer.max_steps}, max_time reached?)"
        )
    say(f"trained {cli.trainer.global_step} steps; last checkpoint: {resolve_checkpoint(str(directory))}")
    return 0


def choose_run(options: argparse.Namespace, files: Sequence[Path]) -> tuple[Path, bool]:
    """The run's directory, and whether it already holds a run."""
    if RUN_VARIABLE in os.environ:
        directory = Path(os.environ[RUN_VARIABLE])
        return directory, RESUME_VARIABLE in os.environ
    if options.out is None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError(
                "several processes were launched from outside: name the run they share with --out DIR"
            )
        if not files:
            raise needs_config()
        directory, existing = numbered_folder(run_name(options, files), Path("runs")), False
    else:
        directory = options.out
        existing = (directory / "config.yaml").is_file()
        if directory.exists() and not directory.is_dir():
            raise UsageError(f"--out {directory} is a file; name a directory")
        if not existing and directory.is_dir() and any(p.suffix != ".lock" for p in directory.iterdir()):
            raise UsageError(
                f"--out {directory} is not empty and holds no run (no config.yaml); name another one"
            )
    os.environ[RUN_VARIABLE] = str(directory)
    if existing:
        os.environ[RESUME_VARIABLE] = "1"
    return directory, existing


def starting_point(options: argparse.Namespace, directory: Path, existing: bool) -> Path | None:
    """The checkpoint to go on from: the one named, else the newest of the run that verifies, else none."""
    from videodiff.checkpoints import newest_checkpoint, resolve_checkpoint

    if options.ckpt_path is not None:
        return resolve_checkpoint(options.ckpt_path)
    return newest_checkpoint(directory) if existing else None


def check_same_run(stored: dict[str, Any], before: dict[str, Any], cli: Any, force: bool) -> None:
    """Refuse to go on with another model or other data than the checkpoint's, and tell what else differs."""
    ours = stored.get("videodiff", {})
    now = yaml.safe_load(cli.config_text())
    for key, old, new in differences(before, now):
        if rank() == 0:
            say(f"{key}: {new} (the checkpoint was made with {old})")
        fixed = any(
            f"model.init_args.{part}" == key or key.startswith(f"model.init_args.{part}.")
            for part in FIXED_PARTS
        )
        if fixed and not force:
            raise UsageError(f"{key} is {new}, the run was trained with {old}; start a new run, or --force")
    old_data, new_data = ours.get("fingerprint"), getattr(cli.datamodule, "fingerprint", lambda: None)()
    if old_data is not None and new_data is not None and not force:
        for key, old, new in differences(old_data, json.loads(json.dumps(new_data))):
            raise UsageError(
                f"the data differ from the run's ({key}: {new}, was {old}); start a new run, or --force"
            )


def differences(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted keys at which two nested dicts differ, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted({*before, *now}):
            yield from differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif before != now:
        yield key, before, now


def write_config(directory: Path, text: str) -> None:
    """Write config.yaml; an earlier one that differs is kept as config.<n>.yaml."""
    target = directory / "config.yaml"
    if target.is_file():
        if target.read_text() == text:
            return
        number = 1 + sum(1 for _ in directory.glob("config.*.yaml"))
        target.rename(directory / f"config.{number}.yaml")
    temporary = directory / ".config.yaml.part"
    temporary.write_text(text)
    temporary.replace(target)
