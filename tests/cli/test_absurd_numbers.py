"""Numbers that nobody can mean are refused before anything is built: one line that names the option, exit code 2."""

import json
import shlex

import pytest

from videodiff import memory
from videodiff.cli import main
from videodiff.config.ranges import MOST_WORKERS
from videodiff.config.trainer_options import check_machine
from videodiff.data import VideoDataModule

SMOKE = ["--config", "vdm_digits", "--config", "with/smoke"]
FIT = {
    "--data.num_workers 100000": f"--data.num_workers must be from 0 to {MOST_WORKERS}, got 100000",
    "--data.batch_size 100000000000000000000": "--data.batch_size must be 1 or above",
    "--data.resolution 100000000": "--data.resolution must be from 1 to 32768",
    "--data.num_train_clips 0": "--data.num_train_clips must be 1 or above",
    "--data.fps -1": "--data.fps must be above 0",
    "--trainer.max_steps 1e400": "--trainer.max_steps must be a finite number",
    "--trainer.max_steps 99999999999999999999": "--trainer.max_steps must be from 1 to 9007199254740992",
    "--trainer.min_steps -5": "--trainer.min_steps must be 0 or above",
    "--trainer.num_sanity_val_steps -7": "--trainer.num_sanity_val_steps must be 0 or above, or -1 for all",
    "--trainer.devices 2.5": "trainer.devices 2.5: a number of devices",
    "--trainer.devices lots": "trainer.devices lots: a number of devices",
    "--trainer.val_check_interval 0": "trainer.limit_val_batches 0 for no validation",
    "--seed_everything -4": "--seed_everything must be from 0 to 4294967295",
    "--model.net.num_classes -1": "--model.net.num_classes must be 1 or above",
}
COMMANDS = {
    "generate --ckpt_path x --num_samples 1000000000000": "--num_samples must be at most",
    "generate --ckpt_path x --frames 1000000000000": "--frames must be at most",
    "generate --ckpt_path x --steps 1000000000000": "--steps must be at most",
    "generate --ckpt_path x --steps 20/0": "--steps must be at least 1, got 0",
    "generate --ckpt_path x --steps many": "--steps must be a whole number, got 'many'",
    "generate --ckpt_path x --fps 1000000000000": "--fps must be at most",
    "generate --ckpt_path x --eta nan": "--eta must be a finite number, got nan",
    "generate --ckpt_path x --eta -1": "--eta must be at least 0, got -1.0",
    "generate --ckpt_path x --class_id -1": "--class_id must be at least 0, got -1",
    "generate --ckpt_path x --reconstruction_weight inf": "--reconstruction_weight must be a finite number",
    "compare a b --guidance nan": "--guidance must be a finite number",
    "compare a b --num_clips 1000000000000": "--num_clips must be at most",
    "compare a b --long_frames 100000000000": "--long_frames must be at most",
    "evaluate a b --resolution 1000000000": "--resolution must have sides of 1 to 32768",
    "prepare a --out b --workers 100000": "--workers must be at most 1024",
    "prepare a --out b --size 1000000000": "--size must have sides of 1 to 32768",
    "prepare a --out b --fps nan": "--fps must be a finite number",
    "encode --config c --out e --shard_clips 0": "--shard_clips must be at least 1",
    "encode --config c --out e --batch_size 1000000000000": "--batch_size must be at most",
    "info vdm_digits --tflops nan": "--tflops must be a finite number",
    "import f --out g --frames -2": "--frames must be at least 1",
}


def refused(words, said, capsys, folder):
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert len(line) < 400
    assert not list(folder.iterdir())


@pytest.mark.parametrize("option", FIT)
def test_fit_refuses_an_absurd_number(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refused(["fit", *SMOKE, *option.split()], FIT[option], capsys, tmp_path)


@pytest.mark.parametrize("line", COMMANDS)
def test_other_commands_refuse_an_absurd_number(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refused(shlex.split(line), COMMANDS[line], capsys, tmp_path)


def test_a_whole_number_beyond_all_floats_is_refused_by_its_file(tmp_path, capsys):
    file = tmp_path / "over.yaml"
    file.write_text(f"trainer: {{max_steps: 1{400 * '0'}}}")
    assert main(["fit", *SMOKE, "--config", str(file), "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file}:1: a number of 401 characters" in line
    assert len(line) < 300


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"accelerator": "cpu", "devices": 5000}, "too many processes for the"),
        ({"accelerator": "cpu", "devices": "0,1"}, "a list chooses GPUs"),
        ({"num_nodes": 100000}, "torchrun --nnodes 100000"),
        ({"accelerator": "mps"}, "torch finds no such device"),
    ],
)
def test_devices_and_nodes_that_are_not_there_are_refused(trainer, said, monkeypatch):
    for name in ("MASTER_ADDR", "WORLD_SIZE", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=said):
        check_machine({"trainer": trainer})


def test_nodes_of_a_launcher_are_taken(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    check_machine({"trainer": {"accelerator": "cpu", "devices": 2, "num_nodes": 2}})


def test_a_batch_larger_than_memory_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(memory, "memory", lambda: 2**30)
    data = VideoDataModule(
        dataset="bouncing_digits", num_frames=4, resolution=16, batch_size=10**6, num_workers=0
    )
    with pytest.raises(
        ValueError, match=r"train batch of data.batch_size 1000000 takes 2.86 GiB .* has 1 GiB"
    ):
        data.setup("fit")


def test_a_run_that_never_logs_trains(tmp_path):
    words = ["fit", *SMOKE, "--out", str(tmp_path / "run"), "--trainer.log_every_n_steps", "0"]
    assert main(words) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val/loss" in line] == [2]
    assert not [line for line in lines if "train/loss" in line]
