"""A result: numbers together with their protocol, their counts and their model."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.data.real_clips import differences, told
from videodiff.evaluation.protocol import read_switches
from videodiff.migrations import FORMATS, migrated
from videodiff.plain import parse_json

PACKAGES = ("videodiff", "torch", "pytorch-lightning", "torchmetrics", "numpy", "av")


@dataclass
class Result:
    """What one evaluation found.

    Args:
        name: label of the protocol; with the count, where fewer clips than the protocol's were used.
        protocol: the protocol's record, the network's checksum included.
        metrics: by name, each ``{"value", "count", ...}`` with ``interval`` and ``floor`` where there are any.
        num_real: real clips used.
        num_generated: generated clips used.
        seed: of clips and samples.
        detector: name and checksum of the feature network, ``{"name", "sha256"}``.
        data: what identifies the real clips.
        resolution: ``[H, W]`` of real and of generated clips before the protocol's resize.
        model: checkpoint, sampler, steps, guidance and so on; empty between two folders.
        warnings: what a reader must know before quoting a number.
        versions: of the packages.
    """

    name: str
    protocol: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    num_real: int
    num_generated: int
    seed: int
    detector: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    resolution: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=lambda: versions())

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: the entries of `model` (sampler, steps, guidance, ema, ...) stand at the top."""
        found = asdict(self)
        model = found.pop("model")
        known = {key: model.pop(key, None) for key in ("checkpoint", "sampler", "steps", "guidance", "ema")}
        return {
            "format": FORMATS["result"],
            "name": self.name,
            "protocol": found["protocol"],
            "metrics": found["metrics"],
            "num_real": self.num_real,
            "num_fake": self.num_generated,
            "seed": self.seed,
            **known,
            **({"model": model} if model else {}),
            **{key: found[key] for key in ("detector", "data", "resolution", "versions", "warnings")},
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Result:
        """The inverse of :meth:`to_dict`, for records of any format.

        Raises:
            ValueError: for a record that a newer videodiff has written.
        """
        record = migrated("result", record, "this result")
        known = {key: record.get(key) for key in ("checkpoint", "sampler", "steps", "guidance", "ema")}
        model = {**record.get("model", {}), **{k: v for k, v in known.items() if v is not None}}
        names = (
            "name",
            "protocol",
            "metrics",
            "num_real",
            "seed",
            "detector",
            "data",
            "resolution",
        )
        own = {key: record[key] for key in names} | {"num_generated": record["num_fake"]}
        return cls(**own, model=model, warnings=record["warnings"], versions=record["versions"])

    def json(self) -> str:
        """JSON text; numbers that are not finite cannot be in it.

        Raises:
            RuntimeError: if a number is NaN or infinite.
        """
        self.check_finite()
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def check_finite(self) -> None:
        """Refuse a result whose numbers are not numbers.

        Raises:
            RuntimeError: naming the first metric that is NaN or infinite.
        """
        for name, entry in self.metrics.items():
            for key, value in entry.items():
                values = value if isinstance(value, list | tuple) else [value]
                if any(isinstance(v, float) and not math.isfinite(v) for v in values):
                    raise RuntimeError(f"{name} is not finite ({key} {value}); are the clips valid?")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the JSON beside `path` and rename it, so that it is whole or absent."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return atomic.write_text(path, self.json(), errors="backslashreplace")

    def put_beside(
        self, repeat_last: Mapping[str, Mapping[str, Any]], gains: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Put the figures of repeating the last given frame beside those of continuations.

        Args:
            repeat_last: metrics of these clips.
            gains: the difference clip by clip, of the metrics that have a value for each.
        """
        for name, entry in self.metrics.items():
            if (other := repeat_last.get(name)) is not None:
                entry["repeat_last"] = {key: other[key] for key in ("value", "interval") if key in other}
            if name in gains:
                entry["gain"] = dict(gains[name])

    def table(self) -> str:
        """The numbers as lines of a terminal."""
        beside = {"repeat_last": "repeating the last given frame", "gain": "difference"}
        beside = {k: v for k, v in beside.items() if any(k in entry for entry in self.metrics.values())}
        guessed = ["chance"] * any("chance" in entry for entry in self.metrics.values())
        rows = [("metric", "value", "95 % interval", "floor", *guessed, "clips", *beside.values())]
        for name, entry in self.metrics.items():
            interval = entry.get("interval")
            rows.append((
                name + (f" (n={entry['count']})" if entry.get("reduced") else ""),
                f"{entry['value']:.6g}" + (f" ± {entry['spread']:.3g}" if "spread" in entry else ""),
                "" if interval is None else f"{interval[0]:.6g} to {interval[1]:.6g}",
                "" if entry.get("floor") is None else f"{entry['floor']:.6g}",
                *(f"{entry['chance']:.4g}" if "chance" in entry else "" for _ in guessed),
                str(entry.get("count", "")),
                *(figure(entry[key]) if key in entry else "" for key in beside),
            ))  # fmt: skip
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        head = (
            f"protocol {self.name} [{self.protocol['hash']}]: {self.num_real} real, {self.num_generated} generated "
            f"clips of {self.protocol['frames']} frames, seed {self.seed}"
        )
        if (condition := self.model.get("conditioned_on")) is not None:
            head += f", conditioned on {condition}"
        return "\n".join([head, *lines])


def read_result(path: str | os.PathLike[str]) -> Result:
    """A result from its file.

    Raises:
        ValueError: if the file holds none.
    """
    try:
        record = parse_json(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} holds no evaluation result ({error})") from error
    if isinstance(record, dict):
        record = migrated("result", record, path)
    try:
        return Result.from_dict(record)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} holds no evaluation result ({type(error).__name__}: {error})") from error


def comparable(a: Result, b: Result) -> tuple[bool, str]:
    """Whether the numbers of two results may stand in one column, and why not.

    Returns:
        ``(True, "")``, or False with every difference in one line: a switch of the protocol, the network's
        checksum, counts, whatever decides the real clips, the size of frames, or what the clips were conditioned on.
    """
    reasons = measured_otherwise(a.protocol, a.data, b.protocol, b.data)
    for key in ("num_real", "num_generated"):
        if getattr(a, key) != getattr(b, key) and not any(reason.startswith(f"{key} ") for reason in reasons):
            reasons.append(f"{key} {getattr(a, key)} against {getattr(b, key)}")
    is_said = any(reason.startswith("resolution ") for reason in reasons)
    for side, clips in {"real": "real", "fake": "generated"}.items():
        sizes = [sizes_text(result.resolution.get(side)) for result in (a, b)]
        if sizes[0] != sizes[1] and not (is_said and side == "real"):
            reasons.append(f"resolution of {clips} clips {sizes[0]} against {sizes[1]}")
    kinds = [result.model.get("conditioned_on") for result in (a, b)]  # older results do not say it
    if None not in kinds and kinds[0] != kinds[1]:
        reasons.append(conditioned_otherwise(*kinds))
    return not reasons, "; ".join(reasons)


def measured_otherwise(
    protocol: Mapping[str, Any],
    data: Mapping[str, Any],
    of_protocol: Mapping[str, Any],
    of_data: Mapping[str, Any],
) -> list[str]:
    """In what two measurements differ as far as it is known before they are made; empty if in nothing.

    Args:
        protocol: record of one's protocol, the network's checksum included.
        data: what identifies its real clips.
        of_protocol: that of the other.
        of_data: and its real clips.
    """
    one, other = read_switches(protocol, data), read_switches(of_protocol, of_data)
    keys = sorted({*one, *other} - {"name", "base", "hash"})
    reasons = [
        f"{key} {told(key, one.get(key), other.get(key))}" for key in keys if one.get(key) != other.get(key)
    ]
    return reasons + differences(data, of_data, one.get("split"), besides=("fps", "frame_stride"))


def conditioned_otherwise(one: Any, other: Any) -> str:
    """The difference of two results whose clips had conditions of two kinds: two scores of two things."""
    return f"clips conditioned on {one} against {other}"


def figure(entry: Mapping[str, Any]) -> str:
    """``3.14 [2.9, 3.4]``."""
    interval = entry.get("interval")
    return f"{entry['value']:.6g}" + ("" if interval is None else " [{:.6g}, {:.6g}]".format(*interval))


def sizes_text(sizes: list[list[int]] | None) -> str:
    """``64x64``, or the sizes that occur."""
    return ", ".join(f"{h}x{w}" for h, w in sizes or ()) or "not known"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
