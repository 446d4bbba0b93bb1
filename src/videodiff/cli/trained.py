"""What validate, test and predict share: a trained model and its data, looked at by one call of the trainer."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.cli.launch import RUN_VARIABLE, build, print_config
from videodiff.cli.outputs import BOOKKEEPING, Leftovers, begun, folder_of_run, make_folder
from videodiff.config import Stored, check_texts, find_config, load_yaml, read_configs
from videodiff.config.check import DRAWS
from videodiff.say import rank
from videodiff.usage import UsageError


@dataclass(frozen=True)
class Trained:
    """A run that is looked at.

    Args:
        checkpoint: its file.
        content: what that holds.
        directory: where its results go, the run's folder; of one that comes with the package, one in ``runs``.
    """

    checkpoint: Path
    content: dict[str, Any]
    directory: Path


class Look:
    """One verb that looks at a trained model; what is here is ``validate``, the others add to it.

    Args:
        options: of the command line.
        rest: the words of it that change the config.
    """

    verb = "validate"

    def __init__(self, options: argparse.Namespace, rest: list[str]) -> None:
        self.options, self.rest = options, rest

    @property
    def wants_loss(self) -> bool:
        """Whether the loss is measured."""
        return True

    def check(self) -> None:
        """Refuse what cannot be asked for, before anything is loaded."""

    def plan(self, run: Trained, config: dict[str, Any]) -> dict[str, Any] | None:
        """Everything that decides what is written, if an interrupted command resumes in its folder."""
        return None

    def is_begun(self, folder: Path, plan: dict[str, Any]) -> bool:
        """Whether a command of this plan was interrupted in a folder."""
        return False

    def attach(self, cli: Any, run: Trained, out: Path, plan: dict[str, Any] | None, held: ExitStack) -> None:
        """Add what the verb needs to a trainer that is built; ``held`` is left when it has run."""

    def report(self, run: Trained, out: Path, result: Any) -> None:
        """Write and print what was measured, on the first rank.

        Raises:
            RuntimeError: if nothing was.
        """
        metrics = {key: float(value) for part in result for key, value in part.items()}
        if not self.wants_loss:
            metrics = {}
        elif not metrics:
            raise RuntimeError(f"{self.verb} saw no clip; is the {self.verb} split empty?")
        step = run.content.get("global_step")
        record = {"verb": self.verb, "checkpoint": str(run.checkpoint), "step": step, "metrics": metrics}
        atomic.write_json(out / "results.json", record)
        for key, value in metrics.items():
            print(f"{key:20s} {value:.6g}")

    def act(self) -> int:
        """Run the verb; model and data come from the checkpoint unless overridden. Returns the exit code."""
        from videodiff.checkpoints import resolve_checkpoint

        options, verb = self.options, self.verb
        if options.ckpt_path is None:
            raise UsageError(
                f"{verb} needs --ckpt_path RUN (a run directory, RUN/best, RUN/last or a checkpoint file)"
            )
        self.check()
        configs = [find_config(name) for name in options.config]
        check_beside(options.ckpt_path, verb, self.rest, options.trust, configs)
        checkpoint = resolve_checkpoint(options.ckpt_path)
        from videodiff.checkpoints import load_checkpoint, load_weights, trusted_config
        from videodiff.checkpoints.shipped import results_folder

        content = load_checkpoint(checkpoint)
        stored = stored_parts(trusted_config(content, checkpoint, options.trust), checkpoint)
        directory = results_folder(checkpoint)
        run = Trained(checkpoint, content, directory)
        leftovers = Leftovers(options.out or directory / verb)
        config = read_configs([stored, *configs], verb, self.rest, options.trust)
        if options.print_config is not None:
            print_config(verb, config, options.print_config, options.trust)
        plan = self.plan(run, config)
        out = self.results_directory(directory, plan)
        with leftovers.removed_on_failure(out, is_kept=rank() > 0), ExitStack() as held:
            cli = build(verb, out, config, options.trust)
            self.attach(cli, run, out, plan, held)
            load_weights(cli.model, content["state_dict"], checkpoint)
            shown = {} if self.wants_loss else {"verbose": False}  # Lightning's own table
            result = getattr(cli.trainer, verb)(cli.model, datamodule=cli.datamodule, **shown)
        if rank() == 0:
            self.report(run, out, result)
        return 0

    def results_directory(self, run_directory: Path, plan: dict[str, Any] | None) -> Path:
        """Where a verb writes: ``--out``, else the next ``<run>/<verb>/<n>`` beside the checkpoint.

        One with a plan goes on in the folder in which one of the same plan was interrupted.

        Raises:
            UsageError: if ``--out`` holds anything but what an interrupted command has left.
        """
        if RUN_VARIABLE in os.environ:
            return Path(os.environ[RUN_VARIABLE])
        out = self.options.out
        if out is None:
            out = begun(run_directory / self.verb, lambda folder: self.goes_on(folder, plan))
            out = out or folder_of_run(self.verb, run_directory)
        elif out.is_dir() and not self.goes_on(out, plan) and any(map(is_work, out.iterdir())):
            raise UsageError(f"--out {out} is not empty; nothing is overwritten, name another directory")
        make_folder(out)
        os.environ[RUN_VARIABLE] = str(out)
        return out

    def goes_on(self, folder: Path, plan: dict[str, Any] | None) -> bool:
        """Whether the command resumes in a folder."""
        return plan is not None and self.is_begun(folder, plan)


def check_beside(
    spec: str, verb: str, rest: Sequence[str], trusted: Sequence[str], configs: Sequence[Path] = ()
) -> None:
    """Refuse what the texts show to be wrong: configs and options over the config that lies beside a checkpoint.

    Args:
        spec: of the run, as it is named.
        verb: whose options they are.
        rest: words of the command line that change the config.
        trusted: modules from ``--trust``.
        configs: over that of the run.

    Raises:
        UsageError: for the first mistake.
    """
    from videodiff.checkpoints.folders import config_beside

    beside = config_beside(spec) if rest or configs else None
    if beside is None:
        return
    try:
        written = load_yaml(beside)
    except (ValueError, OSError):  # the checkpoint holds its own
        return
    parts = ("model",) if verb == DRAWS else STORED
    check_texts([stored_parts(written, beside, parts), *configs], verb, rest, trusted)


STORED = ("model", "data", "seed_everything")


def stored_parts(config: dict[str, Any], checkpoint: Path, parts: Sequence[str] = STORED) -> Stored:
    """What of a checkpoint's config another command takes over: model, data and seed."""
    kept = {key: value for key, value in config.items() if key in parts}
    return Stored(kept, f"config of {checkpoint}")


def is_work(path: Path) -> bool:
    """Whether a file is more than what an interrupted command leaves behind before it has a result."""
    kept = (*BOOKKEEPING, "eval", "skipped_videos.jsonl", "bad_clips.jsonl")
    if (path.parent / "results.json").exists():
        return True
    return not atomic.is_part(path.name) and not path.name.startswith(kept)
