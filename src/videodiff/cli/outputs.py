"""Output folders: made before the work begins, removed if it fails before anything was written."""

import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from videodiff import atomic
from videodiff.run_layout import CHECKPOINTS, CONFIG
from videodiff.usage import UsageError

# What a run writes before its first step; a folder that holds nothing else holds no work.
BOOKKEEPING = (
    CONFIG,
    "env.json",
    "origin.json",
    "hparams.yaml",
    "events.out.tfevents.",
    "samples.part.json",
    "latents.part.json",
    "predictions.part.json",
)


def make_folder(path: Path) -> None:
    """Make a folder and try to write into it, so that this does not fail after hours of work.

    Raises:
        UsageError: in one line, if it cannot be written.
        OSError: if the disk is full.
    """
    leftovers = Leftovers(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        leftovers.remove(path)
        raise refusal(path, error) from error


def numbered_folder(name: str, root: Path) -> Path:
    """A new ``root/name/<n>``.

    Raises:
        UsageError: in one line, if it cannot be written.
    """
    from videodiff.checkpoints import new_run_directory

    try:
        return new_run_directory(name, root)
    except OSError as error:
        raise refusal(root / name, error) from error


def folder_of_run(verb: str, run_directory: Path) -> Path:
    """A new ``<run>/<verb>/<n>`` for the results of a command.

    Raises:
        ValueError: if ``<run>/<verb>`` is a link.
        UsageError: in one line, if it cannot be written.
    """
    atomic.refuse_link(run_directory / verb, "remove it, or name a directory with --out")
    return numbered_folder(verb, run_directory)


def begun(root: Path, is_ours: Callable[[Path], bool]) -> Path | None:
    """The newest ``root/<n>`` in which a command like this one was interrupted and none is at work, if there is one."""
    from videodiff.checkpoints import RunLock

    folders = [path for path in root.iterdir() if path.name.isdecimal()] if root.is_dir() else []
    for folder in sorted(folders, key=lambda path: int(path.name), reverse=True):
        if not folder.is_symlink() and is_ours(folder) and not RunLock(folder).is_held:
            print(f"going on in {folder}", file=sys.stderr, flush=True)
            return folder
    return None


def refusal(path: Path, error: OSError) -> Exception:
    """The error for a folder that cannot be written; a full disk keeps its own."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return error
    reason = (error.strerror or str(error)).lower()
    return UsageError(f"{path} cannot be written ({reason}); name another directory with --out")


@contextmanager
def output_folder(path: Path, is_shared: bool = False, goes_on: bool = False) -> Iterator[None]:
    """A folder that is made before the work begins, and gone again if that fails before anything was done.

    Args:
        path: to write to.
        is_shared: other processes write there too, so it stays.
        goes_on: an interrupted command goes on there; one line says so.

    Raises:
        UsageError: in one line, if it cannot be written.
    """
    leftovers = Leftovers(path)
    make_folder(path)
    try:
        with leftovers.removed_on_failure(path, is_shared):
            yield
    except KeyboardInterrupt:
        if goes_on:
            print(f"videodiff: repeat the command to resume in {path}", file=sys.stderr)
        raise


class Leftovers:
    """Remembers which folders were absent, to remove them again when a command fails before it did anything.

    Args:
        root: ``--out``, or the folder of the numbered ones.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.absent = [path for path in (root, *root.parents) if not os.path.exists(path)]

    @contextmanager
    def removed_on_failure(
        self,
        directory: Path,
        is_kept: bool = False,
        but: tuple[type[BaseException], ...] | type[BaseException] = (),
    ) -> Iterator[None]:
        """While inside, what fails before it did anything takes its new directory with it.

        Args:
            directory: where the command writes.
            is_kept: another process writes there too, or it is not new.
            but: errors after which it stays as well.
        """
        try:
            yield
        except BaseException as error:
            if not is_kept and not isinstance(error, but):
                self.remove(directory)
            raise

    def remove(self, directory: Path) -> None:
        """Remove a new directory that holds bookkeeping only; anything else in it, a lock too, keeps it whole."""
        found = [path for path in directory.rglob("*") if path.is_file()]
        if not all(path.name.startswith(BOOKKEEPING) or atomic.is_part(path.name) for path in found):
            return
        for path in found:
            path.unlink(missing_ok=True)
        numbered = [directory] if directory != self.root else []
        for path in (directory / CHECKPOINTS, *numbered, *self.absent):
            with suppress(OSError):
                path.unlink() if path.is_symlink() else path.rmdir()
