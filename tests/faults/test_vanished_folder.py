"""A folder that vanishes under a command: one line that names it, exit code 1, and no trace of a helper thread."""

import shutil

import pytest

from real_run import SMALLEST
from videodiff.cli import main
from videodiff.models import DiffusionModule

FIT = ["fit", *SMALLEST, "--trainer.max_steps", "8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "run"
    assert main(["fit", *SMALLEST, "--trainer.max_steps", "1", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def told(capfd):
    """Run a command that fails; what it said of its failure."""

    def call(*words):
        capfd.readouterr()
        code = main([str(word) for word in words])
        err = capfd.readouterr().err
        assert code == 1, err
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.startswith("videodiff: error:")]
        assert len(lines) == 1, err
        assert "b'" not in err
        return lines[0]

    return call


def vanish_at(monkeypatch, name, folder, call=2):
    """Take a folder away at the given call of a method of the model."""
    plain, calls = getattr(DiffusionModule, name), []

    def method(self, *args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            shutil.rmtree(folder)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(DiffusionModule, name, method)


@pytest.mark.parametrize("log", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_run_that_vanishes_under_fit_is_named(log, tmp_path, monkeypatch, told):
    vanish_at(monkeypatch, "training_step", tmp_path / "run")
    line = told(*FIT, "--trainer.log_every_n_steps", log, "--out", tmp_path / "run")
    assert f"{tmp_path / 'run'} vanished while it was written to" in line
    assert not (tmp_path / "run").exists()  # and none is begun in its place


def test_a_folder_that_vanishes_under_generate_is_named(run, tmp_path, monkeypatch, told):
    vanish_at(monkeypatch, "decode_frames", tmp_path / "out", call=1)
    words = ["generate", "--ckpt_path", run, "--num_samples", "2", "--steps", "1", "--batch_size", "1"]
    assert f"{tmp_path / 'out'} vanished while it was written to" in told(*words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_compare_goes_on_with_a_run_that_vanishes_once_it_is_read(run, tmp_path, monkeypatch, capfd):
    copies = [str(shutil.copytree(run, tmp_path / name)) for name in ("a", "b")]
    vanish_at(monkeypatch, "decode_frames", copies[1], call=1)  # while the first is drawn
    few = ["--num_clips", "4", "--steps", "1", "--shown", "2"]
    assert main(["compare", *copies, *few, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "index.html").is_file()
    assert "Traceback" not in capfd.readouterr().err
    assert main(["compare", *copies, *few, "--out", str(tmp_path / "other")]) == 0
    assert f"skipped {copies[1]}" in capfd.readouterr().err
