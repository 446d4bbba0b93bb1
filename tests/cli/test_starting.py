"""From one run to the next: --ckpt_path goes on, --init_from begins anew, and what is written says which."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

import tiny_run as tiny
from fault_harness import Job
from real_run import SMALLEST, command
from videodiff.checkpoints import load_checkpoint, save_checkpoint
from videodiff.checkpoints.export import export_run
from videodiff.cli import main

SMOKE = [*SMALLEST, "--ema.decay", "0.5"]
FEW = ["--data.num_train_clips", "8", "--data.num_val_clips", "2"]
STILL = ["--model.optimizer.lr", "1e-30", "--trainer.max_steps", "1"]  # a step that changes no weight


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three steps; its newest checkpoint."""
    folder = tmp_path_factory.mktemp("source") / "run"
    assert main(["fit", *SMOKE, "--out", str(folder), "--trainer.max_steps", "3"]) == 0
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fit(capfd):
    """Run ``fit``; its exit code and the lines that it said."""

    def call(*words):
        capfd.readouterr()
        code = main(["fit", *map(str, words)])
        return code, capfd.readouterr().err.splitlines()

    return call


def last(folder):
    return load_checkpoint(folder / "checkpoints" / "last.ckpt")


def test_ckpt_path_goes_on_under_a_new_name_as_the_run_itself_would(run, tmp_path, fit):
    code, said = fit("--ckpt_path", run, "--name", "more", "--trainer.max_steps", "4")
    path = run / "checkpoints" / "last.ckpt"
    assert (code, said[0]) == (0, f"videodiff: resuming the run of {path} at step 3")
    again = fit("--ckpt_path", run, "--out", "runs/more/1", "--trainer.max_steps", "4")
    assert "runs/more/1 is finished" in again[1][-1]  # from its own newest checkpoint
    shutil.copytree(run, tmp_path / "same")
    assert fit("--out", "same", "--trainer.max_steps", "4")[0] == 0
    more = tmp_path / "runs" / "more" / "1"
    assert tiny.same(tiny.weights(more / "checkpoints/last.ckpt"), tiny.weights("same/checkpoints/last.ckpt"))
    origin = json.loads((more / "origin.json").read_text())
    assert (origin["how"], origin["checkpoint"], origin["step"]) == ("ckpt_path", str(path), 3)
    assert origin["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("where", "words", "said"),
    [
        ("--name", ["--data.dataset", "drifting_clouds"], ["dataset: drifting_clouds, was bouncing_digits"]),
        ("--out", ["--data.num_train_clips", "5"], ["num_train_clips: 5"]),
        ("--out", ["--model.prediction", "eps"], ["model.init_args.prediction is eps", "trained with v"]),
        ("--name", ["--trainer.max_steps", "3"], ["is at step 3", "max_steps is 3"]),
        ("--out", ["--trainer.max_steps", "2"], ["is at step 3", "max_steps is 2"]),
    ],
)  # fmt: skip
def test_going_on_with_other_data_another_model_or_nothing_left_is_refused(
    where, words, said, run, tmp_path, fit
):
    more = [] if "--trainer.max_steps" in words else ["--trainer.max_steps", "9"]
    code, lines = fit(*SMOKE, "--ckpt_path", run, where, "new", *more, *words)
    assert (code, len(lines)) == (2, 1)
    assert all(text in lines[0] for text in [*said, "--init_from"]), lines
    assert list(tmp_path.iterdir()) == []


def test_other_videos_below_the_same_settings_are_named_by_their_roots(run, tmp_path, fit):
    def videos(folder, seed):
        from videodiff.data import video_io

        folder.mkdir()
        for number in range(3):
            frames = torch.full((6, 16, 16, 3), 20 * number + seed, dtype=torch.uint8)
            video_io.write_lossless(folder / f"{seed}{number}.mkv", frames)
        return folder

    a, b = videos(tmp_path / "a", 1), videos(tmp_path / "b", 2)
    classless = ["--data.images_per_video", "0", "--data.val_fraction", "0.4"]
    assert fit(*SMOKE, *classless, "--data.root", a, "--out", "one")[0] == 0
    more = ["--trainer.max_steps", "3"]
    code, lines = fit("--ckpt_path", "one", "--name", "two", "--data.root", b, *more)
    assert (code, len(lines)) == (2, 1)
    assert f"root: {b}, was {a}" in lines[0]
    (a / "13.mkv").write_bytes((b / "20.mkv").read_bytes())
    code, lines = fit("--out", "one", *more)
    assert code == 2
    assert f"root {a} holds other videos than it did" in lines[-1]


