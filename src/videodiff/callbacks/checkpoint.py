"""When a run saves checkpoints, under which names, and what they hold beside Lightning's own state."""

import math
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from videodiff import __version__
from videodiff.callbacks.hyperparameters import apply_configured_hyperparameters, configured_hyperparameters
from videodiff.callbacks.record import origin
from videodiff.migrations import FORMATS
from videodiff.run_layout import BEST, CHECKPOINTS, CONFIG, LAST
from videodiff.trainer import data_of


class RunCheckpoint(Checkpoint):
    """Keep ``checkpoints/last.ckpt``, ``best.ckpt`` and, if asked, ``step_<n>.ckpt`` in the run folder.

    Saves lie between optimizer steps, replace their file in one rename, never hold non-finite weights, and at the
    last step. A checkpoint saved at or inside a validation makes the resumed run validate again, so that it logs what
    the uninterrupted one would have. On a resume the configured learning rate and schedule win over the stored ones.

    Args:
        every_n_steps: steps between saves of ``last``.
        every_minutes: longest time between them.
        monitor: metric that ``best`` follows; without it in a validation there is no ``best``.
        mode: min or max.
        keep: how many ``step_<n>.ckpt`` to keep, the newest; 0 = none, -1 = all.

    Raises:
        ValueError: for values out of range, and before the first step when the disk has no room.
    """

    def __init__(
        self,
        every_n_steps: int = 1000,
        every_minutes: float = 15.0,
        monitor: str = "val/loss",
        mode: str = "min",
        keep: int = 0,
    ) -> None:
        if every_n_steps < 1 or every_minutes <= 0 or keep < -1 or mode not in ("min", "max"):
            raise ValueError(
                "checkpoint: every_n_steps >= 1, every_minutes > 0, keep >= -1 and mode min or max are needed, "
                f"got {every_n_steps}, {every_minutes}, {keep} and {mode!r}"
            )
        self.every_n_steps, self.every_minutes, self.monitor = every_n_steps, every_minutes, monitor
        self.mode, self.keep = mode, keep
        self.best_score: float | None = None
        self.best_model_path, self.last_model_path = "", ""
        self.folder = Path()
        self.step, self.saved_step, self.saved_at = 0, -1, 0.0
        self.owed, self.validating = False, False
        self.configured: dict[str, Any] | None = None

    # --- start ------------------------------------------------------------------------------------------------

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.folder = Path(trainer.default_root_dir) / CHECKPOINTS
        if stage == "fit" and trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            clean = getattr(trainer.strategy.checkpoint_io, "clean", None)
            if clean is not None:
                clean(self.folder)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Optimizers are built and their state is not restored yet: this is what was configured.
        self.configured = configured_hyperparameters(trainer.optimizers, schedulers(trainer))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self.configured is not None  # on_fit_start came before
        changes = apply_configured_hyperparameters(self.configured, trainer.optimizers, schedulers(trainer))
        if trainer.is_global_zero:
            for line in changes:
                print(line, file=sys.stderr, flush=True)
            self.check_room(pl_module)
        self.step = self.saved_step = trainer.global_step
        self.saved_at, self.owed, self.validating = time.monotonic(), False, False

    def check_room(self, pl_module: pl.LightningModule) -> None:
        """Refuse to start when the disk cannot hold the files still to come and one unfinished one."""
        names = {LAST, BEST, *(f"step {i}" for i in range(max(self.keep, 0)))}
        missing = len(names) - sum((self.folder / name).exists() for name in names)
        size = checkpoint_bytes(pl_module)
        free = shutil.disk_usage(self.folder).free
        if free < (missing + 1) * size:
            raise ValueError(
                f"no room for checkpoints in {self.folder}: {missing + 1} of about {size / 2**20:.0f} MiB are to come, "
                f"{free / 2**20:.0f} MiB are free (free some space or keep fewer)"
            )

    # --- when -------------------------------------------------------------------------------------------------

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        if trainer.global_step == self.step:
            return
        self.step = trainer.global_step
        self.owed |= self.due(trainer)
        if self.owed and not validation_follows(trainer):  # else after it, with its score
            self.save(trainer, pl_module, [LAST, *self.step_name()])

    def due(self, trainer: pl.Trainer) -> bool:
        """By steps, at the end, or by the clock of rank 0, which other ranks ask every twenty steps."""
        if self.step % self.every_n_steps == 0 or self.step == trainer.max_steps:
            return True
        late = time.monotonic() - self.saved_at > 60 * self.every_minutes
        if trainer.world_size == 1:
            return late
        return self.step % 20 == 0 and trainer.strategy.reduce_boolean_decision(late, all=False)

    def step_name(self) -> list[str]:
        """The name of this step's own file, if one is to be kept."""
        return [f"step_{self.step:08d}.ckpt"] if self.keep and self.step % self.every_n_steps == 0 else []

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.validating = True
            # Undo what rerun_validation() wrote into a restored state; a no-op otherwise.
            trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset_on_restart()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self.validating = False
        score = trainer.callback_metrics.get(self.monitor)
        better = score is not None and self.better(float(score))
        names = [LAST, *self.step_name()] if self.owed else []
        if trainer.strategy.reduce_boolean_decision(better, all=True) and score is not None:
            self.best_score = float(score)
            names.append(BEST)
        if names:
            self.save(trainer, pl_module, names)

    def better(self, score: float) -> bool:
        if not math.isfinite(score):
            return False
        if self.best_score is None:
            return True
        return score < self.best_score if self.mode == "min" else score > self.best_score

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.saved_step != trainer.global_step:
            self.step = trainer.global_step
            self.save(trainer, pl_module, [LAST])

    # --- how --------------------------------------------------------------------------------------------------

    def save(self, trainer: pl.Trainer, pl_module: pl.LightningModule, names: list[str]) -> None:
        """Write one file and give it its other names."""
        if not all_finite(pl_module):
            if trainer.is_global_zero:
                text = f"step {self.step}: weights are not finite, checkpoint not written, the previous one is kept"
                print(text, file=sys.stderr, flush=True)
            return
        if LAST in names:
            self.saved_step, self.saved_at, self.owed = self.step, time.monotonic(), False
        # last.ckpt at the end: a save that was cut short has the newest step under another name, and goes on from it
        paths = [self.folder / name for name in sorted(names, key=lambda name: name == LAST)]
        for path in paths:
            if path.name == BEST:
                self.best_model_path = str(path)
            elif path.name == LAST:
                self.last_model_path = str(path)
        trainer.save_checkpoint(paths[0], weights_only=False)
        if trainer.is_global_zero:
            link = getattr(trainer.strategy.checkpoint_io, "link", shutil.copyfile)
            for path in paths[1:]:
                link(paths[0], path)
            self.prune()

    def prune(self) -> None:
        """Remove the oldest step files beyond ``keep``."""
        files = sorted(self.folder.glob("step_*.ckpt"))
        for path in files[: len(files) - self.keep] if self.keep > 0 else []:
            path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "best_model_path": self.best_model_path}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.best_model_path = state_dict["best_score"], state_dict["best_model_path"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        config = Path(trainer.default_root_dir) / CONFIG
        fingerprint = getattr(data_of(trainer), "fingerprint", None)
        checkpoint["videodiff"] = {
            "format": FORMATS["checkpoint"],
            "version": __version__,
            "config": config.read_text(encoding="utf-8") if config.is_file() else "",
            "fingerprint": fingerprint() if callable(fingerprint) else None,
            "started_from": origin(trainer.default_root_dir),
        }
        if self.validating or (trainer.training and validation_follows(trainer)):
            rerun_validation(checkpoint["loops"]["fit_loop"])


def schedulers(trainer: pl.Trainer) -> list[Any]:
    """The trainer's learning-rate schedulers."""
    return [config.scheduler for config in trainer.lr_scheduler_configs]


def checkpoint_bytes(pl_module: pl.LightningModule) -> int:
    """Approximate size of a checkpoint: all weights, and for trained ones an average and two moments, in fp32."""
    stored = sum(t.numel() * t.element_size() for t in pl_module.state_dict().values())
    return stored + sum(12 * p.numel() for p in pl_module.parameters() if p.requires_grad) + 2**16


@torch.no_grad()
def all_finite(pl_module: pl.LightningModule) -> bool:
    """Whether every trained weight is finite; one synchronisation."""
    weights: list[Tensor] = [p for p in pl_module.parameters() if p.requires_grad]
    norms = (
        torch.stack([n.double() for n in torch._foreach_norm(weights, float("inf"))])
        if weights
        else torch.zeros(1)
    )
    return bool(torch.isfinite(norms).all())


def validation_follows(trainer: pl.Trainer) -> bool:
    """Whether the training loop will validate right after the batch that has just ended."""
    loop = trainer.fit_loop
    fetcher = loop._data_fetcher
    if fetcher is None or not trainer.enable_validation:
        return False
    return loop.epoch_loop._should_check_val_fx(fetcher)


def rerun_validation(fit_loop: dict[str, Any]) -> None:
    """Make a saved loop state say: the batch is done, its validation has begun and no batch of it is done.

    From that state Lightning resumes with a whole validation; from the state as it is, it would skip it.
    """
    batches = fit_loop["epoch_loop.batch_progress"]
    for count in (batches["total"], batches["current"]):
        count["completed"] = count["processed"]
    for count in ("total", "current"):
        begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
        fit_loop["epoch_loop.val_loop.batch_progress"][count] = begun
    fit_loop["epoch_loop.val_loop.batch_progress"]["is_last_batch"] = False
