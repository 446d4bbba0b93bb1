"""Trainer options: each one works or is refused in one line; none is taken and ignored."""

import inspect
import json
import re
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml

import videodiff
from videodiff.cli import main
from videodiff.config import check_options, read_configs, shipped_configs
from videodiff.config.trainer_options import STRATEGIES, TRAINER, check_trainer
from videodiff.data import VideoDataModule
from videodiff.usage import UsageError

SMOKE = ["--config", "vdm_digits", "--config", "with/smoke"]
DEFAULTS = Path(videodiff.__file__).with_name("defaults.yaml")


def refusal(key, value, batch_size=4):
    """What is said of a value, or None if it is taken."""
    config = {"trainer": {key: value}, "data": {"init_args": {"batch_size": batch_size}}}
    try:
        check_trainer(config)
    except UsageError as error:
        return str(error)
    return None


def test_every_argument_of_the_trainer_is_in_the_table():
    arguments = set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"}
    assert set(TRAINER) == arguments  # a new Lightning has a new one: try it, then say what it does here


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("overfit_batches", "1", "the same 4 clips in every step give data.num_train_clips 4"),
        ("overfit_batches", 3, "num_train_clips 12"),
        ("overfit_batches", 0.5, "num_train_clips N"),
        ("limit_train_batches", 1, "data.num_train_clips"),
        ("limit_train_batches", "0", "trainer.max_steps"),
        ("limit_train_batches", 0.5, "endless"),
        ("fast_dev_run", "true", "trainer.max_steps 1, trainer.val_check_interval 1"),
        ("fast_dev_run", 7, "trainer.max_steps 7"),
        ("max_epochs", "3", "trainer.max_steps"),
        ("max_epochs", 1000, "trainer.max_steps"),
        ("min_epochs", 1, "trainer.min_steps"),
        ("reload_dataloaders_every_n_epochs", 1, "no epochs"),
        ("val_check_interval", "0", "limit_val_batches 0"),
        ("val_check_interval", None, "1 or above"),
        ("val_check_interval", "0.5", "1 or above"),
        ("val_check_interval", 1.0, "1 or above"),
        ("check_val_every_n_epoch", 2, "trainer.val_check_interval"),
        ("log_every_n_steps", -1, "0 for never"),
        ("log_every_n_steps", 2.5, "0 for never"),
        ("devices", "lots", "a number of devices from 1 on"),
        ("devices", "2.5", "-1 for all, auto"),
        ("devices", "'1'", "or a list of GPUs"),
        ("devices", [0, 1, 1], "or a list of GPUs"),
        ("max_time", "nonsense", "DD:HH:MM:SS"),
        ("max_time", "00:00:00:00", "above 0"),
        ("max_time", {"seconds": -3}, "above 0"),
        ("max_time", 5, "DD:HH:MM:SS"),
        ("val_check_interval", "00:00:00:00", "limit_val_batches 0"),
        ("limit_val_batches", 1.5, "a share from 0.0 to 1.0"),
        ("limit_test_batches", -1, "a whole number of batches"),
        ("enable_checkpointing", "false", "checkpoint.every_n_steps"),
        ("default_root_dir", "elsewhere", "--out DIR"),
        ("barebones", True, "leave it out"),
        ("model_registry", "name", "videodiff export"),
        ("accelerator", "2.5", "auto, cpu, gpu, cuda, mps"),
        ("accelerator", "cup", "auto, cpu, gpu, cuda, mps"),
        ("accelerator", [0, 1], "an accelerator's class_path"),
        ("gradient_clip_algorithm", "both", "norm or value"),
        ("profiler", "xla", "simple, advanced"),
        *((("strategy", name, ", ".join(STRATEGIES))) for name in (
            "fsdp", "fsdp_cpu_offload", "deepspeed", "deepspeed_stage_3", "ddp_spawn", "ddp_fork", "ddp_notebook",
            "xla", "single_device", "nonsense", "pytorch_lightning.strategies.FSDPStrategy",
        )),
        ("strategy", {"class_path": "pytorch_lightning.strategies.FSDPStrategy"}, "DDPStrategy"),
        ("strategy", {"class_path": "pytorch_lightning.strategies.DeepSpeedStrategy"}, "exact resumes"),
        ("strategy", {"class_path": "pytorch_lightning.strategies.ModelParallelStrategy"}, "exact resumes"),
        (
            "strategy",
            {"class_path": "pytorch_lightning.strategies.DDPStrategy", "init_args": {"start_method": "spawn"}},
            "popen",
        ),
    ],
)  # fmt: skip
def test_an_option_without_effect_here_is_refused_with_what_to_give_instead(key, value, words):
    said = refusal(key, value)
    assert said is not None
    assert said.startswith(f"trainer.{key} ")
    assert words in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fast_dev_run", True),
        ("overfit_batches", 2),
        ("max_epochs", 3),
        ("limit_train_batches", 0.5),
        ("reload_dataloaders_every_n_epochs", 1),
        ("barebones", True),
        ("enable_checkpointing", False),
        ("strategy", "fsdp"),
        ("default_root_dir", "x"),
    ],
)
def test_a_config_of_an_old_run_goes_on_with_the_words_that_its_refusal_names(key, value, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"trainer": {key: value}}))
    words = re.search(rf"\((--trainer\.{key}) (\S+) is as without it\)$", refusal(key, value))
    check_trainer(read_configs(["vdm_digits", file], "fit", list(words.groups())))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("val_check_interval", "1e3"),
        ("val_check_interval", 250),
        ("val_check_interval", "00:00:10:00"),
        ("max_time", "00:12:00:00"),
        ("max_time", {"hours": 12}),
        ("log_every_n_steps", 0),
        ("devices", "auto"),
        ("devices", "-1"),
        ("devices", "0,1"),
        ("devices", [1, 3]),
        ("accelerator", "cuda"),
        ("accelerator", {"class_path": "my_lab.Accelerator"}),
        ("limit_test_batches", 0.5),
        ("limit_val_batches", "0"),
        ("limit_train_batches", 1.0),
        ("overfit_batches", 0.0),
        ("fast_dev_run", "false"),
        ("max_epochs", "-1"),
        ("check_val_every_n_epoch", 1),
        ("gradient_clip_algorithm", "value"),
        ("profiler", {"class_path": "pytorch_lightning.profilers.SimpleProfiler"}),
        ("strategy", {"class_path": "pytorch_lightning.strategies.DDPStrategy", "init_args": {"timeout": 9}}),
        ("strategy", {"class_path": "my_lab.strategies.Sharded"}),  # named by --trust
        *(("strategy", name) for name in STRATEGIES),
    ],
)
def test_an_option_that_does_what_it_says_is_taken(key, value):
    assert refusal(key, value) is None


