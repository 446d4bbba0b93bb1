"""Run folders ``runs/<name>/<n>``: making, locking, finding their checkpoints, and building the model of one again."""

import fcntl
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from videodiff.checkpoints.files import CheckpointError, load_checkpoint, verify_checkpoint
from videodiff.trust import check_tree, guarded_jsonargparse

NAMES = ("best", "last")
MAX_NODES, MAX_DEPTH = 50_000, 60  # of a stored config, its aliases written out


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


class RunLock:
    """One writer per run folder: ``run.lock`` names its host, process and start time.

    Args:
        directory: the run folder.
    """

    def __init__(self, directory: str | os.PathLike) -> None:
        self.path = Path(directory) / "run.lock"
        self.mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": process_start(os.getpid())}

    def acquire(self) -> None:
        """Take the lock; one whose process is gone is taken over with a line on stderr.

        Raises:
            ValueError: if a living process, or one on another host, holds it.
        """
        with self.path.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # for these few lines only, so that two takers see each other
            file.seek(0)
            text = file.read()
            holder = parse_holder(text)
            if text.strip() and holder != self.mine:
                self.judge(holder)
            file.truncate(0)
            file.write(json.dumps(self.mine) + "\n")

    def judge(self, holder: dict[str, Any]) -> None:
        """Refuse a living holder, report a dead one."""
        who = f"process {holder.get('pid')} on {holder.get('host')}"
        if holder.get("host") not in (None, self.mine["host"]):
            raise ValueError(
                f"run {self.path.parent} is being written by {who} (if it is gone, remove {self.path}; "
                "or start a new run)"
            )
        started = process_start(int(holder.get("pid") or 0))
        if started is not None and started == holder.get("started"):
            raise ValueError(f"run {self.path.parent} is being written by {who} (stop it or start a new run)")
        print(f"{self.path.parent}: took over the lock of {who}, which is gone", file=sys.stderr, flush=True)

    def release(self) -> None:
        """Give the lock back if it is still ours."""
        if self.path.exists() and parse_holder(self.path.read_text(encoding="utf-8")) == self.mine:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> "RunLock":
        self.acquire()
        return self

    def __exit__(self, *args: Any) -> None:
        self.release()


def parse_holder(text: str) -> dict[str, Any]:
    """What a lock file says; a cut one says nothing."""
    try:
        holder = json.loads(text)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def process_start(pid: int) -> int | None:
    """Start time of a living process (clock ticks since boot; 0 where /proc is absent), None if there is none."""
    if pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return None if fields[0] in "ZX" else int(fields[19])


def resolve_checkpoint(spec: str | os.PathLike, root: str | os.PathLike = "runs") -> Path:
    """The checkpoint file that a user means.

    Args:
        spec: a file; a run folder; a run's name (its newest number); either followed by ``/best`` or ``/last``.
        root: where names are looked up when there is no such path.

    Raises:
        FileNotFoundError: in one line that says what exists.
        CheckpointError: if a run has checkpoints and none is whole.
    """
    for path in (Path(spec), Path(root) / spec):
        if path.is_file() or (path.exists() and not path.is_dir()):
            return path
        if path.is_dir():
            return newest_of(path)
        if path.name in NAMES and path.parent.is_dir():
            return named(path.parent, path.name)
    there = sorted(p.name for p in Path(root).iterdir() if p.is_dir()) if Path(root).is_dir() else []
    hint = f"runs in {root}: {', '.join(there[:12])}" if there else f"there are no runs in {root}"
    raise FileNotFoundError(f"no run or checkpoint {str(spec)!r} ({hint})")


def runs_of(folder: Path) -> list[Path]:
    """The run folders that a path means, newest first: itself, or the numbers below a name."""
    if folder.name == "checkpoints":
        return [folder.parent]
    if (folder / "checkpoints").is_dir() or (folder / "config.yaml").is_file():
        return [folder]
    return [folder / str(n) for n in reversed(numbers(folder))]


def newest_of(folder: Path) -> Path:
    """The newest whole checkpoint of a run folder or of a name's newest run that has one."""
    for run in runs_of(folder):
        found = newest_checkpoint(run)
        if found is not None:
            return found
    raise FileNotFoundError(f"no checkpoint in {folder} (a run keeps them in its folder checkpoints/)")


def named(folder: Path, name: str) -> Path:
    """``best`` or ``last`` of a run folder or of a name's newest run."""
    for run in runs_of(folder):
        if (path := run / "checkpoints" / f"{name}.ckpt").is_file():
            return path
        there = [p.stem for p in files_of(run)]
        if there:
            raise FileNotFoundError(
                f"run {run} has no checkpoint {name!r} (it has {', '.join(sorted(there))})"
            )
    raise FileNotFoundError(f"no checkpoint {name!r} in {folder}: the run has saved none")


def files_of(run: Path) -> list[Path]:
    """The checkpoints of a run, newest first; ``last`` before others of its time."""
    files = [p for p in (run / "checkpoints").glob("*.ckpt") if p.is_file() and not p.name.startswith(".")]
    return sorted(files, key=lambda p: (p.stat().st_mtime_ns, p.stem == "last", p.name), reverse=True)


def newest_checkpoint(run: str | os.PathLike) -> Path | None:
    """The newest checkpoint of a run that verifies, or None if it has none; those passed over are named on stderr.

    Raises:
        CheckpointError: if there are checkpoints and every one is damaged.
    """
    files = files_of(Path(run))
    for path in files:
        try:
            verify_checkpoint(path)
        except CheckpointError as err:
            print(f"passed over: {err}", file=sys.stderr, flush=True)
            continue
        return path
    if files:
        raise CheckpointError(f"none of the {len(files)} checkpoints in {run} is whole (start a new run)")
    return None