def test_init_from_begins_at_step_0_with_the_average_and_the_config_of_its_source(run, tmp_path, fit):
    source = last(run)
    other = ["--data.num_train_clips", "100"]
    code, said = fit("--init_from", run, "--name", "new", *other, *STILL)
    path = run / "checkpoints" / "last.ckpt"
    assert (code, said[0]) == (
        0,
        f"videodiff: a new run at step 0 with only the weights of {path} (step 3)",
    )
    new = tmp_path / "runs" / "new" / "1"
    begun = last(new)
    assert begun["global_step"] == 1
    assert any(not torch.equal(source["state_dict"][k], v) for k, v in source["raw_state_dict"].items())
    for name, value in source[
        "state_dict"
    ].items():  # the average, for both the raw weights and the new average
        torch.testing.assert_close(begun["state_dict"][name], value)
        torch.testing.assert_close(begun["raw_state_dict"][name], value)
    assert all(float(state["step"]) == 1 for state in begun["optimizer_states"][0]["state"].values())
    before, now = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in (run, new))
    assert now["model"]["init_args"]["net"] == before["model"]["init_args"]["net"]
    assert now["trainer"]["devices"] == "auto"  # of the machine, not of the model
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    short = {"how": "init_from", "checkpoint": str(path), "sha256": sha256, "step": 3}
    assert short.items() <= json.loads((new / "origin.json").read_text()).items()
    assert json.loads((new / "env.json").read_text())["started_from"] == short
    assert begun["videodiff"]["started_from"] == short
    assert source["videodiff"]["started_from"] is None


def test_the_command_that_began_a_run_given_again_goes_on_with_it(run, tmp_path, fit):
    words = ["--init_from", run, "--out", "new"]
    assert fit(*words, *STILL)[0] == 0
    code, said = fit(*words, "--trainer.max_steps", "2")
    assert code == 0
    assert said[0].endswith("resuming the run of new/checkpoints/last.ckpt at step 1")
    shutil.copytree(run, "moved")
    assert "is finished" in fit("--init_from", "moved", "--out", "new", "--trainer.max_steps", "2")[1][-1]
    shutil.rmtree("new/checkpoints")  # killed before the first checkpoint
    code, said = fit("--out", "new", *STILL)
    assert code == 0
    assert "a new run at step 0" in said[0]
    torch.testing.assert_close(last(tmp_path / "new")["state_dict"], last(run)["state_dict"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--init_from", "RUN", "--out", "other"], ["holds a run already", "begins a new one"]),
        (["--ckpt_path", "RUN", "--out", "other"], ["holds a run already", "is of another"]),
        (["--init_from", "RUN"], ["--name NAME or --out DIR"]),
        (["--ckpt_path", "RUN"], ["--name NAME or --out DIR"]),
        (["--ckpt_path", "RUN", "--init_from", "RUN", "--name", "x"], ["give one of the two"]),
        (["--init_from", "nobody", "--name", "x"], ["no run or checkpoint 'nobody'"]),
        ([*SMOKE, "--init-from", "RUN", "--name", "x"], ["'--init_from'"]),
    ],
)
def test_what_is_no_beginning_is_refused_in_one_line_and_changes_nothing(words, said, run, tmp_path, fit):
    shutil.copytree(run, "other")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, lines = fit(*(str(run) if word == "RUN" else word for word in words))
    assert (code, len(lines)) == (2, 1)
    assert all(text in lines[0] for text in said), lines
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_ckpt_path_of_bare_weights_is_an_alias_with_a_warning(run, tmp_path, fit):
    content = last(run)
    config = yaml.safe_load(content["videodiff"]["config"])
    config["trainer"] |= {"devices": 8, "num_nodes": 2, "strategy": "ddp", "accelerator": "gpu"}
    content["videodiff"]["config"] = yaml.safe_dump(config)
    save_checkpoint(content, tmp_path / "eight.ckpt")  # of a machine with eight GPUs
    export_run("eight.ckpt", tmp_path / "export")
    exported = yaml.safe_load((tmp_path / "export" / "config.yaml").read_text())["trainer"]
    assert not {"devices", "num_nodes", "strategy", "accelerator"} & exported.keys()
    code, said = fit("--ckpt_path", "export", "--name", "tuned", *STILL)
    assert code == 0
    assert "warning" in said[0]
    assert "--init_from export" in said[0]
    assert "a new run at step 0" in said[1]
    code, lines = fit("--out", "export")
    assert (code, len(lines)) == (2, 1)
    assert "--init_from export --name NAME" in lines[0]


