"""The files of a comparison: written whole or not at all, never over foreign files."""

from __future__ import annotations

import json
import os
from pathlib import Path

from videodiff import atomic
from videodiff.comparison.folder import RECORD, check_folder, check_same
from videodiff.comparison.formats import comma_separated, latex, markdown
from videodiff.comparison.record import Comparison
from videodiff.migrations import migrated
from videodiff.reading import read_mapping


def write_results(comparison: Comparison, out: str | os.PathLike[str]) -> Path:
    """Write ``results.{json,csv,md,tex}``; an older report of ours is replaced file by file.

    Returns:
        The folder.

    Raises:
        FileExistsError: if the folder holds something else, or the report of another comparison.
        ValueError: if a number of the record is not finite.
    """
    out = Path(out)
    check_folder(out)
    check_same(out, comparison.to_dict())
    texts = {
        RECORD: record_text(comparison),
        "results.csv": comma_separated(comparison),
        "results.md": markdown(comparison),
        "results.tex": latex(comparison),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        atomic.write_text(out / name, text, errors="backslashreplace")
    return out


def record_text(comparison: Comparison) -> str:
    """The record as ``results.json`` holds it."""
    return json.dumps(comparison.to_dict(), indent=2, allow_nan=False) + "\n"


def read_comparison(path: str | os.PathLike[str]) -> Comparison:
    """The record of a report, by its folder or its ``results.json``.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the file holds something else.
    """
    path = Path(path)
    path = path / RECORD if path.is_dir() else path
    record = migrated("comparison", read_mapping(path, "record of a comparison"), path)
    try:
        return Comparison.from_dict(record)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} holds no record of a comparison: {error}") from error
