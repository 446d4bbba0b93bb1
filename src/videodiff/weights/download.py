"""One download for all processes: to a temporary file, verified, then renamed; a record lies beside it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from videodiff import atomic, placeholder, reasons

if TYPE_CHECKING:
    from .place import WeightFile

PIECE = 2**20
Check = Callable[[Path], object]
TIMEOUT = 30.0  # seconds without a byte
MAX_BYTES = 16 * 2**30


def file_sha256(path: str | os.PathLike) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def record_path(path: Path) -> Path:
    """The sidecar that tells where a downloaded file came from and what it was."""
    return path.with_name(path.name + ".json")


def is_intact(path: Path) -> bool:
    """Whether a file of the cache still is what was downloaded; one that the user put there has no record."""
    record = record_path(path)
    if not record.is_file():
        return True
    try:
        return json.loads(record.read_text())["sha256"] == file_sha256(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def download(file: WeightFile, folder: Path, check: Check | None = None) -> tuple[Path | None, list[str]]:
    """Fetch a file into a folder from the first address that serves it whole.

    Returns:
        its path, or None, and what went wrong at each address.
    """
    target, failures = folder / file.filenames[0], []
    if not file.urls:
        return None, ["no address is known"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{target.name}.lock"):
            if target.is_file() and is_intact(target):  # another process was faster
                return target, []
            for stale in folder.glob(f".tmp-{target.name}-*.part"):  # of a process that was killed
                stale.unlink(missing_ok=True)
            for url in file.urls:
                if (failure := fetch(file, url, target, check)) is None:
                    return target, []
                failures.append(f"{url}: {failure}")
    except OSError as err:
        failures.append(f"cannot write to {folder}: {err.strerror or err}")
    return None, failures


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel gives back when its process dies, however it dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fetch(file: WeightFile, url: str, target: Path, check: Check | None) -> str | None:
    """Download one address to a temporary file, verify it and rename it; what went wrong, or None."""
    if urlsplit(url).scheme not in ("http", "https"):
        return "not an http(s) address"
    part = target.with_name(f".tmp-{target.name}-{os.getpid()}.part")
    try:
        request = Request(url, headers={"User-Agent": "videodiff"})
        with urlopen(request, timeout=TIMEOUT) as response, part.open("wb") as out:
            digest = receive(response, out, target.name)
            out.flush()
            os.fsync(out.fileno())
        verified = verify(file, part, digest, check)
        record = {"sha256": digest, "url": url, "bytes": part.stat().st_size, "verified": verified}
        atomic.write_json(record_path(target), record)
        os.replace(part, target)
    except HTTPError as err:
        return f"HTTP {err.code}"
    except URLError as err:
        return " ".join(str(err.reason).split())
    except (HTTPException, TimeoutError, ConnectionError, ValueError) as err:
        return reasons.reason(err)
    finally:
        part.unlink(missing_ok=True)
    return None


def receive(response: HTTPResponse, out: BinaryIO, name: str) -> str:
    """Copy a response to a file and return its digest.

    Raises:
        ValueError: for fewer bytes than announced, or too many.
    """
    announced = response.headers.get("Content-Length")
    total = int(announced) if announced and announced.isdigit() else None
    if (total or 0) > MAX_BYTES:
        raise ValueError(f"{total} bytes announced, at most {MAX_BYTES} are accepted")
    digest, count, shown = hashlib.sha256(), 0, time.monotonic()
    print(f"downloading {name}" + (f", {total / 1e6:.1f} MB" if total else ""), file=sys.stderr)
    while piece := response.read(PIECE):
        out.write(piece)
        digest.update(piece)
        count += len(piece)
        if count > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        if sys.stderr.isatty() and time.monotonic() - shown > 0.5:
            shown = time.monotonic()
            print(
                f"\r{name}: {count / 1e6:.0f} MB" + (f" of {total / 1e6:.0f}" if total else ""),
                end="\r",
                file=sys.stderr,
            )
    if total is not None and count != total:
        raise ValueError(f"connection cut after {count} of {total} bytes")
    return digest.hexdigest()


def verify(file: WeightFile, part: Path, digest: str, check: Check | None) -> str:
    """How a download was found to be the right file.

    Raises:
        ValueError: when it is not.
    """
    if (found := placeholder.explain(part, but=("zip",))) is not None:
        raise ValueError(f"the answer {found}")
    if not file.matches(digest):
        wanted = file.sha256 or f"{file.sha256_prefix}..."
        raise ValueError(f"wrong checksum, sha256 {digest[:16]}... instead of {wanted[:16]}")
    if file.sha256:
        return "sha256"
    if check is not None:
        check(part)
    return ", ".join(["sha256 prefix"] * bool(file.sha256_prefix) + ["function"] * bool(check)) or "length"
