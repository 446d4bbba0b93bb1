"""``videodiff test``: generated clips against real ones of the run's data, under a named protocol."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from videodiff.conditioning.asked import check_own_frames, in_words, request_of
from videodiff.conditioning.request import Request, recorded
from videodiff.evaluation.against import Against
from videodiff.evaluation.choice import default_protocol, why_not_measured
from videodiff.evaluation.clip_judge import ClipJudge
from videodiff.evaluation.detectors import Detector
from videodiff.evaluation.measurement import Measurement, Processes
from videodiff.evaluation.names import record_name
from videodiff.evaluation.observed import Observed
from videodiff.evaluation.plan import Batch
from videodiff.evaluation.protocol import Protocol, get_protocol
from videodiff.evaluation.results import Result
from videodiff.say import counted
from videodiff.trainer import data_of


class VideoEvaluation(pl.Callback):
    """After the test loop: real clips of the data and generated ones of the model, their distance, and its record.

    Clip i of the generated set depends on the seed and i alone, and every process generates its share without padding,
    so neither processes nor batch sizes change a number (:class:`~videodiff.evaluation.measurement.Measurement`).

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
        conditions: conditions of every generated clip, by the names of the flags (``conditioning/request.py``).
        clip_model: folder of CLIP, for what it says of words and frames.

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
        conditions: Mapping[str, Any] | None = None,
        clip_model: str | None = None,
    ) -> None:
        if num_clips is not None and num_clips < 2:
            raise ValueError(f"--num_clips must be at least 2, got {num_clips}")
        self.asked = None if protocol is None else get_protocol(protocol)
        self.num_clips, self.folders, self.batch_size, self.seed = num_clips, folders, batch_size, seed
        self.c3d, self.model_record, self.cache = c3d, model_record or {}, cache
        self.make_detectors, self.against, self.conditions = make_detectors, against, dict(conditions or {})
        self.clip_model = clip_model
        self.result: Result | None = None
        self.measurement: Measurement | None = None
        self.last_line = 0.0

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = data_of(trainer)
        if (reason := why_not_measured(data, pl_module)) is not None:
            self.refuse(reason)
            return
        with torch.inference_mode(False), torch.no_grad():  # the detectors are kept for the end of the test
            measurement = self.begin(trainer, data, pl_module)
        self.request(pl_module, measurement.protocol)  # refused before anything is generated
        if self.against is not None:
            kind = self.conditioned_on(pl_module, measurement)
            self.against.check(measurement.protocol_record, measurement.facts, measurement.count, kind)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Guided sampling needs gradients, which inference mode, Lightning's default here, forbids for good.
        with torch.inference_mode(False), torch.no_grad():
            reason = why_not_measured(data_of(trainer), pl_module)
            if reason is None:
                self.measure(trainer, pl_module)
            else:
                self.refuse(reason)
                say(trainer, f"clips are not evaluated: {reason}")

    def refuse(self, reason: str) -> None:
        """Raise if what cannot be measured was asked for.

        Raises:
            ValueError: led by the option that asked.
        """
        if self.conditions:
            raise ValueError(f"--{next(iter(self.conditions))}: {reason}")
        if self.asked is not None:
            raise ValueError(f"--protocol {self.asked.label}: {reason}")

    def measure(self, trainer: pl.Trainer, model: Any) -> None:
        """Look at both sides, score them on rank 0 and write the result."""
        self.last_line = time.monotonic()
        measurement = self.begin(trainer, data_of(trainer), model)
        measurement.look_at_real_clips()
        generated = self.generated_side(trainer, model, measurement)
        if not trainer.is_global_zero:
            return
        record = {
            **model.describe(),
            "precision": str(trainer.precision),
            **self.model_record,
            **self.request_record(self.request(model, measurement.protocol), measurement.notes),
            "conditioned_on": self.conditioned_on(model, measurement),
        }
        self.result = measurement.result(generated, record, measurement.notes)
        if measurement.protocol.is_prediction:
            self.result.put_beside(measurement.repeat_last, measurement.gains(generated))
        for folder in self.folders:
            self.result.save(Path(folder) / "eval" / f"{record_name(self.result)}.json")
        for logger in trainer.loggers:
            prefix = f"test/{self.result.name}/"
            logger.log_metrics({prefix + k: float(e["value"]) for k, e in self.result.metrics.items()}, 0)

    def begin(self, trainer: pl.Trainer, data: Any, model: Any) -> Measurement:
        """The protocol on the real clips; without a wish, one that this machine can measure. Made once."""
        if self.measurement is not None:
            return self.measurement
        protocol = self.asked or default_protocol(data, model.video_shape[1])
        if "frames" in self.conditions:
            protocol = protocol.changed(frames=self.conditions["frames"])
        device = data.trainer.strategy.root_device
        clip = None if self.clip_model is None else ClipJudge.of_folder(self.clip_model, device)
        self.measurement = Measurement(
            data, protocol, self.num_clips, may_fall_back=self.asked is None, seed=self.seed,
            batch_size=self.batch_size, device=device, c3d=self.c3d, clip=clip,
            make_detectors=self.make_detectors, cache=self.cache,
            processes=Processes(trainer.global_rank, trainer.world_size), progress=self.progress(trainer),
        )  # fmt: skip
        for note in self.measurement.notes:
            if " is not measured: " in note:
                say(trainer, note)
        return self.measurement

    def request(self, model: Any, protocol: Protocol) -> Request:
        """What is asked of every generated clip.

        Raises:
            ValueError: for conditions that the model does not take.
        """
        if protocol.is_prediction:
            check_own_frames(self.conditions)
            model.check_given(protocol.given, protocol.frames)
        asked = request_of(self.conditions, model.generated, protocol.frames)
        model.check_request(asked, protocol.frames)
        return asked

    def conditioned_on(self, model: Any, measurement: Measurement) -> str:
        """What kind of condition the generated clips have, in words."""
        return measurement.told(model, self.conditions)

    def request_record(self, asked: Request, notes: list[str]) -> dict[str, Any]:
        """What was asked for, for the record; empty where nothing was. The number of frames is the protocol's."""
        found: dict[str, Any] = {} if asked.guidance is None else {"guidance": asked.guidance}
        conditions = {
            name: value for name, value in self.conditions.items() if name not in ("frames", "guidance")
        }
        if not conditions:
            return found
        texts = ("prompt", "negative_prompt")
        words = ", ".join(
            in_words(name.replace("_", " "), value) if name in texts else f"{name} {value}"
            for name, value in conditions.items()
        )
        notes.append(f"every generated clip was given {words}; the real clips were not chosen by it")
        return found | {"told": recorded(conditions)}

    def generated_side(self, trainer: pl.Trainer, model: Any, measurement: Measurement) -> Observed:
        """The generated clips, each process its share.

        Raises:
            RuntimeError: if the model generates something that is not finite.
        """
        generated = measurement.generated(
            model,
            self.request(model, measurement.protocol),
            precision=trainer.precision_plugin.forward_context,
        )
        timed = told_how_long(trainer, generated, len(generated.indices))
        return measurement.observe_generated(generated, "generated clips", timed)

    def progress(self, trainer: pl.Trainer) -> Callable[[str, int, int], None]:
        """Lines on stderr from rank 0: in place on a terminal, else one every half minute."""
        terminal = sys.stderr.isatty()
        began: dict[str, float] = {}

        def report(what: str, done: int, total: int) -> None:
            now = time.monotonic()
            began.setdefault(what, now)
            if not trainer.is_global_zero or now - self.last_line < (0.5 if terminal else 30.0):
                return
            self.last_line = now
            left = (now - began[what]) / done * (total - done)
            text = f"{what} {done}/{total}  {left:.0f} s left"
            print(f"\r{text} " if terminal else f"videodiff: {text}", end="" if terminal and done < total else "\n",
                  file=sys.stderr, flush=True)  # fmt: skip

        return report


def told_how_long(trainer: pl.Trainer, generated: Iterable[Batch], total: int) -> Iterator[Batch]:
    """The batches of generated clips; after the first, one line says how long the others will take, if that is long."""
    began, first = time.monotonic(), True
    for batch in generated:
        if first and len(batch.places):
            left = (time.monotonic() - began) / len(batch.places) * (total - len(batch.places))
            if left > 10:
                say(trainer, f"generating {counted(total, 'clip')}: about {left:.0f} s more")
            first = False
        yield batch


def say(trainer: pl.Trainer, text: str) -> None:
    """One line on stderr, from rank 0."""
    if trainer.is_global_zero:
        print(f"videodiff: {text}", file=sys.stderr, flush=True)
