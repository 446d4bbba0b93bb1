"""File names as they are: bytes that need not be text, and may hold what a shell or a line means something by.

Python keeps a byte that is not UTF-8 as a lone surrogate (PEP 383); text that holds one cannot be encoded strictly.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager


def name_bytes(name: str) -> bytes:
    """The bytes of a name, or of a text that holds one; UTF-8 wherever that is possible."""
    return name.encode("utf-8", "surrogateescape")


def is_text(name: str) -> bool:
    """Whether it is characters throughout, and holds no byte that is none."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


@contextmanager
def text_name(path: str | os.PathLike[str]) -> Iterator[str]:
    """A name of a file for libraries that take text alone; where its own is none, that of a handle, which holds inside.

    Raises:
        OSError: if a file without such a name cannot be opened.
    """
    name = os.fspath(path)
    if is_text(name):
        yield name
        return
    handle = os.open(name, os.O_RDONLY)
    try:
        yield f"/dev/fd/{handle}"
    finally:
        os.close(handle)


def shell_word(path: str | os.PathLike[str]) -> str:
    r"""A path as a word of a command to be typed: quoted where it must be, on one line, never taken for an option.

    What cannot be printed is written as bash, zsh and ksh read it: ``$'caf\351'``.
    """
    name = os.fspath(path)
    name = f"./{name}" if name.startswith("-") else name
    if name.isprintable():
        return shlex.quote(name)
    return "$'" + "".join(map(_quoted, name)) + "'"


def _quoted(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    return character if character.isprintable() else "".join(f"\\{b:03o}" for b in name_bytes(character))
