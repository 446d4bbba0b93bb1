"""Versions of file formats: every file carries its number, and one table leads from each number to the current one.

Whoever reads a kind of record named in :data:`FORMATS` gives it to :func:`migrated` before looking at anything in it.
To change what is written: raise the kind's number here, add the step from the number before to :data:`MIGRATIONS`, and
keep a set of runs of the new format (``tests/old_runs/make.py``). A new key whose absence means its default needs none
of this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

# What was written before there were numbers is format 1.
FORMATS = {
    "checkpoint": 1,  # the entry ``videodiff`` of a checkpoint; its config has a format of its own
    "config": 1,
    "export": 1,  # videodiff.json
    "pipeline": 1,  # pipeline.yaml
    "origin": 1,  # origin.json of a run: the checkpoint that it started from
    "latents": 1,  # latents.json
    "prepared": 1,  # prepared.json
    "result": 1,  # of test and evaluate
    "comparison": 1,  # results.json of compare
    "leaderboard": 1,  # leaderboard.json
}

# (kind, format) -> the content as the next format has it. Steps change what they are given or return another. Those of
# a config also meet new ones that were written by hand and carry no number: they must leave such a one as it is.
MIGRATIONS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}

CONFIG_LINE = re.compile(r"^# videodiff format (\d+)$", re.MULTILINE)


def migrated(
    kind: str, content: Mapping[str, Any], where: object, number: Any = None, again: str = ""
) -> dict[str, Any]:
    """The content of a record as today's format has it.

    Args:
        kind: one of :data:`FORMATS`.
        content: what was read.
        where: the file, for errors.
        number: its format, where that does not stand in it as ``format``.
        again: what to do about an unknown format, other than using a newer version of this package.

    Raises:
        ValueError: in one line, for a format that a newer videodiff has written, or one that is no number.
    """
    newest = FORMATS[kind]
    stands_inside = number is None
    if stands_inside:
        number = content.get("format", 1)
    if type(number) is not int or number < 1:
        raise ValueError(f"{where}: its format {number!r} is no number{again and f'; {again}'}")
    if number > newest:
        raise ValueError(
            f"{where} was made by a newer videodiff ({kind} format {number}, this version reads {newest}); "
            f"update videodiff{again and f', or {again}'}"
        )
    found = dict(content)
    for step in range(number, newest):
        if (kind, step) in MIGRATIONS:
            found = MIGRATIONS[kind, step](found)
    return {**found, "format": newest} if stands_inside else found


def numbered_config(text: str) -> str:
    """The text of a config with its format in a comment, which no other reader of YAML minds."""
    return f"# videodiff format {FORMATS['config']}\n{CONFIG_LINE.sub('', text).lstrip()}"


def migrated_config(config: Mapping[str, Any], text: str, where: object) -> dict[str, Any]:
    """A parsed config as today's format has it; its number stands in a comment of its text.

    Raises:
        ValueError: in one line, for one that a newer videodiff has written.
    """
    line = CONFIG_LINE.search(text)
    return migrated("config", config, where, int(line[1]) if line else 1)
