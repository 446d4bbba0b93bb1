"""Tiny runs on the built-in digits that the tests of comparisons share: clips of 4 frames of 16 pixels."""

import os
import shutil
from pathlib import Path

import pytest

from compared_runs import relabel
from videodiff.cli import main
from videodiff.comparison import Settings, compare_runs

FEW = ["--config", "with/smoke", "--data.num_train_clips", "12"]
SETTINGS = Settings(num_clips=6, steps=(2, 3), shown=3, batch_size=4)


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A working folder with runs of VDM and of both stages of PVDM, and others that are not as they should be."""
    folder, before = tmp_path_factory.mktemp("compared"), Path.cwd()
    os.chdir(folder)
    try:
        assert main(["fit", "--config", "vdm_digits", *FEW, "--trainer.max_steps", "2"]) == 0
        for name in ("pvdm_autoencoder_digits", "pvdm_digits"):
            assert main(["fit", "--config", name, *FEW]) == 0
        whole = Path("runs/vdm_digits/1")
        for name in ("damaged", "stopped"):
            shutil.copytree(whole, Path("runs") / name)
        for file in Path("runs/damaged/checkpoints").glob("*.ckpt"):
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 255
            file.write_bytes(data)
        (Path("runs/empty") / "checkpoints").mkdir(parents=True)
        shutil.copy(whole / "config.yaml", "runs/empty/config.yaml")
        relabel(Path("runs/stopped"), max_steps=40)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def at_home(home, monkeypatch, tmp_path):
    """Work in that folder, with a cache of its own."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return home


@pytest.fixture(scope="session")
def compared(home, tmp_path_factory):
    """VDM against PVDM: the record and the clips."""
    before, cache = Path.cwd(), os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.chdir(home)
    try:
        return compare_runs(["runs/vdm_digits", "pvdm_digits"], SETTINGS, command="videodiff compare")
    finally:
        os.chdir(before)
        os.environ.pop("XDG_CACHE_HOME")
        if cache is not None:
            os.environ["XDG_CACHE_HOME"] = cache
