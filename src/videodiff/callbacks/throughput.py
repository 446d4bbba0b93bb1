"""Speed and memory of a run."""

import resource
import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from videodiff.cost.counter import Counter
from videodiff.trainer import data_of, steps_between_logs


class Throughput(Callback):
    """Log ``throughput/*``: clips per second, seconds per step, TFLOP per step and per second, peak memory in GiB.

    Times are means over the steps since the last line, without validation and sampling before the next step; nothing
    waits for the device. FLOPs are those of the network (the autoencoder where it is trained, without its
    discriminators), counted in its first forward (a multiply-add is two) and taken three times for a training step; a
    network compiled before the first step is not counted.

    Args:
        every_n_steps: steps between lines; none takes the trainer's ``log_every_n_steps`` (0: no lines).

    Raises:
        ValueError: if ``every_n_steps`` is below 1.
    """

    def __init__(self, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"throughput.every_n_steps must be at least 1, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self.flops_per_batch: int | None = None
        self.hooks: list[Any] = []
        self.seconds, self.steps, self.batches, self.clips, self.began = 0.0, 0, 0, 0, 0.0
        self.step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds, self.steps, self.batches, self.clips = 0.0, 0, 0, 0
        self.step, self.began = trainer.global_step, time.perf_counter()
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)
        parts = dict(pl_module.named_children())
        net = parts.get("net", parts.get("autoencoder", pl_module))
        is_mixed = bool(getattr(data_of(trainer), "buckets", None))  # each shape has FLOPs of its own
        if (
            self.flops_per_batch is None
            and not is_mixed
            and all(m._compiled_call_impl is None for m in net.modules())
        ):
            self.count_first_forward(net)

    def count_first_forward(self, net: nn.Module) -> None:
        """Count FLOPs from the network's next forward pre-hook to its forward hook, then remove both hooks."""
        counter = Counter(is_real=True)

        def enter(*args: Any) -> None:
            counter.__enter__()

        def leave(*args: Any) -> None:
            counter.__exit__(None, None, None)
            self.flops_per_batch = counter.flop
            self.remove_hooks()

        self.hooks = [net.register_forward_pre_hook(enter, prepend=True), net.register_forward_hook(leave)]

    def remove_hooks(self) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.batches += 1
        self.clips += num_clips(batch) * trainer.world_size
        if trainer.global_step == self.step:
            return
        self.steps += trainer.global_step - self.step
        self.step = trainer.global_step
        interval = self.every_n_steps or steps_between_logs(trainer)
        if not interval or self.step % interval:
            return
        self.seconds += time.perf_counter() - self.began
        for name, value in self.figures(trainer, pl_module).items():
            pl_module.log(f"throughput/{name}", value, rank_zero_only=True)
        self.seconds, self.steps, self.batches, self.clips, self.began = 0.0, 0, 0, 0, time.perf_counter()

    def figures(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, float]:
        """The figures of the steps since the last line."""
        figures = {
            "clips_per_second": self.clips / self.seconds,
            "seconds_per_step": self.seconds / self.steps,
            "peak_memory_gib": peak_memory(pl_module.device) / 2**30,
        }
        if self.flops_per_batch:
            flops = 3 * self.flops_per_batch * self.batches * trainer.world_size
            figures |= {
                "tflop_per_step": flops / self.steps / 1e12,
                "tflop_per_second": flops / self.seconds / 1e12,
            }
        return figures

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds += time.perf_counter() - self.began

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.remove_hooks()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self.remove_hooks()


def num_clips(batch: Any) -> int:
    """Clips in a batch: the rows of its ``sample`` or of its first tensor."""
    if isinstance(batch, dict):
        batch = batch.get("sample", next((v for v in batch.values() if isinstance(v, torch.Tensor)), ()))
    elif isinstance(batch, list | tuple):
        batch = batch[0]
    return len(batch)


def peak_memory(device: torch.device) -> int:
    """Peak bytes of this process: allocated on a CUDA device, else resident in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
