"""Kinetics (Carreira et al. 2018): CSV files ``label,youtube_id,time_start,time_end,split`` and clips of those names.

A clip is ``<id>_<start, 6 digits>_<end, 6 digits>.<any>`` anywhere below the root; its class and split are the CSV's.
Labels keep their spaces, brackets and apostrophes.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from videodiff.data.entries import Entry, Listing, Tree
from videodiff.data.layouts.options import Options
from videodiff.data.splits import complete
from videodiff.reading import csv_records, csv_rows
from videodiff.say import counted

COLUMNS = {"label", "youtube_id", "time_start", "time_end"}
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
}


def tables(tree: Tree) -> list[str]:
    """The CSV files that list clips."""
    found = []
    for name in tree.others.get(".csv", []):
        path = os.path.join(tree.root, name)
        header = next(csv_rows(path, "utf-8-sig", "replace"), [])
        if {column.strip() for column in header} >= COLUMNS:
            found.append(path)
    return found


def rows(path: str) -> list[tuple[str, str, str]]:
    """(name of the clip without suffix, split, label) of every line.

    Raises:
        ValueError: if a line cannot be understood, with its number.
    """
    parsed = []
    for row in csv_records(path, "utf-8-sig"):
        if not row.get("youtube_id", "").strip():
            continue
        try:
            start, end = int(float(row["time_start"])), int(float(row["time_end"]))
            split = SPLITS[(row.get("split") or Path(path).stem).strip().lower()]
        except (KeyError, ValueError, OverflowError) as error:
            raise ValueError(f"{path}: cannot understand {row} ({error!r})") from error
        name = f"{row['youtube_id'].strip()}_{start:06d}_{end:06d}"
        parsed.append((name, split, row.get("label", "").strip()))
    return parsed


def fits(tree: Tree) -> bool:
    """Whether there are videos and a CSV with the columns of Kinetics."""
    return bool(tree.videos) and bool(tables(tree))


def listing(tree: Tree, options: Options) -> Listing:
    """Clips that are both listed and there; both kinds of others are counted."""
    paths = tables(tree)
    if not paths:
        raise FileNotFoundError(f"no CSV with the columns {', '.join(sorted(COLUMNS))} in {tree.root}")
    by_name: dict[str, Entry] = {}
    for entry in tree.videos:
        by_name.setdefault(Path(entry.path).stem, entry)
    given: dict[str, list[Entry]] = {}
    listed: set[str] = set()
    missing = 0
    for name, split, label in (row for path in paths for row in rows(path)):
        if name in listed:
            continue
        listed.add(name)
        if name not in by_name:
            missing += 1
            continue
        found = replace(by_name[name], label=label or None, group=name[: -len("_000000_000000")])
        given.setdefault(split, []).append(found)
    if "train" not in given:
        raise FileNotFoundError(
            f"no clip that {', '.join(map(os.path.basename, paths))} list is in {tree.root}"
        )
    notes = [f"{missing} of {len(listed)} listed clips are not there"] if missing else []
    unlisted = sum(Path(entry.path).stem not in listed for entry in tree.videos)
    if unlisted:
        notes.append(f"{counted(unlisted, 'video')} in no CSV, not used")
    entries = [entry for split in given.values() for entry in split]
    labels = {entry.label for entry in entries}
    names = None if None in labels or options.classes == "none" else sorted(map(str, labels))
    if None in labels:
        notes.append("some clips have no label: no classes")
    return Listing("kinetics", complete(given, options.val_fraction, options.train_split), names, notes)
