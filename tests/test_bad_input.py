"""Bad input through the command line: one line with the thing and the way out, nothing run, nothing lost or left."""

import errno
import hashlib
import os
import pickle
import resource
import shutil
import signal
import sys

import pytest
import torch
import yaml

import real_run
from fault_harness import Job, wait_for
from full_disk import Full
from turns import by_turns
from videodiff import atomic
from videodiff.checkpoints import files, load_checkpoint, save_checkpoint
from videodiff.cli import main
from videodiff.data import video_io

SMOKE = real_run.SMALLEST
LOADS = {
    "fit": ["fit", *SMOKE, "--trainer.max_steps", "3"],
    "validate": ["validate"],
    "test": ["test"],
    "predict": ["predict", "--model.sampler.num_steps", "1"],
    "generate": ["generate", "--num_samples", "1", "--steps", "1"],
}
LOOKS = {verb: words for verb, words in LOADS.items() if verb != "fit"}
CANARY = "checkpoint_canary"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bad input") / "run"
    assert main(["fit", *SMOKE, "--out", str(directory)]) == 0
    return directory


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refused(capfd):
    """Run a command that must fail with one line; the line."""

    def call(words, *said, code=2):
        capfd.readouterr()
        got = main([str(word) for word in words])
        error = capfd.readouterr().err
        assert got == code, error
        assert "Traceback" not in error
        lines = [line for line in error.splitlines() if "error" in line.lower()]
        assert len(lines) == 1, error
        assert error.splitlines()[-1] == lines[0]
        assert lines[0].startswith("videodiff: error: ")
        assert len(lines[0]) < 700
        for text in said:
            assert str(text) in lines[0], lines[0]
        return lines[0]

    return call


