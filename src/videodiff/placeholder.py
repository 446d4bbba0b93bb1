"""Placeholders in place of a file: a pointer of a clone without git-lfs, a web page, a packed archive.

Ground for everyone, like ``seeding``: every reader of a file named by the user calls it, so that all report the same.
"""

import os
from collections.abc import Collection

HEAD_BYTES = 512
BARE = b"\xef\xbb\xbf \t\r\n"  # may stand before the text of a page
POINTERS = {
    b"version https://git-lfs.github.com/spec/": "a git-lfs pointer (git lfs pull)",
    b"version https://hawser.github.com/spec/": "a git-lfs pointer (git lfs pull)",
    b"/annex/objects/": "a git-annex pointer (git annex get)",
}
PAGES = {
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "an XML page",
    b"<svg": "an XML page",
}
ARCHIVES = {
    b"PK\x03\x04": "zip",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
}
TAR_AT, TAR = 257, b"ustar"
KINDS = ("empty", "tar", *ARCHIVES.values())


def begins(head: bytes, but: Collection[str] = ()) -> str | None:
    """What a file that begins so is instead of itself, to go after its name: "is an HTML page, not the file".

    Args:
        head: its first bytes, `HEAD_BYTES` or all there are.
        but: what is no surprise here: ``empty``, or kinds of archives (``zip``, ``gzip``, ``tar`` ...).

    Returns:
        None for anything else.
    """
    if not head:
        return None if "empty" in but else "is empty"
    bare = head.lstrip(BARE).lower()
    for start, what in {**POINTERS, **PAGES}.items():
        if bare.startswith(start):
            return f"is {what}, not the file"
    for start, kind in ARCHIVES.items():
        if head.startswith(start) and kind not in but:
            return f"is a {kind} archive (unpack it), not the file"
    if head[TAR_AT:].startswith(TAR) and "tar" not in but:
        return "is a tar archive (unpack it), not the file"
    return None


def explain(path: str | os.PathLike[str], but: Collection[str] = ()) -> str | None:
    """As :func:`begins`, of a file; None if it is no regular one or cannot be opened."""
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            return begins(file.read(HEAD_BYTES), but)
    except OSError:
        return None


def refuse(path: str | os.PathLike[str], but: Collection[str] = ("empty",)) -> None:
    """Refuse a text file in whose place something else lies; it would be read as text of its own.

    Raises:
        ValueError: in one line.
    """
    if (found := explain(path, but)) is not None:
        raise ValueError(f"{os.fspath(path)} {found}")
