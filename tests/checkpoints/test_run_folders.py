"""Run folders: numbers, the lock, finding checkpoints, and opening a model again."""

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import yaml

from videodiff.checkpoints import (
    CheckpointError,
    RunLock,
    load_config,
    load_run,
    new_run_directory,
    newest_checkpoint,
    resolve_checkpoint,
    save_checkpoint,
    set_aside,
)
from videodiff.checkpoints.export import export_run
from videodiff.checkpoints.glance import TRAINING
from videodiff.checkpoints.lock import process_start

MODEL = {
    "class_path": "videodiff.models.VDM",
    "init_args": {
        "net": {
            "class_path": "videodiff.networks.UNet3D",
            "init_args": {
                "resolution": 8,
                "num_frames": 2,
                "width": 8,
                "channel_multipliers": [1, 2],
                "num_blocks": 1,
                "attention_resolutions": [4],
                "head_dim": 8,
            },
        },
        "schedule": {"class_path": "videodiff.diffusion.CosineSchedule"},
        "sampler": {"class_path": "videodiff.diffusion.DDIMSampler", "init_args": {"num_steps": 2}},
    },
}


def put(run, name, age=0.0, step=1, **parts):
    path = run / "checkpoints" / f"{name}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {"net.w": torch.ones(3), "net.v": torch.zeros(2)}
    save_checkpoint({"epoch": 0, **parts, "state_dict": weights, "global_step": step}, path)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_numbers_are_never_given_twice(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_run_directory("vdm", tmp_path), range(24)))
    assert sorted(int(p.name) for p in made) == list(range(1, 25))
    for name in ("", "../x", "/x"):
        with pytest.raises(ValueError, match="name"):
            new_run_directory(name, tmp_path)


def test_a_checkpoint_is_found_by_every_way_to_name_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old, run = new_run_directory("vdm"), new_run_directory("vdm")
    put(old, "last")
    best, last = put(run, "best", age=50), put(run, "last")
    new_run_directory("vdm")  # a run that has saved nothing
    for spec, path in {
        str(last): last,
        str(run): last,
        f"{run}/checkpoints": last,
        f"{run}/best": best,
        f"{run}/last": last,
        "runs/vdm": last,
        "vdm": last,
        "vdm/2": last,
        "vdm/best": best,
        "vdm/1/last": old / "checkpoints/last.ckpt",
    }.items():
        assert resolve_checkpoint(spec).resolve() == path.resolve(), spec


def test_what_is_not_there_is_answered_with_what_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="there are no runs"):
        resolve_checkpoint("vdm")
    run = new_run_directory("vdm")
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        resolve_checkpoint(run)
    put(run, "last")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint 'best' \(it has last\)"):
        resolve_checkpoint("vdm/best")
    with pytest.raises(FileNotFoundError, match="runs in runs: vdm"):
        resolve_checkpoint("lvdm")


def test_a_damaged_newest_checkpoint_is_passed_over_by_name(tmp_path, capsys):
    put(tmp_path, "best", step=2)
    last = put(tmp_path, "last", step=3)
    last.write_bytes(last.read_bytes()[:-30])
    assert newest_checkpoint(tmp_path).name == "best.ckpt"
    assert "passed over" in capsys.readouterr().err
    (tmp_path / "checkpoints/best.ckpt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="none of the 2"):
        newest_checkpoint(tmp_path)
    assert newest_checkpoint(tmp_path / "empty") is None


FIT = {key: {"values": [1, (2, None)], "kind": key} for key in TRAINING}
ODD = {**FIT, "callbacks": {1, 2}}  # a set is not written down without being loaded


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"last": (7, FIT), "best": (4, FIT)}, "last"),
        ({"best": (7, FIT), "last": (4, FIT)}, "best"),
        ({"last": (9, FIT), "best": (10, FIT)}, "best"),
        ({"last": (7, FIT), "step_00000007": (7, FIT), "best": (7, FIT)}, "last"),
        ({"last": (7, ODD), "best": (4, FIT)}, "last"),
        ({"last": (7, FIT), "step_00000008": (8, FIT), "step_00000006": (6, FIT)}, "step_00000008"),
        ({"last": (7, FIT), "step_00000090": (6, FIT), "step_00000005": (9, {})}, "last"),
        ({"last": (7, FIT), "weights": (900, {}), "zero": (None, {})}, "last"),
        ({"weights": (900, {}), "zero": (None, {})}, "weights"),
    ],
)
def test_the_highest_step_is_picked_whatever_the_times_of_files(files, found, tmp_path, monkeypatch):
    for age, (name, (step, parts)) in enumerate(files.items()):  # each touched before the one in front of it
        put(tmp_path, name, -100.0 * age, step, **{"loops": {"global_step": 10**6}, **parts} if parts else {})
    if ODD not in [parts for _, parts in files.values()]:
        monkeypatch.setattr(torch, "load", None)  # tells the step without a tensor
    assert resolve_checkpoint(tmp_path).stem == found