def hashes(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


# --- data -----------------------------------------------------------------------------------------------------


def folder_of(kind, folder):
    folder.mkdir()
    if kind == "text":
        (folder / "readme.txt").write_text("no video")
    for i in range(3):
        if kind == "short":
            video_io.write_lossless(folder / f"{i}.mkv", torch.zeros(2, 16, 16, 3, dtype=torch.uint8))
        elif kind == "garbage":
            (folder / f"{i}.mp4").write_bytes(b"not a video" * 100)
    return folder


@pytest.mark.parametrize(
    ("kind", "said", "verb"),
    by_turns(
        [
            ("empty", ["no videos"]),
            ("text", ["no videos"]),
            ("short", ["too short", "2 frames", "4 needed", "num_frames"]),
            ("garbage", ["be read", ".mp4"]),  # none of them can, the only one cannot
        ],
        ["fit", "test", "validate", "predict"],  # generate needs none
    ),
)
def test_a_folder_without_usable_videos(kind, said, verb, run, tmp_path, refused):
    before = hashes(run)
    data = folder_of(kind, tmp_path / "data")
    start = LOADS["fit"] if verb == "fit" else [*LOOKS[verb], "--ckpt_path", run]
    refused([*start, "--data.root", data, "--out", tmp_path / "new" / "out"], data, *said)
    assert not (tmp_path / "new").exists()
    if kind == "empty":
        refused([*start, "--data.root", data], data)  # the folder that the command would choose
        assert not (tmp_path / "runs").exists()
    assert hashes(run) == before
    assert not (run / verb).exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--model.net.resolution", "18", "--data.resolution", "18", "--model.net.channel_multipliers", "[1,2,4]"],
            ["resolution", "divisible by 4", "18"],
        ),
        (["--model.net.head_dim", "0"], ["head_dim"]),
        (["--model", "VDMX"], ["unknown model 'VDMX'", "'VDM'"]),
        (["--model.sampler", "DIMSampler"], ["DIMSampler", "'DDIMSampler'"]),
        (["--data", "VideoDatamodul"], ["VideoDatamodul", "'VideoDataModule'"]),
        (["--config", "vdm_digts"], ["no config 'vdm_digts'", "'vdm_digits'"]),
        (["--config", "with/smok"], ["no config 'with/smok'", "'with/smoke'"]),
        (["--config", "own.yaml"], ["no config 'own.yaml'", "videodiff models lists"]),
        (
            ["--samples.every_n_steps", "1", "--samples.label", "[3,77]"],
            ["samples.label [3, 77]", "10 classes", "got 77"],
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_or_exist_is_named_and_leaves_no_folder(options, said, tmp_path, refused):
    where = [] if "samples.label" in str(options) else ["--out", tmp_path / "a" / "b"]
    refused(["fit", *SMOKE, *options, *where], *said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "verb", ["test", *(pytest.param(v, marks=pytest.mark.slow) for v in ("validate", "predict"))]
)
def test_an_absent_config_or_class_for_a_trained_model(verb, run, tmp_path, refused):
    before = hashes(run)
    start = [*LOOKS[verb], "--ckpt_path", run]
    refused([*start, "--config", "vdm_digts"], "no config 'vdm_digts'", "'vdm_digits'")
    refused([*start, "--model.net", "UNet"], "UNet", "'UNet3D'")
    refused([*start, "--model.net.resolution", "17", "--data.resolution", "17"], "divisible by 2", "17")
    assert hashes(run) == before
    assert not (run / verb).exists()


# --- checkpoints ----------------------------------------------------------------------------------------------


def wrong_checkpoint(kind, run, path):
    """A checkpoint that is none, or not one of ours; and what must be said of it."""
    data = (run / "checkpoints" / "last.ckpt").read_bytes()
    content = load_checkpoint(run / "checkpoints" / "last.ckpt")
    if kind == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "one bit":
        path.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("a checkpoint\n")
    elif kind == "another width":
        weights = {
            k: v[..., : max(1, v.shape[-1] // 2)] if v.ndim else v for k, v in content["state_dict"].items()
        }
        save_checkpoint({**content, "state_dict": weights}, path)
    elif kind == "another model":
        weights = {k.replace("net.", "unet."): v for k, v in content["state_dict"].items()}
        save_checkpoint({**content, "state_dict": weights}, path)
    elif kind == "weights alone":
        torch.save({"state_dict": content["state_dict"]}, path)
    elif kind == "bare weights":
        torch.save(content["state_dict"], path)
    return path  # "absent" is not written


@pytest.mark.parametrize(
    ("kind", "said", "verb"),
    by_turns([
        ("absent", ["no run or checkpoint", "there are no runs"]),
        ("truncated", ["damaged", "use another one"]),
        ("one bit", ["damaged", "use another one"]),
        ("empty", ["is empty"]),
        ("text", ["damaged or no checkpoint", "use another one"]),
        ("another width", ["not one of VDM as configured", "of another shape"]),
        ("another model", ["not one of VDM as configured", "missing", "unexpected"]),
        ("weights alone", ["has no config"]),
        ("bare weights", ["no state_dict", "not a training checkpoint"]),
    ], ["fit", "generate", "test", "validate", "predict"]),
)  # fmt: skip
def test_a_checkpoint_that_cannot_be_used(kind, said, verb, run, tmp_path, refused):
    path = wrong_checkpoint(kind, run, tmp_path / "x.ckpt")
    there = set(tmp_path.iterdir())
    if (kind, verb) == ("bare weights", "fit"):
        return  # a new run may begin with them: tests/cli/test_starting.py
    refused([*LOADS[verb], "--ckpt_path", path], path, *said)
    if verb == "fit":
        refused([*LOADS["fit"], "--ckpt_path", path, "--out", tmp_path / "new" / "out"], path)
    assert set(tmp_path.iterdir()) == there


def test_weights_without_training_state_can_be_looked_at_but_not_gone_on_from(run, tmp_path, refused):
    content = load_checkpoint(run / "checkpoints" / "last.ckpt")
    for key in ("optimizer_states", "global_step"):
        save_checkpoint({k: v for k, v in content.items() if k != key}, tmp_path / "x.ckpt")
        refused([*LOADS["fit"], "--ckpt_path", "x.ckpt"], "x.ckpt", f"no {key}", "give one written by fit")
        assert not (tmp_path / "runs").exists()
    assert main(["generate", "--ckpt_path", "x.ckpt", "--num_samples", "1", "--steps", "1"]) == 0


class Evil:
    def __reduce__(self):
        return (os.system, ("touch executed",))


class Importer:
    def __reduce__(self):
        return (__import__, (CANARY,))


def hostile_config(change):
    """The run's own config text with one place changed."""

    def changed(config):
        config = yaml.safe_load(yaml.safe_dump(config))
        change(config)
        return yaml.safe_dump(config)

    return changed


def init_args(part, value):
    return hostile_config(lambda c: c["model"]["init_args"].update({part: value}))


def callbacks(value):
    return hostile_config(lambda c: c["trainer"].update(callbacks=[value]))


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
)
CONTENTS = {
    "reduce in the weights": lambda c: {**c, "state_dict": {**c["state_dict"], "net.x": Evil()}},
    "reduce in the optimizer": lambda c: {**c, "optimizer_states": [Evil()]},
    "import": lambda c: {**c, "x": Importer()},
    "a module": lambda c: {**c, "x": torch.nn.Linear(2, 2)},
    "hyper_parameters": lambda c: {
        **c,
        "hyper_parameters": {"_instantiator": f"{CANARY}.f", "net": {"class_path": f"{CANARY}.X"}},
    },
    "datamodule_hyper_parameters": lambda c: {
        **c,
        "datamodule_hyper_parameters": {"_class_path": f"{CANARY}.X", "f": "os.system"},
    },
}
CONFIGS = {
    "model": hostile_config(lambda c: c.update(model={"class_path": f"{CANARY}.Model"})),
    "network": init_args("net", {"class_path": f"{CANARY}.Model"}),
    "optimizer": init_args("optimizer", {"class_path": f"{CANARY}.Model"}),
    "os.system as optimizer": init_args("optimizer", {"class_path": "os.system"}),
    "data": hostile_config(lambda c: c.update(data={"class_path": f"{CANARY}.Model"})),
    "callback": callbacks({"class_path": f"{CANARY}.Model"}),
    "LambdaCallback": callbacks(
        {"class_path": "pytorch_lightning.callbacks.LambdaCallback", "init_args": {"on_fit_start": "os.system"}}
    ),
    "logger": hostile_config(lambda c: c["trainer"].update(logger={"class_path": f"{CANARY}.Model"})),
    "python object": lambda c: f"model: !!python/object/apply:{CANARY}.build []",
    "python call": lambda c: "model: !!python/object/apply:os.system ['touch executed']",
    "alias bomb": lambda c: yaml.safe_dump(c) + BOMB,
    "alias of itself": lambda c: yaml.safe_dump({**c, "model": None}) + "again: &a {class_path: *a}",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "verb"),
    by_turns([(name,) for name in [*CONTENTS, *CONFIGS, "bare pickle", "optimizer as text"]], list(LOADS)),
)
def test_a_hostile_checkpoint_runs_nothing_under_any_verb(name, verb, run, tmp_path, monkeypatch, refused):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    (tmp_path / f"{CANARY}.py").write_text("class Model:\n    pass\ndef build(*args):\n    return Model()\n")
    content = load_checkpoint(run / "checkpoints" / "last.ckpt")
    path = tmp_path / "x.ckpt"
    if name == "bare pickle":
        path.write_bytes(pickle.dumps(Evil()))
    elif name in CONTENTS:
        torch.save(CONTENTS[name](content), path)
    else:
        change = CONFIGS.get(name) or init_args("optimizer", f"{CANARY}.build")
        text = change(yaml.safe_load(content["videodiff"]["config"]))
        save_checkpoint({**content, "videodiff": {**content["videodiff"], "config": text}}, path)
    there = {*tmp_path.iterdir()}
    refused([*LOADS[verb], "--ckpt_path", path], path)
    assert CANARY not in sys.modules
    assert {*tmp_path.iterdir()} == there  # neither "executed" nor a folder


# --- where results go -----------------------------------------------------------------------------------------


def unwritable(kind, tmp_path, monkeypatch):
    """A folder that cannot be written, and why. Root may write anywhere: the last two are the kernel's answers."""
    if kind == "below a file":
        (tmp_path / "file").touch()
        return tmp_path / "file" / "out", "not a directory"
    if kind == "proc":
        return "/proc/nowhere/out", "no such file or directory"
    code = errno.EACCES if kind == "denied" else errno.EROFS
    folder, plain = tmp_path / "guarded", os.open

    def guarded(path, *args, **kwargs):
        if str(path).startswith(str(folder)):
            raise OSError(code, os.strerror(code), str(path))
        return plain(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", guarded)  # what the try to write into the folder calls
    return folder, os.strerror(code).lower()


@pytest.mark.parametrize(
    ("verb", "kind"),
    by_turns([(verb,) for verb in LOADS], ["below a file", "proc", "denied", "read-only"]),
)
def test_an_output_folder_that_cannot_be_written(verb, kind, run, tmp_path, monkeypatch, refused):
    folder, reason = unwritable(kind, tmp_path, monkeypatch)
    there = {*tmp_path.iterdir()}
    words = LOADS["fit"] if verb == "fit" else [*LOOKS[verb], "--ckpt_path", run]
    refused([*words, "--out", folder], folder, "cannot be written", reason, "--out")
    assert {*tmp_path.iterdir()} == there


def test_a_runs_folder_that_cannot_be_made(run, tmp_path, refused):
    (tmp_path / "runs").touch()
    refused(["fit", *SMOKE], "runs/vdm_digits", "cannot be written", "--out")
    shutil.copytree(run, tmp_path / "run")
    for verb in LOOKS:
        (tmp_path / "run" / verb).touch()
        refused([*LOOKS[verb], "--ckpt_path", "run"], f"run/{verb}", "cannot be written", "--out")


def test_samples_are_never_overwritten(run, tmp_path, refused):
    command = [*LOADS["generate"], "--ckpt_path", run, "--out", tmp_path / "out"]
    assert main([str(word) for word in command]) == 0
    before = hashes(tmp_path / "out")
    refused([*command, "--seed", "1"], tmp_path / "out", "already holds samples", "another directory")
    assert hashes(tmp_path / "out") == before
    (tmp_path / "out" / "samples.json").unlink()  # as an interrupted command leaves it
    before = hashes(tmp_path / "out")
    refused([*command, "--seed", "1"], tmp_path / "out", "already holds samples", "another directory")
    assert hashes(tmp_path / "out") == before
    for verb in ("validate", "test", "predict"):
        refused(
            [*LOOKS[verb], "--ckpt_path", run, "--out", tmp_path / "out"], "not empty", "another directory"
        )
    assert hashes(tmp_path / "out") == before


def test_a_failed_generate_leaves_no_folder(run, tmp_path, refused):
    before = hashes(run)
    refused([*LOADS["generate"], "--ckpt_path", run, "--class_id", "99", "--out", "a/b"], "10 classes")
    refused([*LOADS["generate"], "--ckpt_path", run, "--class_id", "99"], "10 classes")
    assert list(tmp_path.iterdir()) == []
    assert hashes(run) == before
    assert not (run / "generate").exists()


def test_a_refused_fit_changes_no_file_of_a_run(run, tmp_path, refused):
    shutil.copytree(run, tmp_path / "run")
    before = hashes(tmp_path / "run")
    again = ["fit", "--out", "run", "--trainer.max_steps", "4"]
    bad = wrong_checkpoint("truncated", run, tmp_path / "x.ckpt")
    data = folder_of("empty", tmp_path / "data")
    for more, said in (
        (["--model.net.width", "48"], "width"),
        (["--data.seed", "3"], "the data differ"),
        (["--data.root", data], data),
        (["--trainer.max_stpes", "4"], "'max_steps'"),
        (["--ckpt_path", bad], "damaged"),
    ):
        refused([*again, *more], said)
        assert hashes(tmp_path / "run") == before, more
    refused(["fit", *SMOKE, "--out", tmp_path / "run" / "checkpoints"], "not empty", "name another one")
    assert hashes(tmp_path / "run") == before


def test_two_runs_never_share_a_folder(run, tmp_path, refused):
    argv = real_run.words(tmp_path, 10**6, "--checkpoint.every_n_steps", "1000000")
    trace = tmp_path / "run" / "trace_rank0.jsonl"
    with Job(real_run.command, {"argv": argv}, tmp_path) as job:
        wait_for(lambda: trace.exists() and trace.read_text().count("\n") >= 1, 90)
        config = (tmp_path / "run" / "config.yaml").read_bytes()
        line = refused(argv, tmp_path / "run", "being written by process", "start a new run")
        assert f"process {job.processes[0].pid} " in line
        refused(["fit", "--out", tmp_path / "run"], "being written by process")
        assert (tmp_path / "run" / "checkpoints").is_dir()
        assert (tmp_path / "run" / "config.yaml").read_bytes() == config
        job.signal(signal.SIGTERM)
        assert job.wait(30) == [143], job.text()[-2000:]
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] >= 1


# --- a full disk ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["disk", pytest.param("limit", marks=pytest.mark.slow)])
def full(request, monkeypatch):
    """Start a full disk: the system's answer to a write, or the kernel's own limit on the size of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def start():
        if request.param == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
            return
        plain = atomic.new_file
        monkeypatch.setattr(atomic, "new_file", lambda part: Full(plain(part), 200_000))
        monkeypatch.setattr(files, "free_bytes", lambda folder: 1000)

    def stop():
        monkeypatch.undo()
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    start.stop = stop
    yield start
    stop()
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_costs_no_finished_work(full, run, tmp_path, refused):
    shutil.copytree(run, tmp_path / "run")
    last, best = (tmp_path / "run" / "checkpoints" / name for name in ("last.ckpt", "best.ckpt"))
    before = last.read_bytes(), best.read_bytes()
    words = ["fit", "--out", tmp_path / "run", "--trainer.max_steps", "4"]
    full()
    line = refused(words, "cannot save checkpoint", tmp_path / "run" / "checkpoints", "disk full", code=1)
    full.stop()
    need, free, missing = (int(word) for word in line.split() if word.isdecimal())
    assert need > 1_000_000
    assert missing == max(need - free, 0)
    assert "free some space" in line
    assert (last.read_bytes(), best.read_bytes()) == before
    assert load_checkpoint(last)["global_step"] == 2
    assert sorted(p.name for p in last.parent.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert not (tmp_path / "run" / "run.lock").exists()
    assert main([str(word) for word in words]) == 0  # there is room again
    assert load_checkpoint(last)["global_step"] == 4


def test_a_disk_without_room_is_told_before_the_first_step(tmp_path, monkeypatch, refused):
    from videodiff.callbacks import checkpoint

    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: usage)
    refused(
        ["fit", *SMOKE, "--out", tmp_path / "run"], tmp_path / "run", "no room for checkpoints", "free some"
    )
    assert list(tmp_path.iterdir()) == []


# --- learning rate --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", ["vdm_digits", "pvdm_autoencoder_digits"])
def test_a_rate_that_ends_before_training_does_is_refused_before_the_first_step(config, refused):
    smallest = SMOKE if config == "vdm_digits" else ["--config", config, "--config", "with/smoke"]
    words = ["lr_scheduler=torch.optim.lr_scheduler.OneCycleLR", "lr_scheduler.max_lr=1e-3"]
    options = [f"--model.{word}" for word in [*words, "lr_scheduler.total_steps=5"]]
    fit = ["fit", *smallest, "--out", "run", *options]
    refused([*fit, "--trainer.max_steps", "6"], "after 5 steps", "--model.lr_scheduler.total_steps 6")
    assert main([*fit, "--trainer.max_steps", "5"]) == 0
