"""fit: from the command line to one call of the trainer."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.cli import verbs
from videodiff.cli.kept_texts import keep_captions
from videodiff.cli.launch import RESUME_VARIABLE, RUN_VARIABLE, build, print_config
from videodiff.cli.outputs import Leftovers, make_folder, numbered_folder
from videodiff.cli.run_folder import (
    config_file,
    holds_run,
    is_foreign,
    place_checkpoints,
    refuse_links,
    write_config,
)
from videodiff.cli.starting import (
    Source,
    begin,
    check_same_run,
    config_of,
    config_of_source,
    given_source,
    starting_point,
    write_origin,
)
from videodiff.cli.two_stages import check_first_stage
from videodiff.config import Stored, check_texts, find_config, read_configs, shipped_configs
from videodiff.migrations import numbered_config
from videodiff.run_layout import CHECKPOINTS, LAST
from videodiff.say import rank, say
from videodiff.usage import UsageError


def run(words: list[str]) -> int:
    """Parse and train; returns the exit code."""
    return verbs.run("fit", words, fit)


def fit(options: argparse.Namespace, rest: list[str]) -> int:
    """Train; if the run directory holds a run, resume from its intact checkpoint of the highest step."""
    from videodiff.checkpoints import resolve_checkpoint

    configs: list[Path | Stored] = [find_config(name) for name in options.config]
    goes_on = options.out is not None and holds_run(options.out)
    if not configs and options.ckpt_path is None and options.init_from is None and not goes_on:
        raise needs_config()
    for given in filter(None, (options.ckpt_path, options.init_from)):
        resolve_checkpoint(given)  # is it there at all?
    if configs and not goes_on:
        config = check_texts(configs, "fit", rest, options.trust)
        if options.print_config is None:
            check_first_stage(config, options.config, rest, options.trust)
    source = given_source(options)
    if source is not None and not configs and not (options.out is not None and holds_run(options.out)):
        configs = [config_of_source(source, options)]
    leftovers = Leftovers(options.out or Path("runs") / run_name(options, configs))
    directory, existing = choose_run(options, configs)
    refuse_links(directory, options.checkpoints)
    if existing and (own := config_file(directory)) is not None:
        configs.insert(0, own)
    with leftovers.removed_on_failure(directory, is_kept=existing or rank() > 0):
        if not configs:
            raise needs_config()
        config = read_configs(configs, "fit", rest, options.trust)
        if options.print_config is not None:
            print_config("fit", config, options.print_config, options.trust)
        if rank() > 0:
            return train(options, directory, existing, config, source)
        from videodiff.checkpoints import RunLock

        make_folder(directory)
        with RunLock(directory):
            if not existing and holds_run(directory):
                raise UsageError(
                    f"--out {directory}: another run has just been created there; name another folder"
                )
            atomic.clear_parts(directory)  # of a command that was killed
            place_checkpoints(directory, options.checkpoints)
            return train(options, directory, existing, config, source)


def run_name(options: argparse.Namespace, configs: Sequence[Path | Stored]) -> str:
    """The folder of runs that a run without ``--out`` joins."""
    first = configs[0] if configs else None
    return options.name or (first.stem if isinstance(first, Path) else "")


def needs_config() -> UsageError:
    """What to say when ``fit`` is given nothing to do."""
    return UsageError(f"fit needs --config FILE or NAME; shipped: {', '.join(shipped_configs())}")


def train(
    options: argparse.Namespace,
    directory: Path,
    existing: bool,
    config: dict[str, Any],
    source: Source | None,
) -> int:
    """The part of ``fit`` that every rank does."""
    from videodiff.checkpoints import check_resumable, load_weights, resolve_checkpoint, set_aside

    start = starting_point(directory, existing, source)
    before: dict[str, Any] = {}
    if start is not None and not start.begins:
        before = config_of(start, options.trust)
        check_resumable(start.content, start.path)
    cli = build("fit", directory, config, options.trust)
    done, checkpoint = 0, None
    if start is not None:
        record: dict[str, Any] = {}
        if start.begins:
            record["weights"] = begin(start, cli, options.force)
        else:
            done, checkpoint = int(start.step or 0), str(start.path)
            lines = check_same_run(start, before, cli, options.force)
            load_weights(
                cli.model, start.content["state_dict"], start.path
            )  # refuses another model in one line
            if 0 <= cli.trainer.max_steps <= done:
                return nothing_left(directory, start, cli.trainer.max_steps)
            if start.lies_in(directory) and (line := all_spent(cli, start)) is not None:
                say(line)
                return 0
            for line in [start.head(), *lines]:
                say(line)
        if rank() == 0 and not start.lies_in(directory):
            write_origin(directory, start, **record)
        elif rank() == 0 and start is source and (folder := set_aside(directory, start.path)) is not None:
            say(f"checkpoints beyond step {done} now lie in {folder}, where no command looks by itself")
        start.forget()
    if rank() == 0:
        write_config(directory, numbered_config(cli.config_text()))
    keep_captions(cli.model, cli.datamodule, cli.trainer.strategy.root_device)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint)
    if cli.trainer.global_step <= done:
        raise RuntimeError(
            f"no training step was taken (max_steps {cli.trainer.max_steps}, max_time reached?)"
        )
    say(f"trained {cli.trainer.global_step} steps; last checkpoint: {resolve_checkpoint(str(directory))}")
    return 0


def nothing_left(directory: Path, start: Source, max_steps: int) -> int:
    """The line if ``max_steps`` are already done: the run itself is finished, a new one would not begin.

    Raises:
        UsageError: if the checkpoint is of another run.
    """
    if start.lies_in(directory):
        last = directory / CHECKPOINTS / LAST
        if rank() == 0 and start.path.suffix == ".ckpt" and start.path.name != last.name:
            atomic.second_name(start.path, last)  # the last save was cut short between its names
        if start.step is not None and start.step > max_steps:
            say(
                f"{directory} is at step {start.step} already, beyond trainer.max_steps {max_steps}; to train on give "
                f"--trainer.max_steps above {start.step}"
            )
            return 0
        say(f"{directory} is finished: {start.step} of {max_steps} steps are done")
        return 0
    raise UsageError(
        f"{start.path} is at step {start.step} and trainer.max_steps is {max_steps}: nothing is left to train; set "
        f"--trainer.max_steps above {start.step}, or begin at step 0 with its weights: --init_from {start.given}"
    )


def all_spent(cli: Any, start: Source) -> str | None:
    """The line of a run that has spent its seconds of compute (``budget.seconds``); None where some are left."""
    from videodiff.callbacks.budget import spent

    seconds, done = cli.config.budget.seconds, spent(start.content)["seconds"]
    if seconds is None or done < seconds:
        return None
    return (
        f"{start.path} is finished: {done:.3g} of {seconds:g} seconds of compute are spent; to train on give "
        f"--budget.seconds above {done:.3g}"
    )


def choose_run(options: argparse.Namespace, configs: Sequence[Path | Stored]) -> tuple[Path, bool]:
    """The run's directory, and whether it already holds a run."""
    if RUN_VARIABLE in os.environ:
        directory = Path(os.environ[RUN_VARIABLE])
        return directory, RESUME_VARIABLE in os.environ
    if options.out is None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError(
                "several processes were launched from outside: name the run they share with --out DIR"
            )
        if not configs:
            raise needs_config()
        directory, existing = numbered_folder(run_name(options, configs), Path("runs")), False
    else:
        directory = options.out
        existing = holds_run(directory)
        if directory.exists() and not directory.is_dir():
            raise UsageError(f"--out {directory} is a file; name a directory")
        if not existing and directory.is_dir() and any(map(is_foreign, directory.iterdir())):
            raise UsageError(
                f"--out {directory} is not empty and holds no run (no config.yaml, no checkpoint); name another one"
            )
    os.environ[RUN_VARIABLE] = str(directory)
    if existing:
        os.environ[RESUME_VARIABLE] = "1"
    return directory, existing
