"""Atomic writing: a file exists whole or not at all, and no link is followed.

What is written lies beside its place as ``.<name>.<process>-<number>.part``, is synced, and takes its name in one
rename; a kill, a power cut or a full disk leaves the file that was there before. A link in that place is replaced, not
followed: a run folder may come from a stranger.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

PART = ".part"
NAME_LENGTH = (
    48  # characters of a name in that of its part: a name may have 255 bytes, a character four of them
)
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)  # file systems that cannot

_numbers = itertools.count()


def part_of(path: Path) -> Path:
    """The temporary path of a file or folder until it is complete; a new one with every call."""
    return path.with_name(f".{path.name[:NAME_LENGTH]}.{os.getpid()}-{next(_numbers)}{PART}")


@contextmanager
def beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The name of a part for somebody else to write, a file or a folder; it is synced and renamed at the end.

    A folder takes the place of an absent or empty one only. The folder of ``path`` is not made: one that has vanished
    under a run may be a disk that is no longer there.

    Raises:
        OSError: with ``path`` as its file name, if it cannot be written; the part is gone and ``path`` as it was.
    """
    path = Path(path)
    part = part_of(path)
    try:
        _remove(part)  # of another process of this number, long ago: containers count from 1
        yield part
        _sync_all(part)
        os.replace(part, path)
        sync(path.parent)
    except OSError as error:
        _remove(part)
        if error.errno is None or (error.filename is not None and not _is(error.filename, part)):
            raise
        # Under the name that the file was to have; errors of FFmpeg do not let theirs be set.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    except BaseException:
        _remove(part)
        raise


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to write and seek in, renamed into place at the end; see :func:`beside`."""
    with beside(path) as part, new_file(part) as file:
        yield file


def new_file(part: Path) -> BinaryIO:
    """A binary file that was not there."""
    return open(part, "xb")


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file; see :func:`beside` for what it raises."""
    with opened(path) as file:
        file.write(content)
    return Path(path)


def write_text(path: str | os.PathLike[str], text: str, errors: str = "strict") -> Path:
    """Write a text in UTF-8; ``errors`` says what becomes of characters that have no bytes in it."""
    return write_bytes(path, text.encode("utf-8", errors))


def write_json(path: str | os.PathLike[str], value: Any, **options: Any) -> Path:
    """Write JSON, indented by 2 unless ``options`` of ``json.dumps`` say otherwise, with an end of line."""
    return write_text(path, json.dumps(value, **{"indent": 2, **options}) + "\n")


def second_name(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Give a finished file a second name, without a copy where that can be; files are replaced, never edited."""
    with beside(path) as part:
        try:
            os.link(source, part, follow_symlinks=False)
        except (OSError, NotImplementedError):  # a file system without hard links
            shutil.copyfile(source, part)


def append(path: str | os.PathLike[str], text: str) -> None:
    """Append whole lines to a file; a line that a full disk cuts short is removed again.

    Raises:
        OSError: with ``path`` as its file name, if they cannot be written.
        ValueError: if ``path`` is a link.
    """
    data = text.encode("utf-8")
    handle = no_link(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        written, before = 0, os.fstat(handle).st_size
        try:
            while written < len(
                data
            ):  # once, unless the disk fills up: lines of several processes do not mix
                written += os.write(handle, data[written:])
        except OSError as error:
            if os.fstat(handle).st_size == before + written:
                with suppress(OSError):
                    os.ftruncate(handle, before)
            error.filename = os.fspath(path)
            raise
    finally:
        os.close(handle)


def no_link(path: str | os.PathLike[str], flags: int) -> int:
    """``os.open`` that refuses a link; what ``open(..., opener=no_link)`` takes for files that are written in place.

    Raises:
        ValueError: if ``path`` is a link.
    """
    try:
        return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP or os.path.islink(path):
            refuse_link(path)
        raise


def refuse_link(path: str | os.PathLike[str], cure: str = "remove the link") -> None:
    """Refuse a file or folder that is a link.

    Raises:
        ValueError: in one line that says where it leads.
    """
    if os.path.islink(path):
        raise ValueError(
            f"{os.fspath(path)} is a link to {os.readlink(path)}; nothing is written through it ({cure})"
        )


def clear_parts(folder: str | os.PathLike[str]) -> int:
    """Remove unfinished files of killed processes from a folder with no other writer; returns their number."""
    parts = list(Path(folder).glob(f".*{PART}"))
    for part in parts:
        _remove(part)
    return len(parts)


def is_part(name: str) -> bool:
    """Whether a name is one of an unfinished file."""
    return name.startswith(".") and name.endswith(PART)


def sync(folder: str | os.PathLike[str]) -> None:
    """Let the names in a folder outlive a power cut, where the file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise


def _is(name: str | bytes, part: Path) -> bool:
    """Whether an error's file is a part, or lies in it."""
    return os.path.abspath(os.fsdecode(name)).startswith(os.path.abspath(part))


def _sync_all(part: Path) -> None:
    """Sync a file, or every file and folder of a tree."""
    if not part.is_dir():
        handle = os.open(part, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return
    for entry in sorted(part.iterdir()):
        _sync_all(entry)
    sync(part)


def _remove(path: Path) -> None:
    """Remove a file, link or tree that may not be there; what cannot be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()
