"""Fewer validation or test clips than processes: nobody waits, and the mean is that of the clips there are."""

import json

import pytest

from fault_harness import Job
from real_run import SMALLEST, command
from videodiff.cli import main

SMOKE = [*SMALLEST, "--trainer.max_steps", "2", "--trainer.limit_val_batches", "1.0"]
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]


def job(words, folder):
    with Job(command, {"argv": [*words, *TWO]}, folder, world=2) as running:
        assert running.wait(120) == [0, 0], running.text()[-3000:]


def val_losses(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["val/loss"] for line in lines if "val/loss" in line]


@pytest.mark.parametrize("clips", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_few_validation_clips_on_two_processes_have_the_mean_that_they_have_on_one(clips, tmp_path):
    words = ["fit", *SMOKE, "--data.num_val_clips", str(clips)]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    job([*words, "--out", str(tmp_path / "two")], tmp_path)
    (alone,), (together,) = val_losses(tmp_path / "one"), val_losses(tmp_path / "two")
    assert together == pytest.approx(alone, rel=1e-3)


def test_one_clip_is_predicted_once_by_two_processes(tmp_path):
    run = str(tmp_path / "run")
    words = ["--trainer.limit_val_batches", "0", "--trainer.max_steps", "1"]
    assert main(["fit", *SMOKE, *words, "--out", run]) == 0
    words = ["predict", "--ckpt_path", run, "--data.num_test_clips", "1", "--model.sampler.num_steps", "1"]
    job([*words, "--out", str(tmp_path / "out")], tmp_path)
    assert main([*words, "--out", str(tmp_path / "alone")]) == 0
    names = [sorted(p.name for p in (tmp_path / n).iterdir() if p.suffix == ".mkv") for n in ("out", "alone")]
    assert names[0] == names[1] != []
