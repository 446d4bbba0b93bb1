"""A model of two layers on a stateless endless stream: what fault tests train when the model does not matter."""

import json
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerStatus
from torch import nn
from torch.utils.data import DataLoader, Dataset

from videodiff.callbacks import EMA, NonFiniteGuard, RunCheckpoint, RunRecord, StopOnSignal, Trace, Watchdog
from videodiff.checkpoints import AtomicCheckpointIO, load_checkpoint
from videodiff.data import patient_loader
from videodiff.data.patient_loader import PatientLoader
from videodiff.seeding import generator, key_to_seed

SAMPLES = 24


class Points(Dataset):
    def __len__(self):
        return SAMPLES

    def __getitem__(self, key):
        position, index = key
        x = torch.randn(6, generator=generator("point", index))
        return {"x": x + 0.1 * torch.randn(6, generator=generator("aug", position)), "sample": position}


class Stream:
    """Endless: step s takes positions s * batch ...; rank r takes r::world of each micro-batch."""

    def __init__(self, batch, accumulate, rank, world, first_step, stop=None):
        self.batch, self.accumulate, self.rank, self.world = batch, accumulate, rank, world
        self.first_step, self.stop = first_step, stop

    def __iter__(self):
        micro = self.batch // self.accumulate
        start = self.first_step * self.batch
        while self.stop is None or start < self.stop:
            positions = range(start, start + micro)[self.rank :: self.world]
            yield [(p, self.index(p)) for p in positions]
            start += micro

    def index(self, position):
        epoch, place = divmod(position, SAMPLES)
        return int(torch.randperm(SAMPLES, generator=generator("perm", epoch))[place])


class TinyData(pl.LightningDataModule):
    def __init__(self, batch=8, workers=0, val_batches=3):
        super().__init__()
        self.batch_size, self.workers, self.val_batches = batch, workers, val_batches

    def loader(self, stop=None):
        t = self.trainer
        first = 0 if stop else t.global_step
        accumulate = 1 if stop else t.accumulate_grad_batches
        stream = Stream(self.batch_size, accumulate, t.global_rank, t.world_size, first, stop)
        return DataLoader(Points(), batch_sampler=stream, num_workers=self.workers)

    def train_dataloader(self):
        return self.loader()

    def val_dataloader(self):
        return self.loader(stop=self.val_batches * self.batch_size)


class Tiny(pl.LightningModule):
    """Two layers with dropout and noise, both functions of the stream position."""

    rebuilds = False

    def __init__(self, lr=0.05, optimizer="adamw", fused=True, warmup=4, poison="", pause=0.0, width=16):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Dropout(0.1), nn.Linear(width, 6))
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.lr, self.optimizer, self.fused, self.warmup = lr, optimizer, fused, warmup
        self.poison, self.pause = poison, pause  # poison: "kind:first:last", by optimizer step from 0
        self.on_validation = None

    def loss(self, batch):
        noise = torch.stack([torch.randn(6, generator=generator("noise", int(p))) for p in batch["sample"]])
        return (self.net(batch["x"] + noise) - batch["x"]).square().mean()

    def training_step(self, batch, batch_idx):
        time.sleep(self.pause)
        torch.manual_seed(key_to_seed("dropout", int(batch["sample"][0]), self.global_rank))
        loss = self.loss(batch)
        if self.poison:
            kind, first, last = self.poison.split(":")
            if int(first) <= self.global_step <= int(last) and (
                not kind.startswith("micro") or batch_idx % 2 == 0
            ):
                loss = loss + torch.tensor(float("inf")) if kind.endswith("inf") else loss * float("nan")
        self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch, batch_idx):
        time.sleep(self.pause)
        if self.on_validation is not None:
            self.on_validation(self, batch_idx)
        self.log("val/loss", self.loss(batch), sync_dist=True, batch_size=len(batch["sample"]))

    def configure_optimizers(self):
        params = self.net.parameters()
        if self.optimizer == "sgd":
            optimizer = torch.optim.SGD(params, lr=self.lr, momentum=0.9)
        else:
            optimizer = torch.optim.AdamW(params, lr=self.lr, fused=self.fused)
        warmup = self.warmup
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / warmup))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def generate(self, num_videos, num_frames=None, seed=0, *, request=None, progress=None):
        assert not self.training
        progress(1, 1)
        return torch.rand(num_videos, 3, num_frames or 4, 8, 8, generator=generator(seed)) * 2 - 1


