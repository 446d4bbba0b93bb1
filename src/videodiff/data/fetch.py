"""Downloads one large file over http: to a temporary file, resumed after a cut, verified, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from videodiff import atomic, placeholder
from videodiff.data.byte_ranges import AGENT, TIMEOUT_S, TRIES
from videodiff.data.prepared import read_blocks

PIECE = 2**20
TELL_S = 5.0


def fetch(
    url: str,
    target: Path,
    sha256: str | None = None,
    num_bytes: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
    wait_s: float = 1.0,
) -> Path:
    """Download a file, or finish a download that was cut.

    Args:
        url: http or https.
        target: where it belongs; the unfinished file is ``.<name>.part`` beside it.
        sha256: what it must hash to, if that is known.
        num_bytes: how large it must be, if that is known.
        tell: given a line now and then.
        wait_s: seconds before the second try; they double.

    Returns:
        `target`.

    Raises:
        FileNotFoundError: if the server does not have it.
        ValueError: if it is not what it should be; the temporary file is removed then.
        OSError: if it cannot be fetched after several tries without progress, or there is no room for it.
    """
    if target.exists():
        return target
    part = target.with_name(f".{target.name}.part")
    tries = TRIES
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            total = _fetch_rest(url, part, num_bytes, tell)
            break
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                raise FileNotFoundError(f"no such file: {url} (the server says {error.code})") from error
            if error.code == 416:  # the rest of something that is gone, or shorter now
                part.unlink(missing_ok=True)
            reason = f"the server says {error.code} {error.reason}"
            final = error.code < 500 and error.code not in (416, 429)
        except (urllib.error.URLError, TimeoutError, ConnectionError, EOFError) as error:
            reason, final = str(getattr(error, "reason", None) or error or type(error).__name__), False
        grown = part.exists() and part.stat().st_size > before
        tries = TRIES if grown else tries - 1
        if final or tries <= 0:
            raise OSError(
                f"{url} cannot be fetched: {reason}; what came is kept, repeat the command to resume"
            )
        time.sleep(wait_s * 2 ** (TRIES - tries))
    _verify(url, part, total, sha256, num_bytes)
    os.replace(part, target)
    _record(part).unlink(missing_ok=True)
    return target


def _record(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _fetch_rest(url: str, part: Path, num_bytes: int | None, tell: Callable[[str], None]) -> int:
    """Fetch what is missing; the size that the server announces."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": AGENT}
    tag = _tag_of(part)
    if have and tag:
        headers |= {
            "Range": f"bytes={have}-",
            "If-Range": tag,
        }  # from the start, should the file have changed
    else:
        have = 0
    if have and num_bytes == have:
        return have
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
        if answer.status != 206:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else num_bytes
        _check_room(part, url, (total or 0) - have)
        new_tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if new_tag and not new_tag.startswith("W/"):
            atomic.write_json(_record(part), {"url": url, "tag": new_tag})
        reported = time.monotonic()
        with open(part, "ab" if have else "wb") as file:
            while piece := answer.read(PIECE):
                file.write(piece)
                have += len(piece)
                if num_bytes is not None and have > num_bytes:
                    _discard(part)
                    raise ValueError(f"{url}: more than the {num_bytes} bytes that it should have")
                if time.monotonic() - reported > TELL_S:
                    reported = time.monotonic()
                    tell(
                        f"{part.name[1:-5]}: {have / 1e6:.0f} MB"
                        + (f" of {total / 1e6:.0f}" if total else "")
                    )
            file.flush()
            os.fsync(file.fileno())
    if total is not None and have < total:
        raise EOFError(f"the connection was cut after {have} of {total} bytes")
    return have


def _tag_of(part: Path) -> str | None:
    try:
        return json.loads(_record(part).read_text())["tag"]
    except (OSError, ValueError, KeyError):
        return None


def _check_room(part: Path, url: str, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise OSError(f"{url} needs {needed / 1e9:.1f} GB, {part.parent} has {free / 1e9:.1f} GB free")


def _verify(url: str, part: Path, total: int, sha256: str | None, num_bytes: int | None) -> None:
    if num_bytes is not None and total != num_bytes:
        _discard(part)
        raise ValueError(
            f"{url}: {total} bytes came, {num_bytes} expected; it has changed, or is an error page"
        )
    if (found := placeholder.explain(part, but=placeholder.KINDS)) is not None:
        _discard(part)
        raise ValueError(f"{url}: the answer {found}")
    if sha256 is None:
        return
    digest = hashlib.sha256()
    for block in read_blocks(part):
        digest.update(block)
    if digest.hexdigest() != sha256:
        _discard(part)
        raise ValueError(
            f"{url}: wrong checksum, sha256 {digest.hexdigest()[:16]}... instead of {sha256[:16]}..."
        )


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _record(part).unlink(missing_ok=True)
