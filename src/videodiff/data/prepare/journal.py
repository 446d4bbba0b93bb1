"""What an interrupted preparation has finished: one line per video, written after its data."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from videodiff.data.prepare.settings import Settings

WORK = ".prepare"  # folder of everything unfinished, in the output folder


class Journal:
    """The lines of the manifest so far, beside the settings and the listing they belong to.

    Args:
        folder: the work folder.
        settings: of this preparation.
        listing: hash of what there is to prepare.

    Attributes:
        lines: what was finished; a last line that was cut off is dropped.

    Raises:
        ValueError: if the folder holds an unfinished preparation of something else; one line that tells the difference.
    """

    def __init__(self, folder: Path, settings: Settings, listing: str) -> None:
        self.path = folder / "journal.jsonl"
        head = folder / "settings.json"
        wanted = {"settings": asdict(settings), "listing": listing}
        if head.exists():
            refuse_other(folder.parent, json.loads(head.read_text(encoding="utf-8")), settings, listing)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(head, json.dumps(wanted))
        self.lines = self._read()

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        whole = self.path.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]
        if len(kept) < len(whole):
            os.truncate(self.path, len(kept))
        return [json.loads(line) for line in kept.splitlines()]

    @contextmanager
    def writing(self) -> Iterator[Any]:
        """A function that adds a line."""
        with open(self.path, "ab") as file:

            def add(line: dict[str, Any]) -> None:
                file.write(as_line(line))
                file.flush()

            yield add


def as_line(line: dict[str, Any]) -> bytes:
    """One line of the manifest."""
    return json.dumps(line).encode() + b"\n"


def refuse_other(out: Path, found: dict[str, Any], settings: Settings, listing: str) -> None:
    """Raise if what lies in `out` was made with other settings or from another set."""
    other = settings.differences(found["settings"])
    if other:
        raise ValueError(f"{out} was prepared with other settings ({', '.join(other)}); name another --out")
    if found["listing"] != listing:
        raise ValueError(
            f"{out} was prepared from other videos, or they have changed since; name another --out"
        )


def write_atomically(path: Path, text: str) -> None:
    """Write a small file beside its target, sync it and rename it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the output folder; the kernel lets go when the process ends, however it ends.

    Raises:
        ValueError: if another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        yield
        return
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{folder.parent} is being prepared by another process") from None
        yield