def test_a_run_that_goes_back_leaves_what_lies_beyond_in_a_folder_of_its_own(tmp_path):
    start = put(tmp_path, "step_00000004", step=4, **FIT)
    for step, name in ((3, "best"), (6, "last"), (6, "step_00000006")):
        put(tmp_path, name, step=step, **FIT)
    (tmp_path / "checkpoints" / "torn.ckpt").write_bytes(b"PK")
    folder = set_aside(tmp_path, start)
    assert {p.name for p in folder.iterdir()} == {"last.ckpt", "step_00000006.ckpt"}
    assert newest_checkpoint(tmp_path) == start
    assert set_aside(tmp_path, start) is None
    put(tmp_path, "last", step=5, **FIT)
    assert set_aside(tmp_path, start).name == "beyond_step_4_2"


def test_a_second_writer_is_refused_and_a_dead_one_replaced(tmp_path, capsys):
    sleeper = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    try:
        theirs = RunLock(tmp_path)
        start = process_start(sleeper.pid)
        theirs.mine = {**theirs.mine, "pid": sleeper.pid, "started": start}
        theirs.acquire()
        with pytest.raises(ValueError, match=f"being written by process {sleeper.pid}"):
            RunLock(tmp_path).acquire()
    finally:
        sleeper.kill()
        sleeper.wait()
    with RunLock(tmp_path):
        assert "took over" in capsys.readouterr().err
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "run.lock").exists()


def test_a_reused_process_number_does_not_hold_a_lock_and_another_host_does(tmp_path):
    lock = RunLock(tmp_path)
    lock.path.write_text(json.dumps({**lock.mine, "started": 1}))
    lock.acquire()
    lock.path.write_text(json.dumps({**lock.mine, "host": "elsewhere"}))
    with pytest.raises(ValueError, match="elsewhere"):
        lock.acquire()


@pytest.fixture
def trained(tmp_path):
    """A checkpoint of a small VDM, alone in a folder."""
    from videodiff.checkpoints.run import build_model

    torch.manual_seed(0)
    model = build_model(MODEL, tmp_path, ())
    config = yaml.safe_dump({"model": MODEL, "seed_everything": 1})
    save_checkpoint({"state_dict": model.state_dict(), "videodiff": {"config": config}}, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt", model


def test_a_lone_checkpoint_opens_as_the_model_it_was(trained):
    path, model = trained
    again = load_run(path, overrides={"sampler": {"init_args": {"num_steps": 3}}})
    assert type(again) is type(model)
    assert not again.training
    assert again.sampler.num_steps == 3
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    assert load_config(path)["seed_everything"] == 1


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_neither_come_in_nor_go_out(value, trained, tmp_path):
    path, model = trained
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    name = [name for name, tensor in weights.items() if tensor.is_floating_point() and tensor.ndim > 1][3]
    weights[name].view(-1)[0] = value
    text = yaml.safe_dump({"model": MODEL})
    save_checkpoint({"state_dict": weights, "videodiff": {"config": text}}, path)
    told = rf"NaN or infinity in 1 of {len(weights)} tensors, the first is {re.escape(name)}"
    with pytest.raises(CheckpointError, match=told):
        load_run(path)
    with pytest.raises(CheckpointError, match=told):
        export_run(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_card_of_weights_without_a_step_names_none(trained, tmp_path):
    card = (export_run(trained[0], tmp_path / "out") / "README.md").read_text()
    assert "numbers in `model.safetensors`" in card
    assert "step" not in card.split("## Licence")[0]
    assert "None" not in card.split("## Results")[0]


def test_a_checkpoint_of_another_model_is_refused_in_one_line(trained):
    path, _ = trained
    with pytest.raises(
        CheckpointError, match=r"is not one of VDM as configured: weights \d+ of another shape"
    ) as error:
        load_run(path, overrides={"net": {"init_args": {"width": 16}}})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["os.system", "canary_module.Model", "pytorch_lightning.callbacks.LambdaCallback"]
)
def test_a_stored_config_imports_nothing_from_outside_the_list(name, trained, tmp_path, monkeypatch):
    path, model = trained
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "canary_module.py").write_text("open('canary', 'w')\n")
    for place in ("model", "net", "optimizer"):
        section = json.loads(json.dumps(MODEL))
        if place == "model":
            section["class_path"] = name
        else:
            section["init_args"][place] = {"class_path": name} if place == "net" else name
        stored = {"config": yaml.safe_dump({"model": section})}
        save_checkpoint({"state_dict": model.state_dict(), "videodiff": stored}, path)
        with pytest.raises(ValueError) as error:
            load_run(path)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "canary").exists()
    assert "canary_module" not in sys.modules


def test_a_config_with_python_tags_or_none_is_refused(trained, tmp_path):
    path, model = trained
    for text in ("!!python/object/apply:os.system ['touch canary']", "- 1", "", "model: 3"):
        save_checkpoint({"state_dict": model.state_dict(), "videodiff": {"config": text}}, path)
        with pytest.raises(ValueError):
            load_run(path)