def trainer_for(
    folder, steps, accumulate=1, world=1, callbacks=None, save_every=1, keep=-1, extra=(), **options
):
    own = [Trace(), RunRecord(every_n_steps=1), StopOnSignal(), EMA(decay=0.9), NonFiniteGuard()]
    own.append(RunCheckpoint(every_n_steps=save_every, keep=keep))
    options = {"val_check_interval": 4 * accumulate, "num_sanity_val_steps": 0, **options}
    return pl.Trainer(
        max_steps=steps,
        accumulate_grad_batches=accumulate,
        accelerator="cpu",
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        default_root_dir=str(folder),
        callbacks=(own if callbacks is None else callbacks) + list(extra),
        plugins=[AtomicCheckpointIO()],
        logger=False,
        gradient_clip_val=1.0,
        check_val_every_n_epoch=None,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def fit(folder, steps, resume=None, module=None, data=None, **options):
    """Train to ``steps`` in ``folder``, from ``resume`` if given; returns the module."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = Tiny(**(module or {}))
    trainer = trainer_for(folder, steps, **options)
    trainer.fit(model, datamodule=TinyData(**(data or {})), ckpt_path=resume and str(resume))
    return model


def weights(path):
    """Everything of a checkpoint that must come out the same: averages, raw weights, optimizer moments, step."""
    c = load_checkpoint(path)
    moments = [m for s in c["optimizer_states"][0]["state"].values() for m in s.values()]
    return c["global_step"], c["state_dict"], c["raw_state_dict"], moments, c["ema"], c["lr_schedulers"]


def same(a, b):
    """Bit-identical, tensors included."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


class Hang(pl.Callback):
    """Step 4 never begins; a file says when."""

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == 3:
            Path(trainer.default_root_dir, "hangs").touch()
            threading.Event().wait()


def hang(folder):
    fit(folder, 10, callbacks=[Watchdog(min_seconds=2.0, factor=1), Hang()])


class Slow(Dataset):
    """Two items; the second takes a worker one second, and a file says when."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index == 1:
            (self.folder / "waits").touch()
            for _ in range(10):  # one long sleep would be over on waking
                time.sleep(0.1)
        return index


def reduce_slowly(folder):
    """Rank 1 comes a second later, in a group whose collectives have two."""
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=2))
    dog = Watchdog()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.state.status = TrainerStatus.RUNNING
    dog.on_train_start(trainer, None)
    Path(folder, "waits").touch()
    for _ in range(10 * torch.distributed.get_rank()):
        time.sleep(0.1)
    torch.distributed.all_reduce(torch.ones(1))
    dog.halt()


def load_slowly(folder):
    loader = PatientLoader(Slow(folder), num_workers=1, timeout=2, prefetch_factor=1)
    patient_loader.PIECE = 0.2
    assert [int(batch) for batch in loader] == [0, 1]


class InfiniteOnOneRank(pl.Callback):
    """An infinite loss with finite gradients on rank 1: only a reduced verdict tells the other rank."""

    def on_fit_start(self, trainer, pl_module):
        step = pl_module.training_step

        def training_step(batch, batch_idx):
            bad = pl_module.global_rank == 1 and pl_module.global_step == 2
            return step(batch, batch_idx) + (float("inf") if bad else 0.0)

        pl_module.training_step = training_step


def fit_infinite_on_one_rank(folder):
    fit(folder, 5, world=2, extra=[InfiniteOnOneRank()])
