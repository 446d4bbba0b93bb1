"""Where a report may be written: an empty folder, or one that holds an older report and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

RECORD, PAGE = "results.json", "index.html"
FILES = (RECORD, "results.csv", "results.md", "results.tex", PAGE)


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
        foreign = [] if is_ours(out / RECORD) else held
    if foreign:
        raise FileExistsError(
            f"--out {out} holds {foreign[0]}, which is no report of ours; nothing is overwritten, name another folder"
        )


def is_part(name: str) -> bool:
    """Whether a file is what a killed command left of one of ours."""
    return name.startswith(tuple(f".{file}." for file in FILES)) and name.endswith(".part")


def is_ours(path: Path) -> bool:
    """Whether a file is the record of a comparison."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and {"protocol", "models", "settings", "baselines"} <= set(record)
