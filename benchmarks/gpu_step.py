"""Training steps as ``fit`` takes them: speed, memory, and what makes the host wait; memory as ``info`` counts it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from gpu_setting import Setting, System
from in_sections import Tell
from torch.utils.data import DataLoader, IterableDataset

from videodiff.callbacks import EMA, NonFiniteGuard, Throughput
from videodiff.cost.batches import keep_latents, make_batch
from videodiff.cost.memory import memory_of
from videodiff.cost.meta_model import MetaModel
from videodiff.models import AutoencoderModule
from videodiff.networks.compilation import compile_each, modules_of

WARM_UP, LEAST_STEPS, STEP_SECONDS = 4, 8, 6.0


class Batches(IterableDataset):
    """The same clips at every step, at other places of the stream."""

    def __init__(self, batch: dict[str, Any], size: int) -> None:
        self.batch, self.size = batch, size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        first = 0
        while True:
            yield {**self.batch, "sample": torch.arange(first, first + self.size)}
            first += self.size


class OnDevice(pl.LightningDataModule):
    """Batches that lie on the device: what loading costs is the loader's section."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch


class Clock(pl.Callback):
    """Times steps after a warm-up, then looks at one more for what makes the host wait for the device.

    Attributes:
        seconds: of the timed steps, from an idle device to an idle device.
        steps: how many they were.
        warm_up_seconds: of those before, compilation included.
        waits: places of the code that waited, each with its count.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting, self.seconds, self.steps, self.warm_up_seconds = setting, 0.0, 0, 0.0
        self.waits: dict[str, int] | None = None
        small = setting.smallest
        self.warm_up, self.least, self.enough = (1, 1, 0.0) if small else (WARM_UP, LEAST_STEPS, STEP_SECONDS)
        self.began, self.watch = time.perf_counter(), warnings.catch_warnings(record=True)
        self.caught: list[warnings.WarningMessage] | None = None

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.warm_up and not self.steps:
            self.setting.wait()
            self.warm_up_seconds, self.began = time.perf_counter() - self.began, time.perf_counter()
        if self.seconds and self.setting.device == "cuda":
            self.caught = self.watch.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.caught is not None:
            torch.cuda.set_sync_debug_mode("default")
            self.watch.__exit__(None, None, None)
            places = [
                f"{Path(w.filename).name}:{w.lineno}" for w in self.caught if "synchroniz" in str(w.message)
            ]
            self.waits = {place: places.count(place) for place in sorted(set(places))}
        if self.seconds:
            trainer.should_stop = True
            return
        self.steps = max(trainer.global_step - self.warm_up, 0)
        if self.steps >= self.least and time.perf_counter() - self.began >= self.enough:
            self.setting.wait()
            self.seconds = time.perf_counter() - self.began
            trainer.should_stop = self.setting.device != "cuda"


def step(setting: Setting, system: System, compiled: bool, tell: Tell) -> None:
    """Training steps as ``fit`` takes them: its precision, guard, average and clipping. What is too large is halved."""
    batch = 2 if setting.smallest else system.batch
    while True:
        try:
            tell(steps_of(setting, system, batch, compiled))
            return
        except torch.OutOfMemoryError as error:
            if batch == 1:
                raise
            error.__traceback__ = None  # it holds the tensors
        tell({f"out_of_memory_at_{batch}": True})
        batch //= 2
        torch.cuda.empty_cache()


def steps_of(setting: Setting, system: System, size: int, compiled: bool) -> dict[str, Any]:
    """Figures of steps of ``size`` clips."""
    config = setting.config(system.configs, system.options)
    model, data = setting.build(config), config["data"]["init_args"]
    net = model.autoencoder if isinstance(model, AutoencoderModule) else model.net
    batch = make_batch(model, data, size, setting.device)
    batch["video"].uniform_(-1, 1)
    if system.kept:
        one = {**make_batch(model, data, 1, setting.device), "video": batch["video"][:1]}
        latent = keep_latents(model, one)["latent"]
        batch = {k: v for k, v in batch.items() if k != "video"}
        batch["latent"] = torch.randn(size, *latent.shape[1:], device=setting.device)
    if compiled:
        options = {"backend": "eager"} if setting.smallest else {}
        compile_each(modules_of(net, (system.block,)), **options)
    if setting.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    throughput, clock = Throughput(every_n_steps=10**9), Clock(setting)
    clip = config.get("trainer", {}).get("gradient_clip_val", 1.0)
    trainer = pl.Trainer(
        min_epochs=0, max_epochs=1, accelerator=setting.device, devices=1, precision=setting.precision, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=clip,
        callbacks=[EMA(**(config.get("ema") or {})), NonFiniteGuard(), throughput, clock],
    )  # fmt: skip
    trainer.fit(model, datamodule=OnDevice(Batches(batch, size)))
    figures = {
        "batch": size, "precision": setting.precision, "steps": clock.steps,
        "seconds_per_step": clock.seconds / clock.steps, "clips_per_second": size * clock.steps / clock.seconds,
        "warm_up_s": clock.warm_up_seconds, "recomputes": bool(getattr(net, "recompute", False)),
    }  # fmt: skip
    if throughput.flops_per_batch:
        figures["forward_flop_per_clip"] = throughput.flops_per_batch / size
    if setting.device == "cuda":
        figures |= {
            "peak_bytes": torch.cuda.max_memory_allocated(),
            "reserved_bytes": torch.cuda.max_memory_reserved(),
        }
        figures["host_waits"] = clock.waits
    return figures


def estimate(setting: Setting, systems: tuple[System, ...], tell: Tell) -> None:
    """Bytes of such a step as ``videodiff info`` counts them, by batch."""
    precision = "bf16-mixed" if setting.precision == "bf16-mixed" else "fp32"
    for system in systems:
        config = setting.config(system.configs, system.options)
        meta = MetaModel(setting.build(config, "meta"), setting.device)
        memory = memory_of(meta, config["data"]["init_args"], precision, kept_latents=system.kept)
        sizes = [2**n for n in range(system.batch.bit_length())]
        tell({system.name: {"peak_bytes": {str(n): memory.at(n) for n in sizes}}})