def load_config(spec: str | os.PathLike) -> dict[str, Any]:
    """The configuration of a run folder or of a checkpoint (the text stored in it; a file needs no folder around it).

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no mapping.
    """
    path = Path(spec)
    if path.is_dir():
        file = path / "config.yaml"
        if not file.is_file():
            raise FileNotFoundError(f"run {path} has no config.yaml")
        return parse_config(file.read_text(encoding="utf-8"), str(file))
    return stored_config(load_checkpoint(path), path)


def stored_config(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The configuration stored in a checkpoint, else that of the run folder it lies in."""
    text = checkpoint.get("videodiff", {}).get("config", "")
    if text:
        return parse_config(text, str(path))
    if path.parent.name == "checkpoints" and (path.parent.parent / "config.yaml").is_file():
        return load_config(path.parent.parent)
    raise CheckpointError(
        f"checkpoint {path} carries no config and lies in no run folder; its model is unknown"
    )


def parse_config(text: str, where: str) -> dict[str, Any]:
    """Plain YAML values only, bounded in number and depth."""
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise ValueError(f"{where}: its config is not YAML: {' '.join(str(err).split())[:160]}") from err
    except RecursionError as err:
        raise ValueError(f"{where}: its config is nested too deeply") from err
    if not isinstance(config, dict):
        raise ValueError(f"{where}: its config is not a mapping")
    waiting, count = [(config, 1)], 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            raise ValueError(
                f"{where}: its config holds more than {MAX_NODES} values or is nested too deeply"
            )
        below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting += [(value, depth + 1) for value in below]
    return config


def trusted_config(checkpoint: Mapping[str, Any], path: Path, trusted: Sequence[str] = ()) -> dict[str, Any]:
    """The stored configuration with every class in it allowed, also those that the caller will not use.

    Raises:
        CheckpointError: in one line, for a checkpoint without one, or with one that names what no config may.
    """
    config = stored_config(checkpoint, path)
    try:
        check_tree(config, trusted)
    except ValueError as err:
        raise CheckpointError(f"checkpoint {path}: its config: {err}") from err
    return config


def check_resumable(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint that holds weights only.

    Raises:
        CheckpointError: naming the first thing that is missing.
    """
    for key in ("global_step", "optimizer_states", "lr_schedulers", "loops", "callbacks"):
        if key not in checkpoint:
            raise CheckpointError(
                f"checkpoint {path} holds no {key}: training cannot go on from it (give one that fit has written)"
            )


def load_run(
    spec: str | os.PathLike, overrides: Mapping[str, Any] | None = None, trusted: Sequence[str] = ()
) -> Any:
    """Build the model of a run from its config text and load the averaged weights; in evaluation mode, on the CPU.

    Args:
        spec: whatever ``resolve_checkpoint`` takes.
        overrides: merged key by key into the model's ``init_args``; a new ``class_path`` replaces the whole part.
        trusted: further modules that may be named, from the command line.

    Returns:
        The LightningModule of the run.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: for a damaged or hostile checkpoint, or one of another model, in one line.
    """
    path = resolve_checkpoint(spec)
    checkpoint = load_checkpoint(path)
    section = trusted_config(checkpoint, path, trusted).get("model")
    if not isinstance(section, dict) or "class_path" not in section:
        raise CheckpointError(f"checkpoint {path}: its config names no model")
    section = merge(section, {"init_args": dict(overrides or {})})
    check_tree(section, trusted)
    model = build_model(section, path, trusted)
    load_weights(model, checkpoint["state_dict"], path)
    return model.eval()


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts merged key by key; a part with another ``class_path`` is replaced."""
    merged = dict(base)
    for key, value in over.items():
        before = merged.get(key)
        same = isinstance(before, Mapping) and isinstance(value, Mapping)
        if same and value.get("class_path", before.get("class_path")) == before.get("class_path"):
            merged[key] = merge(before, value)
        else:
            merged[key] = value
    return merged


def build_model(section: Mapping[str, Any], path: Path, trusted: Sequence[str]) -> Any:
    """The model that a config's ``model`` section describes; its class paths are checked already."""
    import pytorch_lightning as pl
    from jsonargparse import ArgumentParser

    with guarded_jsonargparse(trusted):
        parser = ArgumentParser(exit_on_error=False)
        parser.add_subclass_arguments(pl.LightningModule, "model")
        try:
            return parser.instantiate_classes(parser.parse_object({"model": dict(section)})).model
        except Exception as err:  # jsonargparse wraps what a constructor raises in types of its own
            reason = " ".join(str(err).split())[:300]
            raise CheckpointError(f"checkpoint {path}: its model cannot be built: {reason}") from err


def load_weights(model: Any, weights: Mapping[str, Any], path: Path) -> None:
    """Load strictly, or say in one line how the checkpoint differs from the model."""
    own = model.state_dict()
    missing = [key for key in own if key not in weights]
    unexpected = [key for key in weights if key not in own]
    shapes = [key for key in own if key in weights and own[key].shape != weights[key].shape]
    if missing or unexpected or shapes:
        parts = []
        for title, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
            if keys:
                parts.append(f"{len(keys)} {title} (first {keys[0]})")
        raise CheckpointError(
            f"checkpoint {path} is not one of {type(model).__name__} as configured: weights {', '.join(parts)}"
        )
    model.load_state_dict(weights, strict=True)
