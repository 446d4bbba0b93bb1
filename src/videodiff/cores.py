"""How many cores this process may use. Ground for everyone, and free of torch."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

CGROUP_2 = "/sys/fs/cgroup/cpu.max"  # "QUOTA PERIOD" in microseconds, or "max PERIOD"
CGROUP_1 = (
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
)  # a quota of -1: none


def cores() -> int:
    """Cores that this process may run on, or fewer where a container has a share of their time; at least 1."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = quota()
    return found if share is None else max(min(found, round(share)), 1)


def quota() -> float | None:
    """Cores' worth of time that the container has; None where there is no limit."""
    with suppress(OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        time, period = map(int, Path(CGROUP_2).read_text().split())
        return time / period
    with suppress(OSError, ValueError, ZeroDivisionError):
        time, period = (int(Path(file).read_text()) for file in CGROUP_1)
        return time / period if time > 0 else None
    return None
