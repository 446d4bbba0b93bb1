"""Trainings as child processes: why one failed, and that none outlives the process that began it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from videodiff.cli import side_by_side
from videodiff.cli.side_by_side import SideBySide, Training, reason_of

BEGIN_AND_WAIT = """
import multiprocessing, signal, time
from videodiff.cli import side_by_side
if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, which may have begun the tests, has it ignored
    context = multiprocessing.get_context("forkserver")
    child = context.Process(target=side_by_side._end_with_parent)
    child.start()
    print(child.pid, flush=True)
    time.sleep(60)
"""


def is_there(pid):
    """Whether a process runs still; one that has ended and is not yet taken note of does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP], ids=lambda n: n.name)
def test_a_child_ends_with_a_parent_that_had_no_time_to_tell_it(number, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(BEGIN_AND_WAIT)
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    child = int(parent.stdout.readline())
    assert is_there(child)
    parent.send_signal(number)
    parent.wait(20)
    until = time.monotonic() + 20
    while is_there(child):
        assert time.monotonic() < until, "the child has outlived its parent"
        time.sleep(0.02)
    parent.stdout.close()


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("steps 3\nvideodiff: error: the disk is full\n\nmore\n", 1, "the disk is full"),
        ("steps 3\nSomething: odd\n", 1, "Something: odd"),
        ("steps 3\n", -9, "it was ended by SIGKILL"),
        ("", 7, "it ended with code 7"),
        (None, 7, "it ended with code 7"),
    ],
)
def test_the_reason_of_a_failure_is_one_line_of_its_log(text, code, reason, tmp_path):
    if text is not None:
        (tmp_path / "log").write_text(text)
    assert reason_of(tmp_path / "log", code) == reason


class Child:
    """A process that ends when it is told to."""

    def __init__(self, target, args):
        self.read, self.write = os.pipe()
        self.sentinel, self.exitcode, self.was_terminated = self.read, None, False

    def start(self):
        return None

    def end(self, code):
        self.exitcode = code
        os.close(self.write)

    def join(self, timeout=None):
        return None

    def is_alive(self):
        return self.exitcode is None

    def terminate(self):
        self.was_terminated = True
        self.end(-signal.SIGTERM)


@pytest.fixture
def side(monkeypatch):
    class Context:
        Process = Child

    monkeypatch.setattr(side_by_side, "context", Context)
    return SideBySide(2)


def trainings(folder, *pairs):
    return [Training(name, [], folder / f"{name}.log", folder / name, needs) for name, needs in pairs]


def names(found):
    return [each.name for each in found]


def test_two_run_at_a_time_in_order_and_none_before_what_it_needs(side, tmp_path):
    side.all = trainings(tmp_path, ("a1", None), ("b1", None), ("a2", "a1"), ("c", None))
    assert names(side.begin()) == ["a1", "b1"]
    assert names(side.begin()) == []
    side.all[1].process.end(0)
    assert names(side.wait(10)) == ["b1"]
    assert names(side.begin()) == ["c"]  # a2 has to wait
    side.all[0].process.end(0)
    assert names(side.wait(10)) == ["a1"]
    assert names(side.begin()) == ["a2"]
    assert not side.is_over
    with side:
        pass
    assert side.all[2].process.was_terminated  # what runs still ends with it
    assert side.all[3].process.was_terminated


def test_a_failed_training_takes_along_those_that_need_it_and_no_other(side, tmp_path):
    side.all = trainings(tmp_path, ("a1", None), ("a2", "a1"), ("b", None))
    side.begin()
    (tmp_path / "a1.log").write_text("videodiff: error: no space\n")
    side.all[0].process.end(1)
    side.all[2].process.end(0)
    while side.running():
        side.wait(10)
    assert names(side.begin()) == ["a2"]
    assert [each.state for each in side.all] == ["failed", "failed", "done"]
    assert [each.reason for each in side.all] == ["no space", "it needs a1, which failed", ""]
    assert side.is_over
