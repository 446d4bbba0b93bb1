"""Search path of weight files: a given path, a folder of the user's, the cache, a download."""

import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .download import Check, download, is_intact

FOLDER_VARIABLE = "VIDEODIFF_WEIGHTS"
OFFLINE_VARIABLE = "VIDEODIFF_OFFLINE"


@dataclass(frozen=True)
class WeightFile:
    """A public file of weights.

    Args:
        name: what it holds, for messages.
        filenames: names under which it may lie in a folder; the first is the name of a download in the cache.
        urls: http(s) addresses of the same file, tried in order.
        sha256: hex digest of the download, where it is known.
        sha256_prefix: the first digits of it, where only those are published.
    """

    name: str
    filenames: tuple[str, ...]
    urls: tuple[str, ...] = ()
    sha256: str | None = None
    sha256_prefix: str | None = None

    def matches(self, digest: str) -> bool:
        """Whether a digest is the known one; anything matches when none is known."""
        return digest == (self.sha256 or digest) and digest.startswith(self.sha256_prefix or "")


def cache_folder() -> Path | None:
    """``$XDG_CACHE_HOME/videodiff``, or ``~/.cache/videodiff``; None for a user without a home, which is said once."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "videodiff"
    try:
        return Path.home() / ".cache" / "videodiff"
    except RuntimeError:  # a container's --user that /etc/passwd does not know
        say_no_cache()
        return None


@cache
def say_no_cache() -> None:
    """One line for the whole process."""
    print(
        "videodiff: no home folder for this user, continuing without a cache (name a folder with XDG_CACHE_HOME)",
        file=sys.stderr,
        flush=True,
    )


def is_offline() -> bool:
    """Whether the user forbids downloads."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in ("", "0", "false", "no")


def find_weights(file: WeightFile, path: str | os.PathLike | None = None, check: Check | None = None) -> Path:
    """The file's place: ``path``, then the folder ``$VIDEODIFF_WEIGHTS``, then the cache, then a download to it.

    Several processes may ask at once: one downloads, the others wait for it.

    Args:
        file: what to look for.
        path: the file itself, or a folder with it. Nothing else is looked at when it is given.
        check: raises ValueError when a download does not do what the network should; used where no digest is known.

    Raises:
        FileNotFoundError: in one line with the file, the places, the addresses and the variable.
    """
    if path is not None:
        return given(file, Path(path).expanduser())
    named, cached = os.environ.get(FOLDER_VARIABLE), cache_folder()
    places = [Path(folder).expanduser() for folder in (named, cached) if folder]
    tried = []
    for folder in places:
        for candidate in (folder / filename for filename in file.filenames):
            if candidate.is_file():
                if is_intact(candidate):
                    return candidate
                tried.append(f"{candidate} has changed since its download")
    if is_offline():
        raise FileNotFoundError(not_found(file, places, [*tried, f"no download ({OFFLINE_VARIABLE} is set)"]))
    if cached is None:
        raise FileNotFoundError(not_found(file, places, [*tried, "no cache to download to"]))
    target, failures = download(file, cached, check)
    if target is None:
        raise FileNotFoundError(not_found(file, places, [*tried, *failures]))
    return target


def given(file: WeightFile, path: Path) -> Path:
    """A path that the user named: a file, or a folder that holds one of the names."""
    if path.is_file():
        return path
    for filename in file.filenames:
        if (path / filename).is_file():
            return path / filename
    wanted = f"none of {', '.join(file.filenames)} in" if path.is_dir() else "no file"
    raise FileNotFoundError(f"weights of {file.name}: {wanted} {path} (get it from {' or '.join(file.urls)})")


def not_found(file: WeightFile, places: list[Path], tried: list[str]) -> str:
    """One line for weights that are nowhere."""
    where = " or ".join(map(str, places)) or "any folder"
    return (
        f"weights of {file.name}: none of {', '.join(file.filenames)} in {where}; "
        f"{'; '.join(tried)} (download {file.filenames[0]} from {' or '.join(file.urls)} into a folder and set "
        f"{FOLDER_VARIABLE} to it)"
    )
