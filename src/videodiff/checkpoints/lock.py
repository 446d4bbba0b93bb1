"""One writer per run folder."""

import fcntl
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from videodiff import atomic


class RunLock:
    """One writer per run folder: ``run.lock`` names its host, process and start time.

    Args:
        directory: the run folder.

    Raises:
        RuntimeError: in place of what is raised within it, if the folder is no longer there.
    """

    def __init__(self, directory: str | os.PathLike) -> None:
        self.path = Path(directory) / "run.lock"
        self.mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": process_start(os.getpid())}

    @property
    def is_held(self) -> bool:
        """Whether a living process, or one on another host, holds it."""
        if not self.path.exists():
            return False
        holder = parse_holder(self.path.read_text(encoding="utf-8", errors="replace"))
        try:
            if holder:
                self.judge(holder, tell=False)
        except ValueError:
            return True
        return False

    def acquire(self) -> None:
        """Take the lock; one whose process is gone is taken over with a line on stderr.

        Raises:
            ValueError: if a living process, or one on another host, holds it.
        """
        with open(self.path, "a+", encoding="utf-8", errors="replace", opener=atomic.no_link) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # for these few lines only, so that two takers see each other
            file.seek(0)
            text = file.read()
            holder = parse_holder(text)
            if holder and holder != self.mine:
                self.judge(holder)
            elif text.strip() and not holder:
                print(f"{self.path}: names no process, taken over", file=sys.stderr, flush=True)
            file.truncate(0)
            file.write(json.dumps(self.mine) + "\n")

    def judge(self, holder: dict[str, Any], tell: bool = True) -> None:
        """Refuse a living holder, report a dead one."""
        who = f"process {holder['pid']} on {holder['host']}"
        if holder["host"] != self.mine["host"]:
            raise ValueError(
                f"run {self.path.parent} is being written by {who} (if it is gone, remove {self.path}; "
                "or start a new run)"
            )
        started = process_start(holder["pid"])
        if started is not None and started == holder.get("started"):
            raise ValueError(f"run {self.path.parent} is being written by {who} (stop it or start a new run)")
        if tell:
            print(
                f"{self.path.parent}: took over the lock of {who}, which is gone", file=sys.stderr, flush=True
            )

    def release(self) -> None:
        """Give the lock back if it is still ours."""
        if (
            self.path.exists()
            and parse_holder(self.path.read_text(encoding="utf-8", errors="replace")) == self.mine
        ):
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> "RunLock":
        self.acquire()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not self.path.parent.is_dir():
            raise gone(self.path.parent) from error
        self.release()


def gone(folder: Path) -> RuntimeError:
    """What there is to say when a folder that was written to is no longer there."""
    return RuntimeError(
        f"{folder} vanished while it was written to (removed, moved, or on a disk that is no longer there); what goes "
        "on there needs it back, else begin again"
    )


def parse_holder(text: str) -> dict[str, Any]:
    """What a lock file says; one that is cut, or holds anything else, says nothing."""
    try:
        holder = json.loads(text)
        return holder if isinstance(holder["pid"], int) and isinstance(holder["host"], str) else {}
    except (ValueError, TypeError, KeyError):
        return {}


def process_start(pid: int) -> int | None:
    """Start time of a living process (clock ticks since boot; 0 where /proc is absent), None if there is none."""
    if pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return None if fields[0] in "ZX" else int(fields[19])
