"""The journal of a preparation, for resuming: one line per finished video, written after its data."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.data.prepare.settings import Settings
from videodiff.data.shared_memory import tell
from videodiff.reading import read_json

WORK = ".prepare"  # folder of everything unfinished, in the output folder
FILES = "files.json"  # in it: sizes of the data files, once they are closed


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
        before = self._head(head)
        if before is not None:
            refuse_other(folder.parent, before, settings, listing)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            atomic.write_text(head, json.dumps(wanted))
        self.lines = self._read()

    def _head(self, file: Path) -> dict[str, Any] | None:
        """What is prepared here; None for nothing, or for what nobody can tell any more, which is forgotten.

        Raises:
            ValueError: if it cannot be told and the data are on their way out of the folder already.
        """
        if not file.exists():
            return None
        try:
            before = read_json(file)
            if isinstance(before, dict) and isinstance(before.get("settings"), dict) and "listing" in before:
                return before
            raise ValueError(f"{file} is damaged")
        except ValueError as error:
            if (file.parent / FILES).exists():
                raise ValueError(f"{error}; remove {file.parent.parent} and prepare it again") from error
            tell(f"{error}; everything is prepared anew")
        shutil.rmtree(file.parent / "data", ignore_errors=True)
        self.path.unlink(missing_ok=True)
        return None

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        whole = self.path.read_bytes()
        lines: list[dict[str, Any]] = []
        for number, line in enumerate(whole[: whole.rfind(b"\n") + 1].splitlines(), 1):
            try:
                lines.append(json.loads(line))
            except ValueError:
                tell(f"{self.path}, line {number}: damaged; its video and those after it are prepared anew")
                break
        self._cut(lines)
        return lines

    def keep(self, count: int) -> None:
        """Forget what was finished after the first so many videos."""
        if count < len(self.lines):
            del self.lines[count:]
            self._cut(self.lines)

    def _cut(self, lines: list[dict[str, Any]]) -> None:
        length = sum(len(as_line(line)) for line in lines)
        if length < self.path.stat().st_size:
            os.truncate(self.path, length)

    @contextmanager
    def writing(self) -> Iterator[Any]:
        """A function that adds a line."""
        with open(self.path, "ab", opener=atomic.no_link) as file:

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
    with open(folder / "lock", "a", opener=atomic.no_link) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{folder.parent} is being prepared by another process") from None
        yield
