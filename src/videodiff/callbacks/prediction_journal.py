"""The journal of a prediction, for resuming: one line per finished clip, written after the clip."""

import json
import sys
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.plain import parse_json
from videodiff.weights import file_sha256

PLAN, LINES, RECORD = "predictions.part.json", "predictions.part.jsonl", "predictions.json"


class PredictionJournal:
    """The plan of a prediction and its scores clip by clip, beside the clips until ``predictions.json`` is there.

    Args:
        directory: where the clips are written.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def clip(self, index: int) -> Path:
        """File of one clip."""
        return self.directory / f"clip_{index:05d}.mkv"

    def is_of(self, plan: dict[str, Any]) -> bool:
        """Whether a prediction with this plan, or with one that cannot be read, was begun here and is not finished."""
        if (self.directory / RECORD).exists() or not (self.directory / PLAN).is_file():
            return False
        return self.plan() in (plan, None)

    def plan(self) -> dict[str, Any] | None:
        """What was begun here; None where that is damaged."""
        try:
            return parse_json((self.directory / PLAN).read_bytes())
        except ValueError:
            return None

    def begin(self, plan: dict[str, Any]) -> None:
        """Record the plan of the prediction; clips of a damaged plan are predicted again."""
        if (self.directory / PLAN).is_file():
            if self.plan() == plan:
                return
            print(
                f"{self.directory / PLAN} is damaged; all clips are generated again",
                file=sys.stderr,
                flush=True,
            )
        (self.directory / LINES).unlink(missing_ok=True)
        atomic.write_json(self.directory / PLAN, plan)

    def add(self, scores: dict[str, Any]) -> None:
        """Keep the scores of a clip whose file is written."""
        digest = file_sha256(self.clip(scores["clip"]))
        atomic.append(self.directory / LINES, json.dumps({**scores, "sha256": digest}) + "\n")

    def done(self) -> dict[int, dict[str, Any]]:
        """Scores of the clips that are there, whole; those that are not are named on stderr."""
        file, found = self.directory / LINES, {}
        lines = file.read_bytes().splitlines() if file.is_file() else []
        for number, line in enumerate(lines, 1):
            try:
                scores = parse_json(line)
                clip, digest = self.clip(scores["clip"]), scores.pop("sha256")
            except (ValueError, KeyError, TypeError, AttributeError):
                print(
                    f"{file}, line {number}: damaged; its clip is generated again",
                    file=sys.stderr,
                    flush=True,
                )
                continue
            if clip.is_file() and file_sha256(clip) == digest:
                found[scores["clip"]] = scores
            else:
                print(f"{clip} is damaged or gone; it is generated again", file=sys.stderr, flush=True)
        return found

    def close(self) -> None:
        """Clear up when the record is written."""
        for name in (LINES, PLAN):
            (self.directory / name).unlink(missing_ok=True)
