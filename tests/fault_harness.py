"""Start runs that may be killed: imported once, forked per run, alone or as ranks of one job.

A target is any module-level callable of an importable module (``tiny_run.fit``, or one that trains the real model);
it runs in its own process with ``kwargs``, and its ``SystemExit`` is the process's exit code. Ranks get the variables
that torchrun would set.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import time
import traceback

from videodiff import stopping

PRELOAD = ["torch", "torch.utils.tensorboard", "pytorch_lightning", "jsonargparse", "videodiff.callbacks",
           "videodiff.checkpoints", "videodiff.cli.lightning", "tiny_run", "pytest"]  # fmt: skip


def context():
    """The server that has everything imported and forks one process per run."""
    os.environ["OMP_NUM_THREADS"] = "1"
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOAD)
    return server


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def child(target, kwargs, rank, world, environ, log, group):
    """Entry of one process: its own group (shared by the ranks of a job), its own log, its ranks' variables."""
    import torch

    with contextlib.suppress(PermissionError):
        os.setpgid(0, group or os.getpid())
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(environ)
    torch.set_num_threads(1)
    for number in stopping.SIGNALS:  # tests that were themselves started under nohup must not ignore it
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    multiprocessing.set_start_method(
        "fork", force=True
    )  # the run's own loader workers, as in a run of its own
    try:
        target(**kwargs)
    except ValueError:
        traceback.print_exc()
        raise SystemExit(2) from None


class Job:
    """One run: a process, or ``world`` ranks of one. Leaves nothing behind when used in a ``with``.

    Args:
        target: module-level callable.
        kwargs: its arguments.
        folder: where logs go.
        world: number of ranks.
        environ: further environment variables.
    """

    def __init__(self, target, kwargs, folder, world=1, environ=None):
        self.log = os.path.join(folder, "log.txt")
        variables = {"OMP_NUM_THREADS": "1", **(environ or {})}
        if world > 1:
            variables |= {
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(free_port()),
                "WORLD_SIZE": str(world),
            }
        server, self.processes, self.group = context(), [], None
        for rank in range(world):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": "0"} if world > 1 else {}
            process = server.Process(
                target=child, args=(target, kwargs, rank, world, variables | own, self.log, self.group)
            )
            process.start()
            if self.group is None:
                self.group = process.pid
                wait_for(lambda p=process.pid: group_of(p) == p, 30)
            self.processes.append(process)

    def signal(self, number, who="main"):
        """Send to rank 0 (``main``), to the last rank (``child``) or to the whole process group (``group``)."""
        if who == "group":
            os.killpg(self.group, number)
        else:
            os.kill(self.processes[0 if who == "main" else -1].pid, number)

    def wait(self, seconds=30):
        """Exit codes of all ranks; None for one that still runs when the time is up."""
        end = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        return [process.exitcode for process in self.processes]

    def orphans(self):
        """Processes of the job's group that still live (loader workers, ranks)."""
        return [
            pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if group_of(pid) == self.group
        ]

    def __enter__(self):
        return self

    def __exit__(self, *args):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)
        for process in self.processes:
            process.join(10)

    def text(self):
        with open(self.log) as file:
            return file.read()


def group_of(pid):
    """Process group of a living process, zombies excluded; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[2])


def wait_for(condition, seconds):
    """Wait until a condition holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened within {seconds} s")
        time.sleep(0.005)
