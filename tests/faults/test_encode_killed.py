"""encode killed at random instants, run again: the bytes of an undisturbed run."""

import random
import signal
import time

import pytest

from fault_harness import Job
from prepared_sets import contents, folder_of_videos
from videodiff.data import VideoDataModule
from videodiff.data.encode import encode_data
from videodiff.data.encode_plan import Encoding

FACTS = {"first_stage": {"checkpoint": "stage", "sha256": "00", "scale": None, "shift": None}, "model": "Toy"}


def slowly(video):
    """A first stage that takes its time, so that kills meet every part of the work."""
    time.sleep(0.01)
    return video[:, :, :, ::2, ::2] * 0.5


def encode_once(root, out, workers=0):
    """One run, as the command does it."""
    data = VideoDataModule(
        root, num_frames=3, resolution=16, num_workers=workers, horizontal_flip=True, classes="folder"
    )
    encode_data(data, slowly, out, FACTS, Encoding(windows=4, shard_clips=5, batch_size=2))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return folder_of_videos(tmp_path_factory.mktemp("videos"), num_videos=12)


@pytest.mark.parametrize(
    ("workers", "kills"),
    [(0, 3), pytest.param(0, 20, marks=pytest.mark.slow), pytest.param(2, 5, marks=pytest.mark.slow)],
)
def test_an_encoding_killed_at_random_ends_in_the_same_bytes(videos, tmp_path, workers, kills):
    whole, out = tmp_path / "whole", tmp_path / "out"
    whole.mkdir()
    out.mkdir()
    encode_once(str(videos), str(whole))
    kwargs = {"root": str(videos), "out": str(out), "workers": workers}
    began = time.monotonic()
    (tmp_path / "timed").mkdir()
    with Job(encode_once, {**kwargs, "out": str(tmp_path / "timed")}, tmp_path) as job:
        assert job.wait(300) == [0], job.text()
    seconds = time.monotonic() - began
    draw, killed = random.Random(f"encode {workers} {kills}"), 0
    for _ in range(20 * kills):
        with Job(encode_once, kwargs, tmp_path) as job:
            code = job.wait(draw.uniform(0.02, max(0.1, 1.2 * seconds / kills)))
            if code == [None]:
                job.signal(signal.SIGKILL)
                assert job.wait(30) == [-signal.SIGKILL]
                killed += 1
            else:
                assert code == [0], job.text()
                for path in out.iterdir():  # it was faster than the kills: begin again
                    path.unlink()
        if killed >= kills:
            break
    assert killed == kills
    with Job(encode_once, kwargs, tmp_path) as job:
        assert job.wait(300) == [0], job.text()
    assert contents(out) == contents(whole)
    assert sorted(p.suffix for p in out.iterdir() if p.suffix != ".safetensors") == [".json"]
