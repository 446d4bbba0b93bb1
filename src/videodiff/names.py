"""File names as bytes that need not be text, and their quoting for shells, lines and pages.

Python keeps a byte that is not UTF-8 as a lone surrogate (PEP 383); text that holds one cannot be encoded strictly.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# What begins or ends something in Markdown or HTML. Entities where some renderers take no backslash.
SPECIAL = re.compile(r"[\\`*|]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "~": "&#126;", "$": "&#36;"}


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
    return shell_line([f"./{name}" if name.startswith("-") else name])


def shell_line(words: Sequence[str]) -> str:
    """Words of a command as one line to be typed, written as by :func:`shell_word`; options stay options."""
    return " ".join(
        shlex.quote(word) if word.isprintable() else "$'" + "".join(map(_quoted, word)) + "'"
        for word in words
    )


def one_line(text: str) -> str:
    """A text on one line: spaces for ends of lines, escapes for what else cannot be printed."""
    return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text).strip()


def markdown_text(text: str) -> str:
    """Any text as words of Markdown, also in a table's cell: nothing in it is markup, a link, HTML or a new line."""
    plain = SPECIAL.sub(r"\\\g<0>", one_line(text))
    return "".join(ENTITIES.get(c, c) for c in plain)


def markdown_code(text: str) -> str:
    """Any text as a span of code outside of tables."""
    plain = one_line(text)
    longest = max(map(len, re.findall("`+", plain)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{plain}{space}{fence}"


def _quoted(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    return character if character.isprintable() else "".join(f"\\{b:03o}" for b in name_bytes(character))
