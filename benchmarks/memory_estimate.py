"""Peak memory of training steps: what ``videodiff info`` counts against what a real step takes.

    OMP_NUM_THREADS=1 python benchmarks/memory_estimate.py

Measured are three steps of Lightning's loop with weight average and clipping. Memory is the peak of torch's
CPU allocator over its whole record (``torch.profiler``, the events of every allocation and release), the counterpart of
``torch.cuda.max_memory_allocated``; the model's own making is in it.
"""

from __future__ import annotations

import argparse
import gc
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, IterableDataset

from videodiff.callbacks import EMA
from videodiff.cli.commands.info import on_meta
from videodiff.config import read_configs
from videodiff.cost.batches import make_batch
from videodiff.cost.measured import real_model
from videodiff.cost.memory import memory_of
from videodiff.cost.meta_model import MetaModel

CONFIGS = (
    "vdm_digits", "lvdm_autoencoder_digits", "lvdm_digits", "pvdm_autoencoder_digits", "pvdm_digits",
    "vdm_digits with/smoke", "pvdm_digits with/smoke",
)  # fmt: skip
STEPS = 3
SMALLEST = ("vdm_digits with/smoke", "--batches", "1", "--precisions", "fp32")


class Clips(IterableDataset):
    """The same black clips at every step, at other places of the stream."""

    def __init__(self, batch: dict[str, Any], size: int) -> None:
        self.shape = batch.pop("video").shape
        self.batch, self.size = batch, size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for step in range(STEPS):
            places = torch.arange(step * self.size, (step + 1) * self.size)
            yield {**self.batch, "video": torch.zeros(self.shape), "sample": places}


def measured(config: dict[str, Any], size: int, precision: str) -> int:
    """Peak bytes of torch's allocator while a model is made and takes three steps of ``size`` clips."""
    section, data = config["model"], config["data"]["init_args"]
    gc.collect()  # what an earlier model leaves behind must not be given back within this record
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        model = real_model(section)
        if hasattr(model, "start_step"):
            model.start_step = 0  # the discriminators' phase is what is estimated
        clips = Clips(make_batch(model, data, size, "cpu"), size)
        trainer = pl.Trainer(
            max_steps=STEPS, accelerator="cpu", precision="32-true" if precision == "fp32" else precision, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[EMA()],
            gradient_clip_val=1.0,
        )  # fmt: skip
        trainer.fit(model, DataLoader(clips, batch_size=None))
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def estimated(config: dict[str, Any], precision: str) -> Any:
    """What ``videodiff info`` says, as a function of the clips."""
    meta = MetaModel(on_meta(config, ()))
    return memory_of(meta, config["data"]["init_args"], precision)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", default=CONFIGS, help="configs, overlays after a blank")
    parser.add_argument("--batches", default="1,2,4")
    parser.add_argument("--precisions", default="fp32,bf16-mixed")
    options = parser.parse_args(argv)
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)\n")
    print("| config | precision | clips | estimated MiB | measured MiB | estimated / measured |")
    print("|---|---|---|---|---|---|")
    for name in options.configs:
        config = read_configs(name.split(), "fit")
        for precision in options.precisions.split(","):
            memory = estimated(config, precision)
            for size in map(int, options.batches.split(",")):
                guess, truth = memory.at(size) / 2**20, measured(config, size, precision) / 2**20
                print(
                    f"| {name} | {precision} | {size} | {guess:.1f} | {truth:.1f} | {guess / truth:.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
