"""Byte ranges of local or http files: the only way shards are read, so that none is downloaded whole."""

from __future__ import annotations

import io
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

TRIES = 4
TIMEOUT_S = 30.0
AGENT = "videodiff"
T = TypeVar("T")


class ChangedError(ValueError):
    """A file on a server is no longer the one that was looked at."""


@dataclass(frozen=True)
class RemoteFile:
    """Size and identity of a file, as they were when it was first looked at.

    Args:
        path: absolute path or http(s) URL.
        size: bytes.
        tag: changes when the content does: the ETag, or the time of the last change.
    """

    path: str
    size: int
    tag: str


def is_url(path: str) -> bool:
    """Whether a path is an http address."""
    return path.startswith(("http://", "https://"))


def stat_file(path: str) -> RemoteFile:
    """Look at a file without reading it.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the path is no regular file, or the server does not serve byte ranges.
        OSError: if the server cannot be reached.
    """
    if is_url(path):
        return patiently(path, lambda: _stat_url(path))
    absolute = os.path.abspath(path)
    if not os.path.exists(absolute):
        raise FileNotFoundError(f"no such file: {absolute}")
    if not os.path.isfile(absolute):  # a named pipe would block for ever
        raise ValueError(f"{absolute}: not a regular file")
    status = os.stat(absolute)
    return RemoteFile(absolute, status.st_size, str(status.st_mtime_ns))


def read_range(file: RemoteFile, start: int, num_bytes: int) -> bytes:
    """Bytes ``start ... start + num_bytes - 1``, fewer at the end of the file.

    Raises:
        ChangedError: if the file on the server is no longer the one that was looked at.
        OSError: if it cannot be read, after several tries.
    """
    num_bytes = min(num_bytes, file.size - start)
    if num_bytes <= 0:
        return b""
    if is_url(file.path):
        return patiently(file.path, lambda: _get(file, start, num_bytes))
    with open(file.path, "rb") as opened:
        opened.seek(start)
        return opened.read(num_bytes)


def patiently(path: str, attempt: Callable[[], T], wait_s: float = 0.25) -> T:
    """Try a request several times, waiting longer each time; 4xx answers are final.

    Raises:
        FileNotFoundError: for 404 and 410.
        OSError: one line with the last reason.
    """
    for left in range(TRIES - 1, -1, -1):
        try:
            return attempt()
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                raise FileNotFoundError(f"no such file: {path} (the server says {error.code})") from error
            reason: object = f"the server says {error.code} {error.reason}"
            final = error.code < 500 and error.code != 429
        except (OSError, EOFError) as error:  # URLError, timeouts, cut connections
            reason, final = getattr(error, "reason", None) or str(error) or type(error).__name__, False
        except Exception as error:
            if not type(error).__module__.startswith(
                "http"
            ):  # http.client's own: IncompleteRead, BadStatusLine
                raise
            reason, final = f"{type(error).__name__}: {error}", False
        if final or not left:
            raise OSError(f"{path} cannot be fetched: {reason}")
        time.sleep(wait_s * 2 ** (TRIES - 1 - left))
    raise AssertionError


def _request(url: str, start: int, num_bytes: int) -> urllib.request.Request:
    return urllib.request.Request(
        url, headers={"User-Agent": AGENT, "Range": f"bytes={start}-{start + num_bytes - 1}"}
    )


def _stat_url(url: str) -> RemoteFile:
    with urllib.request.urlopen(_request(url, 0, 1), timeout=TIMEOUT_S) as answer:
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if answer.status != 206 or not total.isdecimal():
            raise ValueError(
                f"{url}: the server does not serve byte ranges; download the shards, or use another one"
            )
        return RemoteFile(url, int(total), _tag(answer))


def _tag(answer: HTTPResponse) -> str:
    return answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""


def _get(file: RemoteFile, start: int, num_bytes: int) -> bytes:
    with urllib.request.urlopen(_request(file.path, start, num_bytes), timeout=TIMEOUT_S) as answer:
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if answer.status != 206 or total != str(file.size) or _tag(answer) != file.tag:
            raise ChangedError(f"{file.path}: changed on the server while it was read; start again")
        data = answer.read(num_bytes)
    if len(data) != num_bytes:
        raise EOFError(f"{len(data)} of {num_bytes} bytes came")
    return data


class RangeReader(io.RawIOBase):
    """A file over byte ranges that can be sought in; wrap it in :class:`io.BufferedReader`."""

    def __init__(self, file: RemoteFile) -> None:
        self.file, self.at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.file.size}[whence]
        self.at = max(0, base + offset)
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: WriteableBuffer) -> int:
        room = memoryview(buffer).cast("B")
        data = read_range(self.file, self.at, len(room))
        room[: len(data)] = data
        self.at += len(data)
        return len(data)
