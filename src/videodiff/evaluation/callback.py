"""``videodiff test``: generated clips against real ones of the run's data, under a named protocol."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from videodiff.conditioning.asked import request_of
from videodiff.conditioning.request import Request, recorded
from videodiff.data.clips import ClipSource
from videodiff.evaluation.against import Against
from videodiff.evaluation.detectors import BUILT_IN, Detector, build_detectors
from videodiff.evaluation.names import record_name
from videodiff.evaluation.of_run import (
    as_bytes,
    choose,
    default_protocol,
    facts_of,
    labels_of,
    other_draws,
    real_source,
    told_of,
    unfit,
)
from videodiff.evaluation.protocol import Protocol, get_protocol
from videodiff.evaluation.reference import cached_reference, reference_key, reference_path
from videodiff.evaluation.results import Result
from videodiff.evaluation.run import evaluate
from videodiff.evaluation.sampling import Batch, ClipPlan, plan_clips, read_batches
from videodiff.evaluation.sides import Side, join, observe
from videodiff.trainer import data_of


class VideoEvaluation(pl.Callback):
    """After the test loop: real clips of the data and generated ones of the model, their distance, and its record.

    Clip i of the generated set depends on the seed and i alone, and every process draws its share without padding, so
    neither processes nor batch sizes change a number. Real clips are decoded once per data set and protocol; both
    sides pass in batches, never as a whole.

    Args:
        protocol: as :func:`~videodiff.evaluation.protocol.get_protocol` takes it; None chooses: ``evaluator`` for the
            built-in sets, ``styleganv`` where the weights of I3D are found, else ``random``.
        num_clips: clips of each side; fewer than the protocol's never bear its name.
        folders: where ``eval/<record_name>.json`` is written (:func:`~videodiff.evaluation.names.record_name`).
        batch_size: clips generated and read at once.
        seed: of generated clips, windows and shuffling.
        c3d: also the inception score of C3D.
        model_record: what is known of the weights and of how they draw: checkpoint, step, ema, weights (their
            digest), config.
        cache: folder of cached references; None is the user's.
        make_detectors: builds what looks at the clips.
        against: stored results that this one is to stand beside; refused before the test begins if it could not.
        told: what every generated clip is told, by the names of the flags (``conditioning/request.py``).

    Attributes:
        result: what was found, on rank 0 after the test; None where nothing could be measured.
    """

    def __init__(
        self,
        protocol: str | None = None,
        num_clips: int | None = None,
        folders: Sequence[str | Path] = (),
        batch_size: int = 16,
        seed: int = 0,
        c3d: bool = False,
        model_record: dict[str, Any] | None = None,
        cache: Path | None = None,
        make_detectors: Callable[[Protocol], Sequence[Detector]] | None = None,
        against: Against | None = None,
        told: Mapping[str, Any] | None = None,
    ) -> None:
        if num_clips is not None and num_clips < 2:
            raise ValueError(f"--num_clips must be at least 2, got {num_clips}")
        self.asked = None if protocol is None else get_protocol(protocol)
        self.num_clips, self.folders, self.batch_size, self.seed = num_clips, folders, batch_size, seed
        self.c3d, self.model_record, self.cache = c3d, model_record or {}, cache
        self.make_detectors, self.against, self.told = make_detectors, against, dict(told or {})
        self.result: Result | None = None
        self.notes: list[str] = []
        self.chosen: tuple[Protocol, list[Detector], dict[str, str | None]] | None = None
        self.last_line = 0.0

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = data_of(trainer)
        if (self.against is None and not self.told) or unfit(data, pl_module) is not None:
            return
        with torch.inference_mode(False), torch.no_grad():  # the detectors are kept for the end of the test
            protocol, detectors, checksums = self.choose(trainer, data, pl_module)
        self.request(pl_module, protocol)  # refused before anything is drawn
        if self.against is not None:
            record = protocol.record(checksums[detectors[0].name])
            self.against.check(record, told_of(data, protocol.split), self.planned(data, protocol)[2])

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Guided sampling needs gradients, which inference mode, Lightning's default here, forbids for good.
        with torch.inference_mode(False), torch.no_grad():
            reason = unfit(data_of(trainer), pl_module)
            if reason is None:
                self.measure(trainer, pl_module)
            elif self.told:
                raise ValueError(f"--{next(iter(self.told))}: {reason}")
            elif self.asked is None:
                say(trainer, f"clips are not evaluated: {reason}")
            else:
                raise ValueError(f"--protocol {self.asked.label}: {reason}")

    def measure(self, trainer: pl.Trainer, model: Any) -> None:
        """Look at both sides, score them on rank 0 and write the result."""
        self.last_line = time.monotonic()
        data = data_of(trainer)
        protocol, detectors, checksums = self.choose(trainer, data, model)
        source, plan, wanted = self.planned(data, protocol)
        facts = facts_of(data, protocol.split)
        real = self.real_side(trainer, source, plan, detectors, reference_key(
            protocol, facts, checksums, len(plan), self.seed
        ))  # fmt: skip
        floor = None
        if data.dataset in BUILT_IN:
            others = other_draws(source, len(plan))
            floor = self.real_side(trainer, others, plan, detectors, reference_key(
                protocol, {**facts, "floor": len(plan)}, checksums, len(plan), self.seed
            ))  # fmt: skip
        fake = self.fake_side(trainer, model, protocol, detectors, wanted, labels_of(model, source, plan))
        if not trainer.is_global_zero:
            return
        self.result = evaluate(
            real, fake, protocol, floor=floor, detectors=detectors, seed=self.seed,
            data=told_of(data, protocol.split),
            model={
                **model.describe(), "precision": str(trainer.precision), **self.model_record,
                **self.told_record(self.request(model, protocol)),
            },
            warnings=self.notes,
        )  # fmt: skip
        for folder in self.folders:
            self.result.save(Path(folder) / "eval" / f"{record_name(self.result)}.json")
        for logger in trainer.loggers:
            prefix = f"test/{self.result.name}/"
            logger.log_metrics({prefix + k: float(e["value"]) for k, e in self.result.metrics.items()}, 0)

    # -- what to measure with

    def choose(
        self, trainer: pl.Trainer, data: Any, model: Any
    ) -> tuple[Protocol, list[Detector], dict[str, str | None]]:
        """The protocol and its detectors, weights found; without a wish, what this machine can measure. Chosen once."""
        if self.chosen is not None:
            return self.chosen
        protocol = self.asked or default_protocol(data, model.video_shape[1])
        if "frames" in self.told:
            protocol = protocol.changed(frames=self.told["frames"])
        found = choose(protocol, data, self.num_clips, self.builder(data), self.asked is None)
        for note in found.notes:
            if " is not measured: " in note:
                say(trainer, note)
        self.notes += found.notes
        self.chosen = found.protocol, found.detectors, found.checksums
        return self.chosen

    def builder(self, data: Any) -> Callable[[Protocol], Sequence[Detector]]:
        """What makes the detectors of a protocol."""
        device = data.trainer.strategy.root_device
        return self.make_detectors or (lambda p: build_detectors(p, device, data.dataset, self.c3d))

    def planned(self, data: Any, protocol: Protocol) -> tuple[ClipSource, ClipPlan, int]:
        """The real videos, which clips of them, and how many clips the model draws: no more than asked for."""
        source = real_source(data, protocol)
        plan = plan_clips(source, protocol, "real", self.seed)
        plan = plan if self.num_clips is None else plan.first(self.num_clips)
        if data.dataset in BUILT_IN:
            return source, plan, len(plan)
        return source, plan, min(self.num_clips or protocol.num_fake, protocol.num_fake)

    def request(self, model: Any, protocol: Protocol) -> Request:
        """What is asked of every generated clip.

        Raises:
            ValueError: for what the model cannot be told.
        """
        asked = request_of(self.told, model.video_shape, protocol.frames)
        model.check_request(asked, protocol.frames)
        return asked

    def told_record(self, asked: Request) -> dict[str, Any]:
        """What was told, for the record; empty where nothing was. The number of frames is the protocol's."""
        found: dict[str, Any] = {} if asked.guidance is None else {"guidance": asked.guidance}
        told = {name: value for name, value in self.told.items() if name not in ("frames", "guidance")}
        if not told:
            return found
        words = ", ".join(f"{name} {value}" for name, value in told.items())
        self.notes.append(f"every generated clip was told {words}; the real clips were not chosen by it")
        return found | {"told": recorded(told)}

    # -- the two sides

    def real_side(
        self,
        trainer: pl.Trainer,
        source: ClipSource,
        plan: ClipPlan,
        detectors: Sequence[Detector],
        key: dict[str, Any],
    ) -> Side:
        """The real clips, from the cache or decoded by all processes together; whole on rank 0, which alone scores."""
        path = reference_path(key, self.cache)
        if trainer.strategy.broadcast(path is not None and path.is_file()):
            return cached_reference(key, Side, self.cache)[0] if trainer.is_global_zero else Side()
        bad: list[str] = []
        mine = range(trainer.global_rank, len(plan), trainer.world_size)
        batches = read_batches(source, plan, mine, self.batch_size, bad)
        side = gather(trainer, observe(batches, detectors, self.progress(trainer, "real clips", len(mine))))
        if bad:
            self.notes.append(f"{len(bad)} real clips could not be read; the first: {bad[0]}")
        if not trainer.is_global_zero:
            return side
        return cached_reference(key, lambda: side, self.cache)[0]

    def fake_side(
        self,
        trainer: pl.Trainer,
        model: Any,
        protocol: Protocol,
        detectors: Sequence[Detector],
        count: int,
        labels: list[int] | None,
    ) -> Side:
        """The generated clips, each process its share."""
        mine = list(range(trainer.global_rank, count, trainer.world_size))
        batches = self.draw(trainer, model, protocol, mine, labels)
        report = self.progress(trainer, "generated clips", len(mine))
        return gather(trainer, observe(batches, detectors, report))

    def draw(
        self, trainer: pl.Trainer, model: Any, protocol: Protocol, mine: list[int], labels: list[int] | None
    ) -> Iterator[Batch]:
        """Generate the clips of these indices batch by batch.

        Raises:
            RuntimeError: if the model draws something that is not finite.
        """
        asked = self.request(model, protocol)
        for start in range(0, len(mine), self.batch_size):
            indices = mine[start : start + self.batch_size]
            request = asked.expand(len(indices))
            if labels is not None and request.label is None:
                request = replace(request, label=torch.tensor([labels[i % len(labels)] for i in indices]))
            with trainer.precision_plugin.forward_context():
                videos = model.generate(len(indices), protocol.frames, self.seed, request, indices=indices)
            if not bool(torch.isfinite(videos).all()):
                raise RuntimeError("the model drew non-finite values; is the checkpoint trained?")
            clips = as_bytes(videos, protocol.rounding).permute(0, 2, 3, 4, 1)  # [B, T, H, W, 3]
            yield Batch(indices, clips[:, :: protocol.subsample].cpu())

    def progress(self, trainer: pl.Trainer, what: str, total: int) -> Callable[[int], None]:
        """Lines on stderr from rank 0: in place on a terminal, else one every half minute."""
        terminal = sys.stderr.isatty()
        began = time.monotonic()

        def report(done: int) -> None:
            now = time.monotonic()
            if not trainer.is_global_zero or now - self.last_line < (0.5 if terminal else 30.0):
                return
            self.last_line = now
            left = (now - began) / done * (total - done)
            text = f"{what} {done}/{total}  {left:.0f} s left"
            print(f"\r{text} " if terminal else f"videodiff: {text}", end="" if terminal and done < total else "\n",
                  file=sys.stderr, flush=True)  # fmt: skip

        return report


def gather(trainer: pl.Trainer, side: Side) -> Side:
    """The sides of all processes as one, on every process."""
    if trainer.world_size == 1:
        return side
    parts: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(parts, side)
    return join(parts)


def say(trainer: pl.Trainer, text: str) -> None:
    """One line on stderr, from rank 0."""
    if trainer.is_global_zero:
        print(f"videodiff: {text}", file=sys.stderr, flush=True)
