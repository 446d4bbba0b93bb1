"""Every step's samples and loss to the last bit, for tests and for finding where two runs differ."""

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from videodiff import atomic


class Trace(Callback):
    """Append ``{"step", "batch", "ids", "loss"}`` per micro-batch to ``trace_rank<r>.jsonl``; the loss as a hex float.

    It reads the loss on the host each step, so it is for checks, not for long runs.
    """

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = float(outputs["loss"] if isinstance(outputs, dict) else outputs)
        ids = batch["sample"].tolist() if isinstance(batch, dict) and "sample" in batch else []
        line = {"step": trainer.global_step, "batch": batch_idx, "ids": ids, "loss": loss.hex()}
        path = Path(trainer.default_root_dir) / f"trace_rank{trainer.global_rank}.jsonl"
        atomic.append(path, json.dumps(line) + "\n")
