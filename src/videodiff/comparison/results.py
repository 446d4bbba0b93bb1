"""The files of a comparison: written whole or not at all, never over what is not ours."""

from __future__ import annotations

import json
import os
from pathlib import Path

from videodiff.comparison.formats import comma_separated, latex, markdown
from videodiff.comparison.record import Comparison
from videodiff.evaluation.results import write_text

RECORD, PAGE = "results.json", "index.html"
FILES = (RECORD, "results.csv", "results.md", "results.tex", PAGE)


def write_results(comparison: Comparison, out: str | os.PathLike[str]) -> Path:
    """Write ``results.{json,csv,md,tex}``; an older report of ours is replaced file by file.

    Returns:
        The folder.

    Raises:
        FileExistsError: if the folder holds something else.
        ValueError: if a number of the record is not finite.
    """
    out = Path(out)
    check_folder(out)
    texts = {
        RECORD: record_text(comparison),
        "results.csv": comma_separated(comparison),
        "results.md": markdown(comparison),
        "results.tex": latex(comparison),
    }
    for name, text in texts.items():
        write_text(out / name, text)
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
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error})") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} holds no record of a comparison")
    try:
        return Comparison.from_dict(record)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} holds no record of a comparison: {error}") from error


def check_folder(out: str | os.PathLike[str]) -> None:
    """Refuse a folder that holds something other than an older report.

    Raises:
        FileExistsError: in one line that names the first such thing.
    """
    out = Path(out)
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f"--out {out} is a file; name a folder")
    foreign = sorted(p.name for p in out.iterdir() if p.name not in FILES and not is_part(p.name))
    held = [name for name in FILES if (out / name).exists()]
    if not foreign and held:
        try:
            read_comparison(out)
        except (ValueError, OSError):
            foreign = held
    if foreign:
        raise FileExistsError(
            f"--out {out} holds {foreign[0]}, which is no report of ours; nothing is overwritten, name another folder"
        )


def is_part(name: str) -> bool:
    """Whether a file is what a killed command left of one of ours."""
    return name.startswith(tuple(f".{file}." for file in FILES)) and name.endswith(".part")
