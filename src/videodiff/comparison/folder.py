"""Where a report may be written: an empty folder, or one that holds an older report of the same comparison."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.plain import parse_json
from videodiff.reading import read_json

RECORD, PAGE, CLIPS = "results.json", "index.html", "clips.npz"
GROWING = (
    "<!-- a page of videodiff that is still being made -->"  # in the head of one that another may replace
)
FILES = (RECORD, "results.csv", "results.md", "results.tex", PAGE, CLIPS)


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
        is_growing = held == [PAGE] and GROWING in beginning(out / PAGE)
        foreign = [] if is_growing or is_ours(out / RECORD) else held
    if foreign:
        raise FileExistsError(
            f"--out {out} holds {foreign[0]}, which is not a report; nothing is overwritten, name another folder"
        )


def check_same(out: Path, facts: Mapping[str, Any]) -> None:
    """Refuse a folder whose report is of another comparison: it would be lost.

    Args:
        out: the folder, which passed :func:`check_folder`.
        facts: ``protocol``, ``settings`` and ``data`` of the comparison that is to be written.

    Raises:
        FileExistsError: in one line that names the first difference.
    """
    if not (out / RECORD).is_file():
        return
    old = made_with(read_json(out / RECORD))
    for key, value in made_with(facts).items():
        if old.get(key) != value:
            raise FileExistsError(
                f"--out {out} holds another comparison ({key} {shown(old.get(key))} against {shown(value)}); nothing "
                "is overwritten, name another folder or leave --out away"
            )


def made_with(record: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that tells one comparison from another, out of its record, as JSON holds it."""
    # The precision is the device's; records of before it was written down are of the same comparison.
    left_out = ("notes", "weights", "precision")
    settings = {k: v for k, v in record["settings"].items() if k not in left_out}
    weights = record["settings"].get("weights") or [  # of records from before they were among the settings
        model["checkpoint"].get("sha256") for model in record.get("models", [])
    ]
    protocol = record["protocol"]
    found = {
        "protocol": [protocol.get("name"), protocol.get("hash"), protocol.get("network_sha256")],
        "weights": weights,
        **settings,
        "real clips": record["data"],
    }
    return json.loads(json.dumps(found, sort_keys=True, default=str))


def shown(value: Any) -> str:
    """A value in a message, short."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_part(name: str) -> bool:
    """Whether a file is what a killed command left of one of ours."""
    return name.startswith(tuple(f".{file}." for file in FILES)) and atomic.is_part(name)


def beginning(path: Path) -> str:
    """Of a text file."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(200)


def is_ours(path: Path) -> bool:
    """Whether a file is the record of a comparison."""
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and {"protocol", "models", "settings", "baselines"} <= set(record)
