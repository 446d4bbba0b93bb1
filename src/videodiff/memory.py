"""Available main and shared memory, and how much the batches of loader workers take.

Ground for everyone, and free of torch, so that ``doctor`` can ask where torch is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

FOLDER = "/dev/shm"
PREFETCH = 2  # batches that a worker of torch's loader has ready
PAGE = 4096
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def room(folder: str = FOLDER) -> tuple[int, int] | None:
    """Free and total bytes of shared memory; None on a system that does not keep it in a folder."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0, 0
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def memory() -> int | None:
    """Bytes of main memory that this process may have: the machine's, or less where a limit is set; None if unknown."""
    found = []
    with suppress(AttributeError, ValueError, OSError):  # another kind of system
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such limit ("max")
            found.append(int(Path(file).read_text()))
    return min(found, default=None)


def check_fits(batch_bytes: int, what: str) -> None:
    """Refuse a batch that is larger than main memory, before anything is read.

    Raises:
        ValueError: in one line.
    """
    has = memory()
    if has is not None and batch_bytes > has:
        raise ValueError(
            f"{what} takes {shown(batch_bytes)} as bytes alone and this machine has {shown(has)}; lower it (smaller "
            "pieces of one step: trainer.accumulate_grad_batches)"
        )


def shared_need(num_workers: int, batch_bytes: Sequence[int], processes: int = 1) -> tuple[int, int]:
    """Bytes of shared memory that loader workers need: for their locks, and for their batches.

    Args:
        num_workers: of each loader.
        batch_bytes: of a batch of each loader.
        processes: training processes that share the memory.
    """
    # A loader's queues and its event hold semaphores, each a page: 3 a queue, one queue a worker and one for all.
    locks = processes * len(batch_bytes) * (3 * num_workers + 8) * PAGE
    # Every worker has its batches ready, one is being trained on, and one is on its way.
    batches = processes * (PREFETCH * num_workers + 2) * sum(batch_bytes)
    return locks, batches


def shown(count: int) -> str:
    """Bytes as KiB, MiB or GiB."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1024:.3g} KiB"


def size_to_ask(need: int) -> str:
    """A round size above the need, as container runtimes take it: ``64m``, ``1g``."""
    size = 64
    while size * 2**20 < need:
        size *= 2
    return f"{size}m" if size < 1024 else f"{size // 1024}g"
