"""Run folders ``runs/<name>/<n>``: making them and finding their checkpoints.

Torch is loaded for the content of a file alone, so that a run that is not there is told at once.
"""

import os
import sys
from functools import cache
from pathlib import Path

from videodiff.checkpoints.shipped import is_shipped_name, shipped_checkpoint, shipped_names
from videodiff.run_layout import CHECKPOINTS, CONFIG, PIPELINE, WEIGHTS, run_folder
from videodiff.say import say
from videodiff.usage import did_you_mean

NAMES = ("best", "last")
UNKNOWN = (True, sys.maxsize)  # of a file not yet looked at


def new_run_directory(name: str, root: str | os.PathLike = "runs") -> Path:
    """Make ``root/name/<n>`` with the next free n, counted from 1; two callers never get the same one.

    Raises:
        ValueError: if the name is empty or would leave ``root``.
        OSError: if the folder cannot be made.
    """
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"a run's name must be a plain relative name, got {name!r}")
    parent = Path(root) / name
    parent.mkdir(parents=True, exist_ok=True)
    number = max(numbers(parent), default=0)
    while True:
        number += 1
        try:
            (parent / str(number)).mkdir()
            return parent / str(number)
        except FileExistsError:
            continue


def numbers(parent: Path) -> list[int]:
    """The run numbers below a name, ascending."""
    return (
        sorted(int(p.name) for p in parent.iterdir() if p.name.isdecimal() and p.is_dir())
        if parent.is_dir()
        else []
    )


def resolve_checkpoint(spec: str | os.PathLike, root: str | os.PathLike = "runs") -> Path:
    """The checkpoint file that a user means.

    A path wins over a model of that name that comes with the package, and that over a run in ``root``; one line on
    stderr says so.

    Args:
        spec: a file; a run folder; ``demo/NAME``; a run's name (its newest number); a run followed by ``/best`` or
            ``/last``.
        root: where names are looked up when there is no such path.

    Raises:
        FileNotFoundError: in one line that says what exists.
        CheckpointError: if a run has checkpoints and none is whole.
        ShippedError: if a model of the package is damaged.
    """
    shipped = shipped_names()
    name = os.fspath(spec).rstrip("/")
    if (path := checkpoint_at(Path(spec))) is not None:
        if name in shipped:
            say_once(f"{name} is the folder here, not the model of that name that comes with videodiff")
        return path
    if name.removesuffix("/first_stage") in shipped:
        if (own := Path(root) / name).is_dir():
            say_once(f"{name} is the model that comes with videodiff; your own run is {own}")
        return shipped_checkpoint(name)
    if (path := checkpoint_at(Path(root) / spec)) is not None:
        return path
    if is_shipped_name(name):
        return shipped_checkpoint(name)  # says which there are
    there = sorted(p.name for p in Path(root).iterdir() if p.is_dir()) if Path(root).is_dir() else []
    hint = f"runs in {root}: {', '.join(there[:12])}" if there else f"there are no runs in {root}"
    near = did_you_mean(name, shipped) if f"demo/{name}" in shipped else ""
    raise FileNotFoundError(f"no run or checkpoint {str(spec)!r}{near} ({hint})")


def checkpoint_at(path: Path) -> Path | None:
    """The checkpoint that a path means; None where nothing is."""
    if path.is_file() or (path.exists() and not path.is_dir()):
        return path
    if path.is_dir():
        return newest_of(path)
    if path.name in NAMES and path.parent.is_dir():
        return named(path.parent, path.name)
    return None


@cache
def say_once(text: str) -> None:
    """One line on stderr; a command resolves the same name several times."""
    say(text)


def config_beside(spec: str | os.PathLike, root: str | os.PathLike = "runs") -> Path | None:
    """The config.yaml of the run that a user means, found by the names of files alone; None without one."""
    for path in (Path(spec), Path(root) / spec):
        if path.is_dir():
            runs = [run for run in runs_of(path) if files_of(run)]
        elif path.is_file():
            runs = [run_folder(path)]
        else:
            runs = runs_of(path.parent) if path.name in NAMES else []
        if runs:
            file = runs[0] / CONFIG
            return file if file.is_file() else None
    return None