@pytest.mark.slow  # what is missing is named in tests/test_bad_input.py
def test_a_checkpoint_without_training_state_names_the_way_to_use_its_weights(run, tmp_path, fit):
    content = last(run)
    del content["optimizer_states"]
    save_checkpoint(content, tmp_path / "x.ckpt")
    code, lines = fit("--ckpt_path", "x.ckpt", "--name", "x")
    assert code == 2
    assert "no optimizer_states" in lines[-1]
    assert "--init_from" in lines[-1]
    assert fit("--init_from", "x.ckpt", "--name", "x", *STILL)[0] == 0


def bare(kind, weights):
    """A file of weights without a config, as other tools leave it."""
    path = f"x.{'safetensors' if kind == 'safetensors' else 'pt'}"
    if kind == "safetensors":
        save_file({name: value.contiguous() for name, value in weights.items()}, path)
    elif kind == "wrapped":
        names = {f"model.{name.replace('net.', 'net._orig_mod.')}": value for name, value in weights.items()}
        torch.save({"state_dict": names, "hyper_parameters": {"lr": 1.0}, "epoch": 3}, path)
    else:
        if kind == "no number":
            weights = {**weights, "net.conv_in.bias": weights["net.conv_in.bias"] * torch.nan}
        torch.save(weights, path, _use_new_zipfile_serialization=kind != "legacy")
    if kind in PLACEHOLDERS:
        Path(path).write_text(PLACEHOLDERS[kind])
    return path


PLACEHOLDERS = {
    "pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "page": "<!DOCTYPE html><html></html>",
}


@pytest.mark.parametrize(
    ("kind", "option"),
    [("safetensors", "--ckpt_path"), pytest.param("wrapped", "--init_from", marks=pytest.mark.slow)],
)
def test_weights_without_a_config_begin_a_run_whose_config_is_given(kind, option, run, tmp_path, fit):
    path = bare(kind, last(run)["state_dict"])
    code, said = fit(*SMOKE, option, path, "--out", "new", *STILL)
    assert ("warning" in said[0] and f"--init_from {path}" in said[0]) == (option == "--ckpt_path")
    head = said.index(f"videodiff: a new run at step 0 with only the weights of {path}")
    assert (code, "tensors loaded as they are" in said[head + 1]) == (0, True)
    begun, origin = last(tmp_path / "new"), json.loads((tmp_path / "new" / "origin.json").read_text())
    torch.testing.assert_close(begun["state_dict"], last(run)["state_dict"])
    assert not origin["weights"]["new"]
    assert (origin["how"], origin["checkpoint"]) == ("init_from", str(tmp_path / path))
    assert origin["sha256"] == hashlib.sha256((tmp_path / path).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("legacy", [], "--config NAME|FILE"),
        ("safetensors", [], "--config NAME|FILE"),
        ("no number", SMOKE, "NaN or infinity in 1 of"),
        ("pointer", SMOKE, "is a git-lfs pointer"),
        ("page", SMOKE, "is an HTML page"),
    ],
)
def test_bare_weights_without_a_config_or_without_numbers_are_refused(kind, words, said, run, tmp_path, fit):
    path = bare(kind, last(run)["state_dict"])
    code, lines = fit(*words, "--init_from", path, "--name", "new")
    assert (code, len(lines)) == (2, 1)
    assert path in lines[0]
    assert said in lines[0]
    assert not (tmp_path / "runs").exists()


