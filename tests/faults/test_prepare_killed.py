"""prepare killed at random instants, run again: the bytes of an undisturbed run."""

import json
import os
import random
import signal
import time

import pytest

from fault_harness import Job
from prepared_sets import contents, folder_of_videos
from videodiff.data.prepare import Settings, prepare


def prepare_once(root, out, form, workers):
    """One run, as the command does it."""
    prepare(root, out, Settings(size=32, form=form, shard_bytes=60_000, layout="videos"), workers)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return folder_of_videos(tmp_path_factory.mktemp("videos"), num_videos=24, bad=("a/bad.mp4",))


@pytest.mark.parametrize(
    ("form", "workers", "kills"),
    [
        ("shards", 0, 3),
        pytest.param("packed", 0, 3, marks=pytest.mark.slow),
        *(
            pytest.param(form, workers, 10, marks=pytest.mark.slow)
            for form in ("video", "packed", "shards")
            for workers in (0, 2)
        ),
    ],
)
def test_a_preparation_killed_at_random_ends_in_the_same_bytes(videos, tmp_path, form, workers, kills):
    whole, out = tmp_path / "whole", tmp_path / "out"
    kwargs = {"root": str(videos), "form": form, "workers": workers}
    seconds = 0.0
    for target in (tmp_path / "warm", whole):  # the first run also starts the server that forks them
        began = time.monotonic()
        with Job(prepare_once, {**kwargs, "out": str(target)}, tmp_path) as job:
            assert job.wait(300) == [0], job.text()
        seconds = time.monotonic() - began
    draw = random.Random(f"{form} {workers}")
    killed, finished = 0, 0
    for _ in range(20 * kills):
        with Job(prepare_once, {**kwargs, "out": str(out)}, tmp_path) as job:
            code = job.wait(draw.uniform(0.02, 0.9 * seconds / kills))
            if code == [None]:
                job.signal(signal.SIGKILL)
                code = job.wait(30)
            if code == [-signal.SIGKILL]:
                killed += 1
            else:  # done before the kill, or in the moment between
                assert code == [0], job.text()
                finished += 1
        if finished and killed < kills:  # it was faster than the kills: begin again
            for path in sorted(out.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            finished = 0
        if killed >= kills:
            break
    assert killed == kills
    with Job(prepare_once, {**kwargs, "out": str(out)}, tmp_path) as job:
        assert job.wait(300) == [0], job.text()
    assert contents(out) == contents(whole)
    assert json.loads((out / "prepared.json").read_text())["skipped"] == {"unopenable": 1}
    assert not (out / ".prepare").exists()
    assert not [name for name in os.listdir(out) if "part" in name or "tmp" in name]
