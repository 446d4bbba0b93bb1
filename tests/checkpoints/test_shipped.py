"""The trained models of the package, ``demo/NAME``: those that are there, and the names through every command."""

import hashlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

import real_run
from videodiff.checkpoints import folders, load_checkpoint, load_run, resolve_checkpoint, shipped
from videodiff.checkpoints.export import export_run
from videodiff.checkpoints.first_stage import FirstStage
from videodiff.cli import main
from videodiff.cli.commands import completion

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("train_shipped", ROOT / "scripts" / "train_shipped.py")
train_shipped = importlib.util.module_from_spec(spec)
sys.modules["train_shipped"] = train_shipped  # where its dataclasses look themselves up
spec.loader.exec_module(train_shipped)

SAMPLER = {"class_path": "videodiff.diffusion.DPMSolverPP2MSampler", "init_args": {"num_steps": 2}}
SMALL_LATENT = ["--config", "with/smoke", "--data.num_train_clips", "8", "--data.num_val_clips", "2"]
SMALL_LATENT += ["--data.num_test_clips", "4", "--trainer.max_steps", "1"]
FIGURES = {"value": 1.0, "interval": [0.5, 1.5], "count": 512}
RECORD = {
    "minutes": 3.0,
    "evaluation": {"metrics": {"evaluator_fd": FIGURES, "digit_identity": {**FIGURES, "value": 0.85}}},
}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder of shipped models: VDM and LVDM with its first stage, each trained for a step."""
    home = tmp_path_factory.mktemp("shipped")
    runs = home / "runs"
    assert (
        main(["fit", *real_run.SMALLEST, "--out", str(runs / "vdm_digits"), "--trainer.max_steps", "1"]) == 0
    )
    stage = ["--model.autoencoder.checkpoint", str(runs / "lvdm_autoencoder_digits")]
    for name, more in (("lvdm_autoencoder_digits", []), ("lvdm_digits", stage)):
        words = ["fit", "--config", name, *SMALL_LATENT, *more, "--out", str(runs / name)]
        assert main(words) == 0
    for name in ("vdm_digits", "lvdm_digits"):
        folder = export_run(runs / name, home / "exported" / name, half=True, changes={"sampler": SAMPLER})
        (folder / shipped.RECORD).write_text(json.dumps(RECORD))
        train_shipped.put_in_place(name, folder, home / "package")
    return home / "package"


@pytest.fixture
def there(package, tmp_path, monkeypatch):
    """A copy of them as the package's own, seen from an empty folder."""
    shutil.copytree(package, tmp_path / "package")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "package")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folders.say_once.cache_clear()
    return tmp_path / "package"


