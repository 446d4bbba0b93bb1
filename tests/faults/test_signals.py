"""Signals end a run with a checkpoint and the right exit code; SIGKILL costs an interval at most."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

import tiny_run as tiny
from fault_harness import Job, wait_for
from turns import by_turns
from videodiff.checkpoints import newest_checkpoint, verify_checkpoint

NAMES = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
OTHERS = [signal.SIGUSR2, signal.SIGHUP, signal.SIGXCPU]
CODES = {number: 130 if number == signal.SIGINT else 143 for number in NAMES + OTHERS}


def attempts(*quick):
    """Five, at a random moment of a run each; the others than ``quick`` are left to the soak."""
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in range(5)]


def started(folder, count=3, rank=0):
    path = Path(folder) / f"trace_rank{rank}.jsonl"
    return lambda: path.exists() and path.read_text().count("\n") >= count


def stop_run(folder, number, world=1, who="main", **options):
    """Start an endless run, send the signal somewhere after its third step, and check how it ends."""
    kwargs = {
        "folder": str(folder),
        "steps": 10**6,
        "world": world,
        "save_every": 10**6,
        "keep": 0,
        **options,
    }
    kwargs["module"] = {"pause": 0.003}
    with Job(tiny.fit, kwargs, folder, world=world) as job:
        wait_for(started(folder), 60)
        time.sleep(random.random() * 0.02)
        sent = time.monotonic()
        job.signal(number, who)
        codes = job.wait(20)
        assert codes == [CODES[number]] * world, job.text()
        assert time.monotonic() - sent < 10
        assert job.orphans() == []
        assert "resume with: videodiff fit" in job.text()
    verify_checkpoint(folder / "checkpoints/last.ckpt")
    traced = tiny.lines(folder / "trace_rank0.jsonl")[-1]["step"]
    assert tiny.weights(folder / "checkpoints/last.ckpt")[0] == traced
    assert list(folder.glob("checkpoints/.tmp*")) == []


@pytest.mark.parametrize(("number", "attempt"), by_turns([(n,) for n in NAMES], [0, 2, 4, 1, 3]), ids=str)
def test_a_signal_stops_one_process_with_a_checkpoint(number, attempt, tmp_path):
    stop_run(
        tmp_path, number, data={"workers": 2 if attempt < 2 else 0}, who="group" if attempt < 3 else "main"
    )


@pytest.mark.parametrize(
    ("number", "who"), by_turns([(n,) for n in NAMES], ["main", "child", "group"]), ids=str
)
@pytest.mark.parametrize("attempt", attempts(0))
def test_a_signal_to_any_rank_stops_both_at_the_same_step(number, who, attempt, tmp_path):
    stop_run(tmp_path, number, world=2, who=who)
    steps = [tiny.lines(tmp_path / f"trace_rank{rank}.jsonl")[-1]["step"] for rank in (0, 1)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize("number", OTHERS, ids=lambda n: n.name)
def test_what_schedulers_and_terminals_send_stops_a_run_with_a_checkpoint(number, tmp_path):
    stop_run(tmp_path, number, data={"workers": 2}, who="group")


def test_a_signal_to_the_second_rank_that_only_one_scheduler_sends_stops_both(tmp_path):
    stop_run(tmp_path, signal.SIGUSR2, world=2, who="child")


def without_hangups(**kwargs):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    tiny.fit(**kwargs)


def test_a_run_under_nohup_goes_on_when_the_terminal_closes(tmp_path):
    kwargs = {"folder": str(tmp_path), "steps": 60, "save_every": 30, "module": {"pause": 0.003}}
    with Job(without_hangups, kwargs, tmp_path) as job:
        wait_for(started(tmp_path), 60)
        job.signal(signal.SIGHUP, "group")
        assert job.wait(30) == [0], job.text()
    assert tiny.weights(tmp_path / "checkpoints/last.ckpt")[0] == 60


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    tiny.fit(folder, 40, save_every=3, keep=0)
    return tiny.weights(folder / "checkpoints/last.ckpt")


@pytest.mark.parametrize("attempt", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 50))])
def test_a_killed_run_resumes_bit_identical(attempt, whole, tmp_path, monkeypatch):
    elsewhere = "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(tmp_path)
    chance = random.Random(attempt)
    kwargs = {"folder": str(tmp_path), "steps": 40, "save_every": 3, "keep": 0, "module": {"pause": 0.003}}
    for _ in range(2):  # killed twice in one run
        with Job(
            tiny.fit, {**kwargs, "resume": newest(tmp_path)}, tmp_path, environ={"TMPDIR": elsewhere}
        ) as job:
            count = len(tiny.lines(tmp_path / "trace_rank0.jsonl")) if started(tmp_path, 1)() else 0
            wait_for(started(tmp_path, count + 4), 60)
            time.sleep(chance.random() * 0.08)
            job.signal(signal.SIGKILL)
            assert job.wait(10) == [-9]
        for path in tmp_path.glob("checkpoints/*.ckpt"):
            verify_checkpoint(path)
    tiny.fit(tmp_path, 40, resume=newest(tmp_path), save_every=3, keep=0)
    assert tiny.same(tiny.weights(tmp_path / "checkpoints/last.ckpt"), whole)
    assert list(tmp_path.glob("checkpoints/.tmp*")) == []
    steps = [line["step"] for line in tiny.lines(tmp_path / "metrics.jsonl") if "val/loss" not in line]
    assert steps == list(range(1, 41))


def newest(folder):
    found = newest_checkpoint(folder)
    return str(found) if found else None


def test_a_killed_rank_takes_the_other_with_it(tmp_path):
    kwargs = {"folder": str(tmp_path), "steps": 10**6, "world": 2, "module": {"pause": 0.003}}
    with Job(tiny.fit, kwargs, tmp_path, world=2) as job:
        wait_for(started(tmp_path), 60)
        job.signal(signal.SIGKILL, "child")
        assert job.wait(20) == [1, -9]
    verify_checkpoint(tmp_path / "checkpoints/last.ckpt")


def test_two_processes_resume_bit_identical(tmp_path):
    kwargs = {"steps": 8, "world": 2}
    for folder, options in (("whole", {}), ("half", {"steps": 5}), ("half", {"resume": True})):
        (tmp_path / folder).mkdir(exist_ok=True)
        if options.get("resume"):
            options = {"resume": str(tmp_path / "half/checkpoints/last.ckpt")}
        with Job(tiny.fit, {"folder": str(tmp_path / folder), **kwargs, **options}, tmp_path, world=2) as job:
            assert job.wait(60) == [0, 0], job.text()
    last = [tiny.weights(tmp_path / folder / "checkpoints/last.ckpt") for folder in ("whole", "half")]
    assert tiny.same(*last)
    shutil.rmtree(tmp_path / "half")
