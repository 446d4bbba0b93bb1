"""The record of a run: metrics.jsonl, one line per logged step, and env.json."""

import json
import math
import os
import platform
import socket
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from videodiff import atomic
from videodiff.reading import read_json
from videodiff.trainer import steps_between_logs

PACKAGES = (
    "videodiff",
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "jsonargparse",
    "einops",
    "av",
    "numpy",
)
VOLATILE = ("time", "throughput/")


class RunRecord(Callback):
    """Append every logged metric to ``metrics.jsonl`` in the run folder; rank 0, each line flushed.

    A training line holds the step, the position of its first sample in the training stream, the time (seconds since
    1970), the learning rate and all metrics but those of ``val/``; a validation line holds the step and those. NaN
    and infinity are written as null. A resumed run cuts off a half-written last line and writes again only those
    steps whose numbers differ from what the file holds.

    Args:
        every_n_steps: steps between training lines; none takes the trainer's ``log_every_n_steps`` (0: no such lines).

    Raises:
        ValueError: if ``every_n_steps`` is below 1.
    """

    def __init__(self, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"record.every_n_steps must be at least 1, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self.path = Path()
        self.known: dict[tuple[int, str], dict[str, Any]] = {}
        self.step = 0
        self.pending: dict[str, Any] | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            folder = Path(trainer.default_root_dir)
            folder.mkdir(parents=True, exist_ok=True)
            atomic.write_json(folder / "env.json", environment(trainer))
            self.path = folder / "metrics.jsonl"
            repair(self.path)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.step = trainer.global_step
        if trainer.is_global_zero:
            lines = read_metrics(self.path)
            self.known = {(line["step"], kind(line)): line for line in lines if line["step"] >= self.step}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if not trainer.is_global_zero or step == self.step:
            return
        self.step = step
        interval = self.every_n_steps or steps_between_logs(trainer)
        if interval and step % interval == 0:
            self.pending = {"lr": float(trainer.optimizers[0].param_groups[0]["lr"])}
            if isinstance(batch, dict) and "sample" in batch:
                self.pending["sample"] = int(batch["sample"][0])

    def flush(self, trainer: pl.Trainer) -> None:
        """Write the pending training line; not before other callbacks, in whatever order, have logged for the step."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            metrics = {
                k: v for k, v in trainer.callback_metrics.items() if not k.startswith(("val/", "test/"))
            }
            self.write(self.step, pending | metrics)

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self.flush(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.flush(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.flush(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.flush(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self.flush(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero and trainer.state.fn == "fit" and not trainer.sanity_checking:
            metrics = trainer.callback_metrics
            self.write(trainer.global_step, {k: v for k, v in metrics.items() if k.startswith("val/")})

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Append one line, unless the file already holds it from before a resume."""
        numbers = {key: to_number(value) for key, value in values.items()}
        line = {"step": step, "time": round(time.time(), 3), **numbers}
        before = self.known.pop((step, kind(line)), None)
        if before is not None and steady(before) == steady(line):
            return
        atomic.append(self.path, json.dumps(line) + "\n")


def to_number(value: Any) -> float | int | None:
    """A tensor or number as JSON can hold it; NaN and infinity become None."""
    number = value.item() if isinstance(value, torch.Tensor) else value
    return number if math.isfinite(number) else None


def kind(line: dict[str, Any]) -> str:
    """``val`` for a validation line, else ``train``."""
    return "val" if any(key.startswith("val/") for key in line) else "train"


def steady(line: dict[str, Any]) -> dict[str, Any]:
    """A line without the numbers that differ between two equal runs."""
    return {key: value for key, value in line.items() if not key.startswith(VOLATILE)}


def repair(path: Path) -> None:
    """End the file with a whole line: complete one that lost only its newline, cut off one that is half written."""
    if not path.exists():
        return
    data = path.read_bytes()
    tail = data.rpartition(b"\n")[2]
    if not tail:
        return
    try:
        json.loads(tail)
        data += b"\n"
    except ValueError:
        data = data[: len(data) - len(tail)]
    with open(path, "r+b", opener=atomic.no_link) as file:
        file.truncate(len(data))
        file.seek(max(len(data) - 1, 0))
        file.write(data[-1:])


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All lines of a ``metrics.jsonl``, oldest first; an absent file has none.

    Raises:
        ValueError: for a line that is none, with the file and its number.
    """
    if not path.exists():
        return []
    found = []
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            found.append({**line, "step": int(line["step"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path}, line {number}: no line of a run's record; remove it and give the same command again"
            ) from error
    return found


def origin(folder: str | Path) -> dict[str, Any] | None:
    """Which checkpoint a run started from (how, path, sha256, step), as its ``origin.json`` says; None for none."""
    file = Path(folder) / "origin.json"
    if not file.is_file():
        return None
    found = read_json(file)
    return {key: found.get(key) for key in ("how", "checkpoint", "sha256", "step")}


def environment(trainer: pl.Trainer) -> dict[str, Any]:
    """The machine, versions and command with which a run was started."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    versions["torch"] = torch.__version__  # with its build, which the package's metadata leaves out
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "started_from": origin(trainer.default_root_dir),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "cuda": torch.version.cuda if devices else None,
        "devices": devices or [platform.processor() or platform.machine()],
        "world_size": trainer.world_size,
        "precision": str(trainer.precision),
        "threads": torch.get_num_threads(),
    }