def tree(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- those of the package ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped.shipped_names())
def test_a_shipped_model_is_whole_small_safe_told_and_generates(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = shipped.FOLDER / name.removeprefix("demo/")
    shipped.verify(name)
    listed = {line.partition("  ")[2] for line in (folder / shipped.SUMS).read_text().splitlines()}
    assert listed == {path.as_posix() for path in tree(folder)} - {shipped.SUMS}
    assert {path.suffix for path in tree(folder)} <= {".safetensors", ".json", ".yaml", ".md", ""}
    assert train_shipped.weights_size(folder) <= 8_000_000
    weights = load_checkpoint(resolve_checkpoint(name))["state_dict"]
    large = [w for w in weights.values() if w.is_floating_point() and w.numel() >= 16]
    assert all(w.dtype == torch.float16 for w in large)

    record, recipe = shipped.shipped_record(name), train_shipped.RECIPES[folder.name]
    assert [(s["config"], s["steps"]) for s in record["stages"]] == [
        (s.config, s.steps) for s in recipe.stages
    ]
    assert record["minutes"] > 0
    assert all(
        record[key] for key in ("machine", "machine_kind", "torch", "date", "command", "trained_sha256")
    )
    assert record["seed"] == train_shipped.SEED
    evaluation = record["evaluation"]
    assert evaluation["num_clips"] == 512
    for metrics in (evaluation["metrics"], evaluation["frozen_frames"]):
        low, high = metrics["evaluator_fd"]["interval"]
        assert low <= metrics["evaluator_fd"]["value"] <= high
        assert metrics["evaluator_fd"]["count"] == 512

    model = load_run(name)
    clips = model.generate(2, seed=0)
    assert clips.shape == (2, *model.video_shape)
    assert clips.isfinite().all()
    assert clips.min() >= -1
    assert clips.max() <= 1
    assert clips.std() > 0.05  # not one grey


def test_together_they_are_small_and_hashes_of_their_trainings_are_stored():
    assert sum(map(train_shipped.weights_size, shipped.FOLDER.glob("*"))) <= 30_000_000
    hashes = json.loads(train_shipped.HASHES.read_text())
    for name in shipped.shipped_names():
        assert any(name.removeprefix("demo/") in known for known in hashes.values()), name


def test_the_package_holds_every_file_of_them():
    from glob import glob

    text = (ROOT / "setup.cfg").read_text()
    patterns = text.partition("videodiff = defaults.yaml")[2].partition("\n")[0].split(", ")
    inside = shipped.FOLDER.parent
    held = {name for pattern in patterns[1:] for name in glob(pattern, root_dir=inside, recursive=True)}
    assert {f"shipped/{path.as_posix()}" for path in tree(shipped.FOLDER)} <= held


# --- the names -----------------------------------------------------------------------------------------------------


def test_half_precision_keeps_the_first_stage_known_by_its_hash(package):
    folder = package / "lvdm_digits"
    content = load_checkpoint(folder / "model.safetensors")
    assert content["ema"]
    stage = FirstStage(str(folder / "first_stage"))
    assert torch.equal(content["state_dict"]["autoencoder.sha256"], stage.sha256)
    exact = load_checkpoint(resolve_checkpoint(package.parent / "runs" / "lvdm_digits"))["state_dict"]
    for key, weight in content["state_dict"].items():
        if weight.is_floating_point():
            assert weight.dtype == (torch.float16 if weight.numel() >= 16 else exact[key].dtype)
            torch.testing.assert_close(weight.float(), exact[key].float(), rtol=1e-3, atol=1e-6)
    assert load_run(folder).sampler.num_steps == 2


def test_commands_take_the_name_and_write_nothing_into_the_package(there, said, capfd):
    before = tree(there)
    small = ["--trainer.limit_test_batches", "1", "--trainer.limit_val_batches", "1"]
    for words in (
        ["generate", "--ckpt_path", "demo/vdm_digits", "--num_samples", "2"],
        ["generate", "--ckpt_path", "demo/lvdm_digits", "--num_samples", "1", "--frames", "68", "--long_video",
         "hierarchical", "--interpolator", "demo/lvdm_digits"],
        ["test", "--ckpt_path", "demo/vdm_digits", "--num_clips", "2", "--protocol", "random", *small[:2]],
        ["validate", "--ckpt_path", "demo/lvdm_digits", *small[2:]],
        ["predict", "--ckpt_path", "demo/lvdm_digits/first_stage", "--trainer.limit_predict_batches", "1"],
        ["export", "demo/lvdm_digits", "--out", "exported"],
        ["info", "demo/lvdm_digits", "--quick"],
        ["encode", "--ckpt_path", "demo/lvdm_digits", "--out", "latents", "--splits", "val"],
        ["fit", "--init_from", "demo/lvdm_digits", "--name", "mine", "--trainer.max_steps", "1",
         "--trainer.accelerator", "cpu"],
    ):  # fmt: skip
        code, error = said(*words)
        assert code == 0, (words, error)
    assert tree(there) == before
    generated = json.loads(Path("runs/shipped/vdm_digits/generate/1/samples.json").read_text())
    assert len(generated["clips"]) == 2
    assert "random" in json.dumps(generated)  # of its classes, since none was asked for
    assert list(Path("runs/shipped/vdm_digits/eval").glob("*.json"))
    config = yaml.safe_load(Path("runs/mine/1/config.yaml").read_text())
    stage = config["model"]["init_args"]["autoencoder"]["init_args"]["checkpoint"]
    assert stage == "demo/lvdm_digits/first_stage"  # the same on another machine
    capfd.readouterr()
    assert main(["models", "--json"]) == 0
    trained = {row["name"]: row["about"] for row in json.loads(capfd.readouterr().out)["trained"]}
    assert list(trained) == shipped.shipped_names() == ["demo/lvdm_digits", "demo/vdm_digits"]
    assert "identity kept 0.85" in trained["demo/vdm_digits"]
    assert {*shipped.shipped_names()} <= {*completion.candidates(["generate", "--ckpt_path", "demo/"])}


def test_a_pipeline_names_them_too(there, said):
    Path("pipeline.yaml").write_text("pipeline: [{run: demo/vdm_digits}]\n")
    assert said("generate", "--ckpt_path", "pipeline.yaml", "--num_samples", "1")[0] == 0


def test_a_path_wins_and_a_run_does_not_and_one_line_says_so(there, package, said):
    shutil.copytree(package.parent / "runs" / "vdm_digits", "runs/demo/vdm_digits/1")
    path = resolve_checkpoint("demo/vdm_digits")
    assert path.is_relative_to(there)
    shutil.copytree(package / "vdm_digits", "demo/vdm_digits")
    assert resolve_checkpoint("demo/vdm_digits") == Path("demo/vdm_digits/model.safetensors")
    code, error = said("info", "demo/vdm_digits", "--quick")
    assert code == 0
    folders.say_once.cache_clear()
    code, error = said("generate", "--ckpt_path", "demo/vdm_digits", "--num_samples", "1")
    assert code == 0
    assert error.count("is the folder here, not the model of that name that comes with videodiff") == 1
    shutil.rmtree("demo")
    folders.say_once.cache_clear()
    code, error = said("generate", "--ckpt_path", "demo/vdm_digits", "--num_samples", "1")
    assert error.count("your own run is runs/demo/vdm_digits") == 1


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (
            ["generate", "--ckpt_path", "demo/vdm_digit"],
            ["did you mean 'demo/vdm_digits'", "demo/lvdm_digits"],
        ),
        (["generate", "--ckpt_path", "demo/nothing"], ["there are demo/lvdm_digits, demo/vdm_digits"]),
        (
            ["generate", "--ckpt_path", "demo/vdm_digits/first_stage"],
            ["no model 'demo/vdm_digits/first_stage'"],
        ),
        (["test", "--ckpt_path", "demo/vdm_digits/best"], ["did you mean 'demo/vdm_digits'"]),
        (["generate", "--ckpt_path", "vdm_digits"], ["did you mean 'demo/vdm_digits'"]),
        (["generate", "--ckpt_path", "demo/../vdm_digits"], ["no model"]),
        (["fit", "--ckpt_path", "demo/vdm_digits", "--name", "x"], ["--init_from demo/vdm_digits"]),
        (["fit", "--init_from", "demo/vdm_digit", "--name", "x"], ["did you mean 'demo/vdm_digits'"]),
        (["info", "demo/vdm_digit"], ["did you mean 'demo/vdm_digits'"]),
        (
            [
                "fit",
                "--config",
                "lvdm_digits",
                "--model.autoencoder.checkpoint",
                "demo/lvdm_digit/first_stage",
            ],
            ["no model 'demo/lvdm_digit/first_stage'"],
        ),
    ],
)
def test_a_name_that_is_none_is_told_in_one_line_with_the_nearest(words, texts, there, said):
    code, error = said(*words)
    assert code == 2
    lines = [line for line in error.splitlines() if line.startswith("videodiff: error: ")]
    assert len(lines) == 1, error
    assert all(text in lines[0] for text in texts), lines[0]
    assert not Path("runs").exists()


