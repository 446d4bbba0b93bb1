"""The record of a comparison: plain data in ``results.json``, shown on the page."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from torch import Tensor

from videodiff.migrations import FORMATS, migrated

Metrics = dict[str, dict[str, Any]]
"""By name ``{"value", "count", ...}``, with ``interval`` ``[low, high]`` and ``floor`` where there are any."""


NUMBER = re.compile(r"\d+")


def in_one(sentences: list[str]) -> str:
    """Sentences that differ in numbers alone as one: ``of 8 clips with 128 and 336 numbers each``."""
    places = [dict.fromkeys(found) for found in zip(*map(NUMBER.findall, sentences), strict=True)]
    numbers = iter(" and ".join(values) for values in places)
    return NUMBER.sub(lambda _: next(numbers), sentences[0])


@dataclass
class Draw:
    """One set of clips of one model, generated one way.

    Args:
        sampler: class of the sampler.
        steps: of the sampler.
        frames: of each video.
        count: videos generated.
        metrics: of the protocol, at this count.
        flop_per_video: floating-point operations of one video, sampling and decoding, two per multiply-add.
        timing: what another run of the same comparison need not repeat: ``seconds_per_video`` (median over batches),
            ``peak_memory_bytes``, and the ``batch_size`` at which they hold.
        guidance: scale of classifier-free guidance; 1 is none.
        conditioned_on: what its clips were told, in words; empty in records from before it was said.
    """

    sampler: str
    steps: int
    frames: int
    count: int
    metrics: Metrics
    flop_per_video: int | None = None
    timing: dict[str, float | None] = field(default_factory=dict)
    guidance: float = 1.0
    conditioned_on: str = ""


@dataclass
class Training:
    """What the weights cost.

    Args:
        steps: optimizer steps of the checkpoint.
        clips: training clips seen until then.
        seconds: of training, from ``metrics.jsonl``.
        flop_per_step: of forward and backward of one optimizer step.
        curves: ``{"train/loss": [[step, value], ...], "val/loss": ...}``, thinned to at most 400 points each.
    """

    steps: int
    clips: int | None = None
    seconds: float | None = None
    flop_per_step: int | None = None
    curves: dict[str, list[list[float]]] = field(default_factory=dict)


@dataclass
class ModelRecord:
    """One model of a comparison.

    Args:
        name: in the table, unique, e.g. ``PVDM`` or ``PVDM (runs/pvdm_digits/2)``.
        run: path as the user gave it.
        model: class.
        checkpoint: ``{"file", "sha256", "step", "ema"}``.
        parameters: by part, ``{"net": N, "autoencoder": N}``.
        training: of the model itself.
        draws: the first is the one the table shows; more are quality against steps.
        first_stage: training and reconstruction of its autoencoder: ``{"training": ..., "metrics": {"psnr": ...}}``;
            None in pixel space.
        drift: metric against time over long video: ``[{"frames": [first, last], "metrics": {...}}, ...]``.
        nearest: for each shown sample ``{"sample", "train", "name", "distance"}``, distance in grey levels (RMS).
        warnings: what a reader must know.
        data: how the clips it was trained on are made: ``{"dataset", "root", "resolution", "resize", "fps",
            "frame_stride"}``.
    """

    name: str
    run: str
    model: str
    checkpoint: dict[str, Any]
    parameters: dict[str, int]
    training: Training
    draws: list[Draw]
    first_stage: dict[str, Any] | None = None
    drift: list[dict[str, Any]] = field(default_factory=list)
    nearest: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


@dataclass
class Comparison:
    """Models beside each other on the same clips, seeds and protocol.

    Args:
        protocol: its record, with ``name`` and ``hash``.
        settings: seed, counts, samplers, steps, guidance, device: all that shapes a number.
        data: what identifies the real clips.
        models: in the order given.
        baselines: ``{"name", "metrics"}`` of clips made without a model: noise, frozen frames.
        skipped: ``{"run", "reason"}`` of runs that could not be compared.
        published: rows of papers, ``{"model", "data", "frames", "protocol", "metric", "value", "source"}``; never ours.
        versions: of Python and packages.
        command: that made it, without paths of a machine where they do not matter.
    """

    protocol: dict[str, Any]
    settings: dict[str, Any]
    data: dict[str, Any]
    models: list[ModelRecord]
    baselines: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    published: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""

    def warnings(self) -> list[tuple[list[int], str]]:
        """Each warning once, with the indices of its models; those that differ in numbers alone are one."""
        about: dict[str, list[int]] = {}
        for i, model in enumerate(self.models):
            for warning in model.warnings:
                about.setdefault(warning, []).append(i)
        alike: dict[tuple[str, tuple[int, ...]], list[str]] = {}
        for warning, models in about.items():
            alike.setdefault((NUMBER.sub("", warning), tuple(models)), []).append(warning)
        return [(list(models), in_one(said)) for (_, models), said in alike.items()]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"format": FORMATS["comparison"], **asdict(self)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Comparison:
        """The inverse of :meth:`to_dict`, for records of any format.

        Raises:
            ValueError: if the record is not one of a comparison, or a newer videodiff has written it.
        """
        record = migrated("comparison", record, "this record")
        try:
            known = {f.name: record[f.name] for f in fields(cls) if f.name in record}
            models = [
                ModelRecord(**{
                    **entry,
                    "training": Training(**entry["training"]),
                    "draws": [Draw(**draw) for draw in entry["draws"]],
                })
                for entry in known.pop("models")
            ]  # fmt: skip
            return cls(models=models, **known)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no record of a comparison ({type(error).__name__}: {error})") from error


@dataclass
class ModelClips:
    """The clips that a page shows of one model, uint8.

    Args:
        samples: ``[N, T, H, W, 3]``, sample i of every model from the same seed.
        reconstructions: of the page's real clips by its first stage ``[N, T, H, W, 3]``, or None.
        nearest: the training clip nearest to each sample ``[N, T, H, W, 3]``, or None.
        long: a few long videos ``[M, F, H, W, 3]``, or None.
    """

    samples: Tensor
    reconstructions: Tensor | None = None
    nearest: Tensor | None = None
    long: Tensor | None = None


@dataclass
class Clips:
    """All clips of a page.

    Args:
        real: real ones, uint8 ``[N, T, H, W, 3]``.
        models: those of each model by its name.
        fps: frames per second at full speed.
        words: what sample i of every model that takes words was told, of each shown sample; empty where none was.
    """

    real: Tensor
    models: dict[str, ModelClips]
    fps: float = 8.0
    words: list[str] = field(default_factory=list)
