"""A disk of a few pages: commands that run out of room there, and once more when there is some again.

What is called here runs in a process of its own (``fault_harness.Job``): the disk is a tmpfs of its mount name space,
which nobody else sees and which is gone with the process.
"""

import ctypes
import json
import os
import shutil
from pathlib import Path

CLONE_NEWNS, MS_REMOUNT, MS_REC, MS_PRIVATE = 0x20000, 0x20, 0x4000, 0x40000
PAGE = os.sysconf("SC_PAGE_SIZE")
ROOM = 256 * 2**20


def libc(name, *args):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*args):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def mount(folder, size, flags=0):
    libc("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", flags, f"size={size}".encode())


def open_disk(folder):
    """Mount a tmpfs in a name space of this process alone."""
    libc("unshare", CLONE_NEWNS)
    libc("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    Path(folder).mkdir(parents=True, exist_ok=True)
    mount(folder, ROOM)


def can_mount():
    """Whether this machine lets a process have a disk of its own; asked in a child."""
    child = os.fork()
    if child == 0:
        try:
            open_disk("/tmp")
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def used(folder):
    status = os.statvfs(folder)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def run(words):
    from videodiff.callbacks import RunCheckpoint
    from videodiff.cli import main

    RunCheckpoint.check_room = lambda *args: None  # the room that there was is taken by others meanwhile
    return main(words)


def on_small_disks(folder, begun, words, shares, report, least=0):
    """A command on a disk with room for all, then on disks with room for a share of it and once more with room.

    Args:
        folder: where the disk is mounted.
        begun: folder copied to the disk first, or None.
        words: of the command, ``{disk}`` standing for the disk.
        shares: of the pages that the command takes: 0 is none.
        least: bytes that it takes at its height, where it leaves fewer.
        report: JSON file to write: per disk the exit codes, what was said, and hashes or numbers of what is there.
    """
    import contextlib
    import io

    from small_disk_contents import contents

    open_disk(folder)
    words = [word.format(disk=folder) for word in words]
    found, need = [], None
    for share in [None, *shares]:
        for path in Path(folder).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if begun is not None:
            shutil.copytree(begun, Path(folder) / "run")
        before, codes, said = used(folder), [], []
        if share is not None:
            room = int(share * need / PAGE) * PAGE
            mount(folder, max(before + room, PAGE), MS_REMOUNT)
        for size in [None] if share is None else [None, ROOM]:
            if size is not None:
                mount(folder, size, MS_REMOUNT)
            with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
                codes.append(run(words))
            said.append(err.getvalue())
        need = max(used(folder) - before, least) if share is None else need
        found.append({"share": share, "codes": codes, "said": said, "contents": contents(Path(folder))})
    Path(report).write_text(json.dumps({"need": need, "found": found}))
