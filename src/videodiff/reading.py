"""Text files that people edit: errors name the file and the line.

Ground for everyone, like ``seeding``.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FIELD = (
    1 << 24
)  # characters of a CSV field: captions may be long, and a quote that is never closed swallows the file


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    """The text of a file.

    Raises:
        ValueError: if it is not UTF-8, with the file and the line.
    """
    content = Path(path).read_bytes()
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{os.fspath(path)}, line {line}: not UTF-8; save the file in that encoding"
        ) from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value of a JSON file.

    Raises:
        ValueError: if it is none, with the file and the line.
    """
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        said = getattr(error, "msg", "nested too deeply").lower()
        raise ValueError(f"{os.fspath(path)}, line {line}: not JSON ({said})") from error


def read_mapping(
    path: str | os.PathLike[str], what: str = "mapping", max_bytes: int | None = None
) -> dict[str, Any]:
    """The mapping of a JSON file.

    Args:
        path: the file.
        what: what a file that is JSON and no mapping fails to hold.
        max_bytes: a larger file is refused unread.

    Raises:
        ValueError: if it holds none, with the file.
    """
    if max_bytes is not None and Path(path).stat().st_size > max_bytes:
        raise ValueError(f"{os.fspath(path)} is larger than {max_bytes} bytes")
    record = read_json(path)
    if not isinstance(record, dict):
        raise ValueError(f"{os.fspath(path)} holds no {what}")
    return record


def csv_rows(path: str, encoding: str = "utf-8", errors: str = "strict") -> Iterator[list[str]]:
    """The rows of a CSV file.

    Raises:
        ValueError: for what is no CSV, with the file and the line.
    """
    with open(path, newline="", encoding=encoding, errors=errors) as file:
        rows = csv.reader(file, skipinitialspace=True)
        before = csv.field_size_limit(min(FIELD, sys.maxsize))
        try:
            yield from rows
        except UnicodeDecodeError:
            read_text(path, encoding)
            raise
        except csv.Error as error:
            unclosed = "; is a quote never closed?" if "field limit" in str(error) else ""
            raise ValueError(f"{path}, line {rows.line_num}: not CSV ({error}{unclosed})") from error
        finally:
            csv.field_size_limit(before)


def csv_records(path: str, encoding: str = "utf-8", errors: str = "strict") -> list[dict[str, str]]:
    """The rows of a CSV file with a header, each by column; short rows lack their last columns."""
    rows = [row for row in csv_rows(path, encoding, errors) if row]
    return [dict(zip(rows[0], row, strict=False)) for row in rows[1:]]