def runs_of(folder: Path) -> list[Path]:
    """The run folders that a path means, newest first: itself, or the numbers below a name."""
    if folder.name == CHECKPOINTS:
        return [folder.parent]
    if (folder / CHECKPOINTS).is_dir() or any((folder / f).is_file() for f in (CONFIG, PIPELINE)):
        return [folder]
    return [folder / str(n) for n in reversed(numbers(folder))]


def newest_of(folder: Path) -> Path:
    """The checkpoint to use of a run folder, or of a name's newest run that has one; the file of a pipeline."""
    for run in runs_of(folder):
        if (run / PIPELINE).is_file():
            return run / PIPELINE
        found = newest_checkpoint(run)
        if found is not None:
            return found
    raise FileNotFoundError(f"no checkpoint in {folder} (a run keeps them in its folder checkpoints/)")


def named(folder: Path, name: str) -> Path:
    """``best`` or ``last`` of a run folder or of a name's newest run."""
    for run in runs_of(folder):
        if (path := run / CHECKPOINTS / f"{name}.ckpt").is_file():
            return path
        there = [p.stem for p in files_of(run)]
        if there:
            raise FileNotFoundError(
                f"run {run} has no checkpoint {name!r} (it has {', '.join(sorted(there))})"
            )
    raise FileNotFoundError(f"no checkpoint {name!r} in {folder}: the run has saved none")


def files_of(run: Path) -> list[Path]:
    """The checkpoints of a run, by name. An exported run has one file."""
    if (run / WEIGHTS).is_file():
        return [run / WEIGHTS]
    return sorted(p for p in (run / CHECKPOINTS).glob("*.ckpt") if p.is_file() and not p.name.startswith("."))


def newest_checkpoint(run: str | os.PathLike) -> Path | None:
    """The checkpoint of a run that is furthest in training and verifies, or None if the run has none.

    Times of files say nothing: copying or touching one changes them. One that training can go on from comes before
    weights alone, then the highest optimizer step, then ``last``, ``best``, others. Damaged ones are named on stderr.

    Raises:
        CheckpointError: if there are checkpoints and every one is damaged.
    """
    files = files_of(Path(run))
    if not files:
        return None
    from videodiff.checkpoints.files import CheckpointError, verify_checkpoint
    from videodiff.checkpoints.glance import progress, progress_by_name

    known = {path: progress_by_name(path) or UNKNOWN for path in files}
    looked: set[Path] = set()
    while known:
        path = max(known, key=lambda p: (known[p], p.stem == "last", p.stem == "best", p.name))
        try:
            if path not in looked and len(files) > 1:
                looked.add(path)
                known[path], before = progress(path), known[path]
                if known[path] != before:
                    continue
            verify_checkpoint(path)
        except CheckpointError as err:
            if len(files) == 1:
                raise
            print(f"passed over: {err}", file=sys.stderr, flush=True)
            del known[path]
            continue
        return path
    raise CheckpointError(f"none of the {len(files)} checkpoints in {run} is intact (start a new run)")


def set_aside(run: Path, start: Path) -> Path | None:
    """Move the checkpoints that lie beyond ``start`` in training into a folder of their own, from which none is picked.

    For a run that goes back on purpose: it would else go on from what it has left behind.

    Returns:
        The folder, ``checkpoints/beyond_step_<n>``; None where nothing lies beyond.
    """
    from videodiff.checkpoints.files import CheckpointError
    from videodiff.checkpoints.glance import progress, progress_by_name

    step = progress(start)[1]
    beyond = []
    for path in files_of(run):
        try:
            if (progress_by_name(path) or progress(path))[1] > step and not path.samefile(start):
                beyond.append(path)
        except CheckpointError:  # damaged: no command picks it
            continue
    if not beyond:
        return None
    name, number = f"beyond_step_{step}", 1
    while (folder := run / CHECKPOINTS / (name if number == 1 else f"{name}_{number}")).exists():
        number += 1
    folder.mkdir()
    for path in beyond:
        path.rename(folder / path.name)
    return folder