@pytest.mark.parametrize(("value", "taken_by"), [("2.5", ["gradient_clip_val"]), ("abc", []), ("nan", [])])
def test_no_option_of_the_trainer_takes_a_number_of_the_wrong_kind(value, taken_by):
    said, config = {}, read_configs(["vdm_digits"], "fit")
    for name in TRAINER:
        try:
            check_trainer(check_options([f"--trainer.{name}", value], "fit", config))
            said[name] = None
        except UsageError as error:
            said[name] = str(error)
    assert [name for name, line in said.items() if line is None] == taken_by
    assert [n for n, line in said.items() if line and (f"trainer.{n}" not in line or "\n" in line)] == []


def test_what_ships_and_what_lightning_takes_by_default_is_taken():
    check_trainer(yaml.safe_load(DEFAULTS.read_text()))
    for file in shipped_configs().values():
        check_trainer(yaml.safe_load(file.read_text()))
    defaults = {
        name: p.default
        for name, p in inspect.signature(pl.Trainer.__init__).parameters.items()
        if name != "self"
    }
    # The config.yaml of a run holds all of them; this one it has from defaults.yaml.
    check_trainer({"trainer": defaults | {"val_check_interval": 1000}})


@pytest.mark.parametrize(
    "words",
    [
        ["--trainer.overfit_batches", "1"],
        ["--trainer.strategy", "fsdp"],
        ["--trainer.fast_dev_run=1"],
        ["--trainer.devices", "2.5"],
    ],
)
def test_a_refused_option_ends_a_fit_in_one_line_before_it_leaves_a_folder(
    words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMOKE, *words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert words[0].partition("=")[0].removeprefix("--") in lines[0]
    assert not list(tmp_path.iterdir())


def test_few_training_clips_are_the_same_in_every_step():
    """The way out that ``overfit_batches`` is refused with."""
    data = VideoDataModule(
        dataset="bouncing_digits", num_frames=4, resolution=16, batch_size=3, num_train_clips=3, num_workers=0
    )
    data.setup("fit")
    batches = iter(data.train_dataloader())
    seen = []
    for _ in range(4):
        videos = next(batches)["video"].flatten(1)
        order = sorted(range(3), key=lambda row: videos[row].tolist())
        seen.append(videos[order])
    assert all(torch.equal(seen[0], videos) for videos in seen[1:])


def test_min_steps_does_not_hold_up_a_run_that_has_taken_them(tmp_path):
    words = ["--trainer.min_steps", "2", "--trainer.max_time", "00:00:00:01", "--trainer.max_steps", "300"]
    words += ["--trainer.limit_val_batches", "0", "--out", str(tmp_path / "run")]
    assert main(["fit", *SMOKE, *words]) == 0
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 2 <= last["step"] < 300
