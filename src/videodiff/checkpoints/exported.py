"""Reads a folder written by ``videodiff export``: weights in safetensors, everything else as text."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, load_file

from videodiff import placeholder, reasons
from videodiff.migrations import migrated
from videodiff.names import is_text
from videodiff.reading import read_mapping
from videodiff.run_layout import CONFIG

RECORD = "videodiff.json"
MAX_TEXT = 1 << 20


def is_pipeline(path: Path) -> bool:
    """Whether what a run was resolved to names other runs, by its suffix."""
    return path.suffix in (".yaml", ".yml")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def read_record(folder: Path) -> dict[str, Any]:
    """The folder's ``videodiff.json`` as it stands there; empty without one.

    Raises:
        ValueError: for one that is no JSON mapping.
    """
    file = folder / RECORD
    if not file.is_file():
        return {}
    placeholder.refuse(file)
    return read_mapping(file, max_bytes=MAX_TEXT)


def verify_exported(path: Path) -> None:
    """Check the weights against the sum that the export wrote beside them.

    Raises:
        ValueError: if they are others.
    """
    expected = read_record(path.parent).get("sha256")
    if expected is not None and sha256_of(path) != expected:
        raise ValueError(
            f"{path} is not what was exported (its sha256 differs from {RECORD}); fetch it again"
        )


def read_exported(path: Path) -> dict[str, Any]:
    """The weights and the config beside them, as a checkpoint holds them.

    Raises:
        ValueError: for a damaged file, one without a config, or one of a newer format.
    """
    record = migrated("export", read_record(path.parent), path.parent / RECORD)
    config = path.parent / CONFIG
    if not config.is_file():
        raise ValueError(f"{path} has no {CONFIG} beside it; its model is unknown")
    try:
        # By its bytes where its name is not text, which safetensors cannot open.
        weights = load_file(path) if is_text(str(path)) else load(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {reasons.reason(error)}") from error
    text = config.read_text(encoding="utf-8")
    known = {"fingerprint": record.get("data"), "step": record.get("step")}
    ema = bool(record.get("ema"))  # whether they are averages; earlier exports do not say
    return {"state_dict": weights, "ema": ema, "videodiff": {"config": text, "weights_only": True, **known}}
