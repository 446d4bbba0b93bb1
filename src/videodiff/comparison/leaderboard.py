"""The record of a leaderboard: systems trained for equal seconds on several seeds, and its folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.migrations import FORMATS, migrated
from videodiff.reading import read_mapping

RECORD = "leaderboard.json"


@dataclass
class TrainedStage:
    """One training that is done.

    Args:
        title: ``first stage`` or ``model``.
        steps: optimizer steps.
        seconds: of compute that counted.
        starting: CPU seconds of its starts, which did not count.
    """

    title: str
    steps: int
    seconds: float
    starting: float


@dataclass
class Trained:
    """A system with one seed.

    Args:
        seed: of its trainings.
        stages: that are done.
        evaluation_seconds: on the clock; None before it is measured.
    """

    seed: int
    stages: list[TrainedStage] = field(default_factory=list)
    evaluation_seconds: float | None = None

    def stage(self, title: str) -> TrainedStage | None:
        """One that is done, or None."""
        return next((stage for stage in self.stages if stage.title == title), None)


@dataclass
class Entry:
    """A system.

    Args:
        name: in the table, and of its folder.
        configs: its own, then overlays.
        options: words that change them.
        digest: of all that shapes its trainings.
        planned: stage -> steps over which its rate falls.
        probe_seconds: CPU seconds of the steps that told so.
        runs: one for each seed.
    """

    name: str
    configs: list[str]
    options: list[str]
    digest: str
    planned: dict[str, int] = field(default_factory=dict)
    probe_seconds: float = 0.0
    runs: list[Trained] = field(default_factory=list)

    def run(self, seed: int) -> Trained:
        """With a seed, new if it is not there."""
        found = next((run for run in self.runs if run.seed == seed), None)
        if found is None:
            found = Trained(seed)
            self.runs = sorted([*self.runs, found], key=lambda run: run.seed)
        return found


@dataclass
class Leaderboard:
    """All systems of a folder.

    Args:
        settings: what is the same for all: seconds, the first stages' share, and how clips are generated and measured.
        data: what identifies the real clips.
        machine: on which the first of them were trained.
        entries: in the order in which they came.
    """

    settings: dict[str, Any]
    data: dict[str, Any]
    machine: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def entry(self, name: str) -> Entry | None:
        """A system by its name."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def write(self, folder: Path) -> None:
        """Write the record, whole."""
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_json(folder / RECORD, {"format": FORMATS["leaderboard"], **asdict(self)})


def read_leaderboard(folder: Path) -> Leaderboard | None:
    """The leaderboard of a folder, None where there is none.

    Raises:
        ValueError: if the file holds something else.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    found = migrated("leaderboard", read_mapping(path, "record of a leaderboard"), path)
    try:
        entries = [
            Entry(**{**entry, "runs": [
                Trained(**{**run, "stages": [TrainedStage(**stage) for stage in run["stages"]]})
                for run in entry["runs"]
            ]})
            for entry in found["entries"]
        ]  # fmt: skip
        known = {f.name: found[f.name] for f in fields(Leaderboard)}
        return Leaderboard(**{**known, "entries": entries})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no record of a leaderboard ({type(error).__name__}: {error})") from error


def run_folder(folder: Path, name: str, seed: int, stage: str) -> Path:
    """Of one training, or of an evaluation."""
    return folder / name / f"seed_{seed}" / stage
