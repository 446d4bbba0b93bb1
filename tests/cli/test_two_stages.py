"""A missing first stage is answered with a command; followed to the letter, the second stage then starts."""

import shlex
from itertools import pairwise

import pytest

from videodiff.cli import main
from videodiff.config import load_yaml, read_configs, shipped_configs

SECOND = [
    name
    for name, file in shipped_configs().items()
    if "/" not in name and "checkpoints.FirstStage" in str(load_yaml(file).get("model"))
]
QUICK = ("lvdm_digits", "pvdm_digits")
FEW = ["--data.num_train_clips", "8", "--data.num_val_clips", "2", "--trainer.max_steps", "1"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def advice(capfd, *words):
    """The words of the command that ``fit`` answers with."""
    capfd.readouterr()
    assert main(["fit", *words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    command = line.partition("make it with: ")[2].rpartition(" (no run")[0]
    assert command.startswith("videodiff fit --config "), line
    return shlex.split(command)[1:]


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SECOND]
)
def test_the_advice_is_followed_to_the_letter_and_the_second_stage_starts(name, capfd):
    command = ["--config", name, "--config", "with/smoke"]
    told = advice(capfd, *command)
    assert told[-2:] == ["--config", "with/smoke"]
    assert main([*told, *FEW]) == 0
    assert main(["fit", *command, *FEW]) == 0


@pytest.mark.parametrize("name", SECOND)
def test_the_advice_carries_the_data_and_their_size_quoted_for_the_shell(name, capfd):
    data = ["--data.root", "my videos", "--data.layout", "videos", "--data.batch_size", "3"]
    told = advice(capfd, "--config", name, *data, "--data.resolution", "64", "--trainer.devices", "1")
    words = " ".join(told)
    assert "--data.root my videos --data.layout videos --data.resolution 64" in words
    assert "batch_size" not in words
    assert "devices" not in words
    names = [value for word, value in pairwise(told) if word == "--config"]
    config = read_configs(names, "fit", told[told.index("--data.root") :])
    assert config["data"]["init_args"]["resolution"] == "64"
    assert config["model"]["init_args"]["autoencoder"]["init_args"]["resolution"] == "64"


def test_an_overlay_that_is_not_made_for_the_first_stage_is_left_out(capfd):
    assert "with/small" not in advice(capfd, "--config", "pvdm_sky", "--config", "with/small")