def test_a_finished_run_that_is_given_fewer_steps_says_how_it_goes_on(run, fit):
    code, said = fit("--out", run, "--trainer.max_steps", "2")
    assert code == 0
    assert "is at step 3 already, beyond trainer.max_steps 2" in said[-1]
    assert "above 3" in said[-1]


def test_two_processes_begin_alike_and_one_goes_on(run, tmp_path, fit):
    words = ["--init_from", str(run), "--out", str(tmp_path / "new"), "--trainer.limit_val_batches", "0"]
    two = ["--trainer.strategy", "ddp", "--trainer.devices", "2", "--trainer.accelerator", "cpu"]
    with Job(command, {"argv": ["fit", *words, *two, "--trainer.max_steps", "1"]}, tmp_path, world=2) as job:
        assert job.wait(120) == [0, 0], job.text()[-3000:]
        assert "a new run at step 0" in job.text()
    one = ["--trainer.strategy", "auto", "--trainer.devices", "1"]
    code, said = fit(
        *words, *one, "--trainer.max_steps", "2"
    )  # how many go on is tested with runs of their own
    assert code == 0
    assert said[0].endswith("new/checkpoints/last.ckpt at step 1")
    assert last(tmp_path / "new")["global_step"] == 2


def test_other_frames_size_and_classes_are_loaded_as_far_as_they_fit_and_told(run, tmp_path, fit):
    shape = ["--model.net.num_frames", "8", "--data.num_frames", "8", "--model.net.resolution", "32"]
    shape += ["--data.resolution", "32", "--model.net.attention_resolutions", "[16]"]
    classes = ["--data.dataset", "drifting_clouds", "--model.net.num_classes", "12"]
    code, said = fit("--init_from", run, "--out", "more", *shape, *classes, *STILL)
    assert code == 0
    assert "tensors loaded as they are" in said[1]
    assert "positions kept by distance" in said[1]
    assert "class rows by name: 0 kept, 4 new" in said[1]
    found = json.loads((tmp_path / "more" / "origin.json").read_text())["weights"]
    names = [*found["loaded"], *(entry["name"] for entry in found["resized"])]
    assert sorted(names) == sorted(last(tmp_path / "more")["state_dict"])
    code, lines = fit("--init_from", run, "--out", "wide", "--model.net.width", "64", *STILL)
    assert (code, len(lines)) == (2, 1)
    assert "is no beginning for VDM as configured" in lines[0]
    assert not (tmp_path / "wide").exists()


def test_a_latent_model_of_another_first_stage_is_no_beginning_unless_forced(tmp_path, fit):
    smoke = ["--config", "lvdm_autoencoder_digits", "--config", "with/smoke", *FEW]
    assert fit(*smoke, "--out", "a", "--trainer.max_steps", "1")[0] == 0
    shutil.copytree("a", "b")
    content = last(tmp_path / "b")
    content["state_dict"] = {name: value * 2 for name, value in content["state_dict"].items()}
    save_checkpoint(content, tmp_path / "b" / "checkpoints" / "last.ckpt")
    a, b = (["--model.autoencoder.checkpoint", name] for name in "ab")
    smoke = ["--config", "lvdm_digits", "--config", "with/smoke", *FEW]
    assert fit(*smoke, *a, "--out", "run", "--trainer.max_steps", "1")[0] == 0
    code, lines = fit("--init_from", "run", *b, "--name", "x")
    assert (code, len(lines)) == (2, 1)
    assert "trained on another first stage" in lines[0]
    assert "--force" in lines[0]
    code, lines = fit("--init_from", "run", *b, "--name", "x", "--force", *STILL)
    assert code == 0
    assert "trained on another first stage" in lines[2]
    shutil.copytree("a", "moved")
    moved = ["--model.autoencoder.checkpoint", "moved", "--trainer.max_steps", "2"]
    assert fit("--ckpt_path", "run", *moved, "--name", "x")[0] == 0  # the same one, elsewhere
