"""Measurements in sections, each case in a process of its own, and a record that is whole after every one of them.

A process is forked from one that has imported everything and has never touched the device: it starts in a fraction of
a second, takes what it allocated with it when it ends, and one that runs out of memory, raises, hangs or dies costs its
own case alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from videodiff.atomic import write_text

Tell = Callable[[Mapping[str, Any]], None]
Case = Callable[[Tell], None]
LARGEST_SHARE = 2.5
"""A case gets at most this many times its equal share of what is left; half of theirs stays for the others."""


@dataclass(frozen=True)
class Section:
    """Measurements of one kind.

    Attributes:
        name: as in the record.
        seconds: its share of the whole time; what earlier sections leave is shared out anew.
        cases: name -> what measures it and tells its figures, as often as it has new ones.
    """

    name: str
    seconds: float
    cases: Mapping[str, Case]


@dataclass
class Record:
    """What was found so far, on disk after every change.

    Attributes:
        path: the JSON file.
        head: what stands above the sections.
        sections: name -> state, seconds and cases.
    """

    path: Path
    head: dict[str, Any]
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)

    def flush(self) -> None:
        """Write it whole, or not at all."""
        text = json.dumps({**self.head, "sections": self.sections}, indent=1)
        write_text(self.path, f"{text}\n")


def inside(case: Case, connection: Connection) -> None:
    """What the process of a case does; figures and an error go through the connection."""
    os.setsid()  # so that its loader workers and compilers end with it
    os.dup2(2, 1)  # standard output is the parent's, for its tables
    try:
        case(lambda figures: connection.send(dict(figures)))
    except BaseException as error:
        traceback.print_exc()
        text = " ".join(str(error).split())[:300]
        is_full = type(error).__name__ == "OutOfMemoryError"
        connection.send(
            {"error": f"{type(error).__name__}: {text}", **({"out_of_memory": True} if is_full else {})}
        )
    finally:
        connection.close()


class Process:
    """A case that runs in a process of its own.

    Attributes:
        figures: what it has told so far.
    """

    def __init__(self, case: Case) -> None:
        fork = multiprocessing.get_context("fork")
        self.figures: dict[str, Any] = {}
        self.connection, sender = fork.Pipe(duplex=False)
        self.process = fork.Process(target=inside, args=(case, sender))
        self.process.start()
        sender.close()

    def listen(self, seconds: float) -> bool:
        """Take what it tells within so many seconds; True once it has nothing more to tell."""
        if not self.connection.poll(max(seconds, 0)):
            return False
        try:
            self.figures |= self.connection.recv()
        except EOFError:
            self.process.join()
            if self.process.exitcode and "error" not in self.figures:
                self.figures["error"] = f"ended by itself with exit code {self.process.exitcode}"
            return True
        return False

    def end(self) -> None:
        """End it and all that it started."""
        if self.process.is_alive():
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self.process.kill()  # it has not made its group yet
            self.process.join()


def run_case(case: Case, seconds: float, on_figures: Callable[[dict[str, Any]], None]) -> None:
    """Run a case; cut it after ``seconds``. ``on_figures`` gets all that is known of it, whenever there is more."""
    process, deadline, known = Process(case), time.monotonic() + seconds, 0
    try:
        while not process.listen(deadline - time.monotonic()):
            if time.monotonic() >= deadline:
                process.figures["error"] = f"cut after {seconds:.0f} s"
                break
            if len(process.figures) != known:
                known = len(process.figures)
                on_figures(process.figures)
    finally:
        process.end()
    on_figures(process.figures)


def run_sections(
    sections: list[Section], record: Record, minutes: float, between: Callable[[], None] = lambda: None
) -> None:
    """Run sections in order within so many minutes in all; the record is written after each case.

    Args:
        sections: the most telling first: what there is no time for stands in the record as not begun.
        record: of it.
        minutes: for all of them.
        between: called before each flush.
    """
    end, left = time.monotonic() + 60 * minutes, sum(section.seconds for section in sections)
    for section in sections:
        record.sections[section.name] = {"state": "not begun", "cases": {}}
    record.flush()
    for section in sections:
        began, entry = time.monotonic(), record.sections[section.name]
        limit = (end - began) * section.seconds / left
        left -= section.seconds
        if limit <= 0:
            continue
        entry |= {"state": "running", "limit_s": round(limit, 1)}
        for number, (name, case) in enumerate(section.cases.items()):
            remaining = began + limit - time.monotonic()
            if remaining <= 0:
                entry["cases"][name] = {"error": "no time was left"}
                continue

            def keep(figures: dict[str, Any], name: str = name, entry: dict[str, Any] = entry) -> None:
                entry["cases"][name] = dict(figures)
                between()
                record.flush()

            share = remaining / (len(section.cases) - number)
            run_case(case, min((remaining + share) / 2, LARGEST_SHARE * share), keep)
        failed = [name for name, figures in entry["cases"].items() if "error" in figures]
        entry |= {
            "state": "done" if not failed else "failed in part",
            "seconds": round(time.monotonic() - began, 1),
        }
        if failed:
            entry["failed"] = failed
        record.flush()
