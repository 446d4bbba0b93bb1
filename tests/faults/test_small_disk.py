"""Every command on a disk that fills up: when there is room again it gives what it would have given undisturbed."""

import json

import pytest

from fault_harness import Job
from prepared_sets import folder_of_videos
from real_run import SMALLEST
from small_disk import can_mount, on_small_disks
from videodiff.cli import main

pytestmark = pytest.mark.slow
SHARES = (0, 0.15, 0.4, 0.7, 0.97)
FEW = ["--data.num_test_clips", "4", "--data.batch_size", "2", "--model.sampler.num_steps", "2"]
FIT = ["fit", *SMALLEST, "--ema.decay", "0.5", "--checkpoint.every_n_steps", "1"]
RUN = "{run}"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run of two steps, a second stage with its first, and a folder of videos."""
    if not can_mount():
        pytest.skip("no mount name spaces here")
    folder = tmp_path_factory.mktemp("source")
    assert main([*FIT, "--out", str(folder / "run"), "--trainer.max_steps", "2"]) == 0
    stage = ["--config", "lvdm_autoencoder_digits", "--config", "with/smoke"]
    assert main(["fit", *stage, "--out", str(folder / "stage"), "--trainer.max_steps", "1"]) == 0
    folder_of_videos(folder / "videos", num_videos=8)
    return folder


COMMANDS = {
    "fit": [*FIT, "--trainer.max_steps", "4"],
    "fit resumed": ["fit", "--trainer.max_steps", "4"],
    "generate": ["generate", "--ckpt_path", RUN, "--num_samples", "6", "--steps", "2", "--batch_size", "2"],
    "generate long": ["generate", "--ckpt_path", RUN, "--num_samples", "2", "--steps", "2", "--frames", "10"],
    "predict": ["predict", "--ckpt_path", RUN, *FEW],
    "prepare packed": ["prepare", "{videos}", "--size", "32", "--form", "packed", "--layout", "videos"],
    "prepare video": ["prepare", "{videos}", "--size", "32", "--form", "video", "--layout", "videos"],
    "prepare shards": ["prepare", "{videos}", "--size", "32", "--form", "shards", "--layout", "videos"],
    "encode": [
        "encode", "--config", "lvdm_digits", "--config", "with/smoke", "--model.autoencoder.checkpoint", "{stage}",
        "--shard_clips", "4", "--data.num_train_clips", "12", "--data.num_val_clips", "4", "--data.num_test_clips", "4",
    ],
    "compare": ["compare", RUN, "--num_clips", "4", "--steps", "2", "--shown", "2"],
    "export": ["export", RUN],
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_ran_out_of_room_gives_the_same_when_there_is_some(name, source, tmp_path):
    places = {key: str(source / key) for key in ("run", "videos", "stage")} | {"disk": "{disk}"}
    words = [word.format(**places) for word in COMMANDS[name]] + ["--out", "{disk}/run"]
    report = tmp_path / "report.json"
    begun = str(source / "run") if name == "fit resumed" else None
    least = (source / "run" / "checkpoints" / "last.ckpt").stat().st_size if begun else 0
    kwargs = {
        "folder": str(tmp_path / "disk"), "begun": begun, "words": words, "shares": SHARES, "report": str(report),
        "least": least,
    }  # fmt: skip
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with Job(on_small_disks, kwargs, tmp_path, environ=environ) as job:
        assert job.wait(600) == [0], job.text()[-3000:]
        log = job.text()
    told = json.loads(report.read_text())
    whole, *disturbed = told["found"]
    assert whole["codes"] == [0], whole["said"]
    assert whole["contents"]
    failed = 0
    for disk in disturbed:
        first, second = disk["codes"]
        assert first in (0, 1, 2), disk
        failed += first != 0
        for said in disk["said"]:
            assert "Traceback" not in said, said
        assert second == 0, disk["said"]
        assert disk["contents"] == whole["contents"], (disk["share"], disk["said"])
    assert failed >= 3, [disk["codes"] for disk in disturbed]
    assert "Traceback" not in log, log
