"""A new result beside a stored one, refused before generating if they are not measured in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videodiff.checkpoints import resolve_checkpoint
from videodiff.checkpoints.card import generated_by
from videodiff.checkpoints.export import evaluations
from videodiff.checkpoints.shipped import results_folder
from videodiff.evaluation.results import (
    Result,
    comparable,
    conditioned_otherwise,
    figure,
    measured_otherwise,
    read_result,
)
from videodiff.run_layout import run_folder


@dataclass
class Against:
    """The stored results that a new one may stand beside.

    Args:
        spec: as the user named them: a run, or the file of a result.
        results: all that are there, the newest first.
    """

    spec: str
    results: list[Result]

    def check(
        self,
        protocol: Mapping[str, Any],
        data: Mapping[str, Any],
        num_generated: int | None = None,
        conditioned_on: str | None = None,
    ) -> None:
        """Refuse a measurement that none of the results is of, before it is made.

        Args:
            protocol: the record of the new result's protocol.
            data: what identifies its real clips.
            num_generated: generated clips that it will have; None where that is not known yet.
            conditioned_on: what these will be conditioned on; None where that is not known.

        Raises:
            ValueError: in one line with every difference from the nearest of the results.
        """
        found = []
        for result in self.results:
            reasons = measured_otherwise(protocol, data, result.protocol, result.data)
            if num_generated not in (None, result.num_generated) and not any(
                r.startswith("num_generated ") for r in reasons
            ):
                reasons.append(f"num_generated {num_generated} against {result.num_generated}")
            theirs = result.model.get("conditioned_on")
            if None not in (conditioned_on, theirs) and conditioned_on != theirs:
                reasons.append(conditioned_otherwise(conditioned_on, theirs))
            found.append(reasons)
        if reasons := min(found, key=len):
            raise ValueError(self._refusal("; ".join(reasons)))

    def beside(self, result: Result) -> str:
        """Both results' metrics as lines of a terminal, and whether their intervals lie apart.

        Raises:
            ValueError: if none of the stored results may stand in one column with this one.
        """
        answers = [comparable(result, other) for other in self.results]
        fits = [other for other, (yes, _) in zip(self.results, answers, strict=True) if yes]
        if not fits:
            raise ValueError(
                self._refusal(min((reason for _, reason in answers), key=lambda r: r.count(";")))
            )
        mine = {*made_by(result)}
        other = min(
            fits, key=lambda found: len(mine ^ {*made_by(found)})
        )  # the newest of those generated most alike
        which = "" if len(fits) == 1 else f"; the most alike, then the newest, of {len(fits)}"
        return f"{self.spec}: {', '.join(made_by(other))}{which}\n{beside(result, other, self.spec)}"

    def _refusal(self, reasons: str) -> str:
        return (
            f"this cannot be compared with {self.spec}: {reasons}; measure both alike (--protocol, --num_clips, "
            "--data options), or use videodiff compare with one reference for both"
        )


def find_against(spec: str) -> Against:
    """The results that a user means: a file, or those of a run.

    Raises:
        FileNotFoundError: if there is no such run or file, or nothing was measured of the run.
        ValueError: if a file holds no result.
    """
    if spec.endswith(".json"):
        if not Path(spec).is_file():
            raise FileNotFoundError(f"--against {spec}: no such file")
        return Against(spec, [read_result(spec)])
    checkpoint = resolve_checkpoint(spec)
    folders = {run_folder(checkpoint), results_folder(checkpoint)}
    files = sorted(
        (file for folder in folders for file in (folder / "eval").glob("*.json")),
        key=lambda file: (file.stat().st_mtime, file.name),
        reverse=True,
    )
    results = [Result.from_dict(record) for record in evaluations(files)]
    if not results:
        raise FileNotFoundError(
            f"--against {spec}: nothing was measured of it; run videodiff test --ckpt_path {spec} first"
        )
    return Against(spec, results)


def made_by(result: Result) -> list[str]:
    """Which weights a result is of and how they generated, as words; the folder of clips that were there already."""
    model = result.model
    words = [f"step {model['step']}"] if model.get("step") is not None else []
    words += [*generated_by(result.to_dict()), *([str(model["generated"])] if model.get("generated") else [])]
    return [*words, f"seed {result.seed}"]


def beside(result: Result, other: Result, name: str) -> str:
    """The metrics that two comparable results share, with their intervals."""
    rows = [("metric", "this", name, "intervals")]
    for metric, mine in result.metrics.items():
        theirs = other.metrics.get(metric)
        if theirs is not None and mine.get("network_sha256") == theirs.get("network_sha256"):
            rows.append((metric, figure(mine), figure(theirs), verdict(mine, theirs)))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def verdict(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Whether two intervals lie apart; a dash where one has none."""
    one, other = a.get("interval"), b.get("interval")
    if one is None or other is None:
        return "-"
    return "apart" if one[1] < other[0] or other[1] < one[0] else "touch"
