"""The small trained models that come with the package, named ``demo/NAME`` wherever a run is taken.

Each is a folder as ``videodiff export`` writes it, with ``record.json`` (how it was trained, what was measured of it)
and ``SHA256SUMS`` over all its files. Nothing here loads torch.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from videodiff.plain import parse_json
from videodiff.run_layout import WEIGHTS, run_folder
from videodiff.usage import did_you_mean

FOLDER = Path(__file__).resolve().parents[1] / "shipped"
PREFIX = "demo/"
SUMS, RECORD = "SHA256SUMS", "record.json"
RESULTS = Path("runs/shipped")  # where commands write what they would write into the folder of a run


class ShippedError(ValueError):
    """A shipped model whose files are damaged; the message is one line with the file and the way out."""


def shipped_names() -> list[str]:
    """``demo/NAME`` of every model that comes with this installation, sorted."""
    return sorted(PREFIX + path.parent.name for path in FOLDER.glob(f"*/{SUMS}"))


def is_shipped_name(spec: str | os.PathLike[str]) -> bool:
    """Whether a run is named as the shipped ones are, ``demo/...``; there may be none of that name."""
    return f"{os.fspath(spec)}/".startswith(PREFIX)


def shipped_checkpoint(spec: str | os.PathLike[str]) -> Path:
    """The weights that ``demo/NAME`` means, or ``demo/NAME/first_stage``, after a look at every file's hash.

    Raises:
        FileNotFoundError: in one line with the names there are and the nearest, if there is no such model.
        ShippedError: if a file of it is damaged or gone.
    """
    text = os.fspath(spec).rstrip("/")
    name = "/".join(text.split("/")[:2])
    names = shipped_names()
    if name in names:
        verify(name)
        weights = FOLDER / text.removeprefix(PREFIX) / WEIGHTS
        if weights.is_file() and ".." not in weights.parts:
            return weights
    listed = f"there are {', '.join(names)}" if names else "there are none in this installation"
    raise FileNotFoundError(
        f"no model {text[:200]!r} comes with videodiff{did_you_mean(text, names)}; {listed}"
    )


def verify(name: str) -> None:
    """Compare every file of a shipped model with its hash.

    Raises:
        ShippedError: naming the first that differs or is gone.
    """
    folder = FOLDER / name.removeprefix(PREFIX)
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        expected, _, relative = line.partition("  ")
        file = folder / relative
        if not file.is_file():
            raise ShippedError(f"{name} is not whole: {file} is gone; install videodiff again")
        if hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise ShippedError(
                f"{name} is damaged: {file} differs from its sha256 in {SUMS}; install videodiff again"
            )


def shipped_record(name: str) -> dict[str, Any]:
    """How ``demo/NAME`` was trained and what was measured of it.

    Returns:
        ``command``, ``stages`` (each ``config``, ``steps``, ``minutes``), ``minutes``, ``machine``, ``seed``,
        ``torch``, ``date``, ``sampler`` and ``evaluation``: ``protocol``, ``num_clips``, ``metrics`` (each with
        ``value``, ``count`` and ``interval``) and the same of ``frozen_frames``.
    """
    found: dict[str, Any] = parse_json((FOLDER / name.removeprefix(PREFIX) / RECORD).read_text("utf-8"))
    return found


def shipped_name(checkpoint: Path) -> str | None:
    """``demo/NAME`` or ``demo/NAME/first_stage`` of weights in the package; None of others."""
    folder = run_folder(checkpoint).resolve()
    return PREFIX + folder.relative_to(FOLDER).as_posix() if folder.is_relative_to(FOLDER) else None


def results_folder(checkpoint: Path) -> Path:
    """Where a command writes what it finds out about a checkpoint: its run; for a shipped one a folder in ``runs``."""
    name = shipped_name(checkpoint)
    return run_folder(checkpoint) if name is None else RESULTS / name.removeprefix(PREFIX)
