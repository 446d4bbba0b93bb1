"""The measured systems of a leaderboard, as one comparison with its clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from videodiff.comparison.best import penalty
from videodiff.comparison.leaderboard import Entry, Leaderboard, Trained, run_folder
from videodiff.comparison.over_seeds import system_record
from videodiff.comparison.record import Clips, Comparison, ModelClips, ModelRecord
from videodiff.comparison.results import read_comparison
from videodiff.comparison.stored_clips import read_clips
from videodiff.comparison.tables import metric_names
from videodiff.metrics.directory import better, headline


@dataclass
class Row:
    """A system that is measured with one seed or more.

    Args:
        entry: of the record.
        runs: those that are measured.
        comparisons: one for each, as ``compare`` wrote it.
        model: all of them as one.
    """

    entry: Entry
    runs: list[Trained]
    comparisons: list[Comparison]
    model: ModelRecord


def rows_of(board: Leaderboard, folder: Path) -> list[Row]:
    """All measured systems, the best by the headline metric first.

    Raises:
        ValueError: if they were not measured alike.
    """
    found = []
    for entry in board.entries:
        runs = [run for run in entry.runs if run.evaluation_seconds is not None]
        comparisons = [
            read_comparison(run_folder(folder, entry.name, run.seed, "evaluation")) for run in runs
        ]
        if runs:
            model = system_record(entry.name, [each.models[0] for each in comparisons])
            found.append(Row(entry, runs, comparisons, model))
    hashes = {each.protocol.get("hash") for row in found for each in row.comparisons}
    if len(hashes) > 1:
        raise ValueError(
            f"{folder}: its systems were measured by protocols of {len(hashes)} kinds; begin another folder"
        )
    metric = headline(metric_names([row.model.draws[0].metrics for row in found]))

    def place(row: Row) -> float:
        measured = row.model.draws[0].metrics.get(metric or "") or {}
        return (
            penalty(measured, better(metric))
            if metric and measured.get("value") is not None
            else float("inf")
        )

    return sorted(found, key=place)


def comparison_of(board: Leaderboard, rows: Sequence[Row], command: str) -> Comparison:
    """The systems as models of one comparison; what is the same for all is that of the first."""
    first = rows[0].comparisons[0]
    settings = {key: value for key, value in first.settings.items() if key not in ("weights", "notes")}
    notes = dict.fromkeys(
        note for row in rows for each in row.comparisons for note in each.settings.get("notes") or []
    )
    return Comparison(
        protocol=first.protocol, settings={**settings, **board.settings, "notes": list(notes)}, data=first.data,
        models=[row.model for row in rows], baselines=first.baselines, versions=first.versions, command=command,
    )  # fmt: skip


def clips_of(folder: Path, rows: Sequence[Row]) -> Clips:
    """The clips of every system's first seed."""
    real, models = None, {}
    words: list[str] = []
    for row in rows:
        kept = read_clips(run_folder(folder, row.entry.name, row.runs[0].seed, "evaluation"))
        real, words = kept.real if real is None else real, words or kept.words
        found = next(iter(kept.models.values()))
        models[row.entry.name] = ModelClips(found.samples, found.reconstructions)
    assert real is not None  # there is a row
    return Clips(real, models, words=words)