def test_without_any_the_line_says_so(tmp_path, monkeypatch, said):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    code, error = said("generate", "--ckpt_path", "demo/vdm_digits")
    assert code == 2
    assert "there are none in this installation" in error


@pytest.mark.parametrize(
    "file", ["model.safetensors", "first_stage/model.safetensors", "config.yaml", "record.json"]
)
@pytest.mark.parametrize("is_gone", [False, True])
def test_a_damaged_package_is_told_in_one_line(file, is_gone, there, said):
    path = there / "lvdm_digits" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink() if is_gone else path.write_bytes(content)
    code, error = said("generate", "--ckpt_path", "demo/lvdm_digits")
    assert code == 2
    assert error.splitlines()[-1].startswith("videodiff: error: demo/lvdm_digits is ")
    assert str(path) in error
    assert error.rstrip().endswith("install videodiff again")
    assert said("generate", "--ckpt_path", "demo/vdm_digits", "--num_samples", "1")[0] == 0


# --- the command that makes them -----------------------------------------------------------------------------------


def test_too_large_a_model_is_refused_before_it_takes_the_place_of_another(package, tmp_path, monkeypatch):
    folder = tmp_path / "vdm_digits"
    shutil.copytree(package / "vdm_digits", folder)
    monkeypatch.setattr(train_shipped, "MAX_BYTES", 1000)
    with pytest.raises(SystemExit, match="at most 1,000 are shipped"):
        train_shipped.put_in_place("vdm_digits", folder, tmp_path / "to")
    monkeypatch.undo()
    monkeypatch.setattr(train_shipped, "MAX_BYTES_TOGETHER", train_shipped.weights_size(folder))
    with pytest.raises(SystemExit, match="all models together"):
        train_shipped.put_in_place("vdm_digits", folder, package)


@pytest.mark.slow
@pytest.mark.parametrize("name", train_shipped.RECIPES)
def test_a_short_training_gives_the_stored_weights(name, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    known = json.loads(train_shipped.HASHES.read_text()).get(train_shipped.machine_kind(), {}).get(name)
    if known is None:
        pytest.skip("no hash is stored for this kind of machine")
    steps = min(known, key=int)
    assert train_shipped.main([name, "--steps", steps, "--out", str(tmp_path)]) == 0
