"""A pipeline as a run of every command: named by its file or folder, recorded with its runs, refused in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from models.test_lvdm import FACTOR, SIDE, UNITS
from pipeline_runs import TRUST, low, section, unet, write_cascade, write_run
from videodiff.checkpoints import load_run
from videodiff.cli import main
from videodiff.data import video_io
from videodiff.models import DiffusionModule

TRUSTED = ["--trust", *TRUST]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    write_cascade(home)
    write_run(home / "runs" / "plain", low(8, 16), 8, 16)
    for name, strides in (("keys", [4]), ("gaps", [1])):
        write_run(home / "runs" / name, lvdm(strides), 68 * FACTOR // 2, SIDE, seed_of="lvdm")
    return home


@pytest.fixture
def home(written, tmp_path, monkeypatch):
    shutil.copytree(written / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lvdm(strides: list[int]) -> dict:
    stage = {"num_frames": UNITS * FACTOR, "resolution": SIDE, "width": 4, "downsample": [FACTOR, 2, 2],
             "latent_channels": 4}  # fmt: skip
    net = unet(SIDE // 2, UNITS, channels=4, concat_channels=1)
    return section(
        net,
        "videodiff.models.LVDM",
        autoencoder={"class_path": "videodiff.networks.Autoencoder3D", "init_args": stage},
        strides=strides,
        prediction_share=0.3,
        interpolation_share=0.3,
        condition_drop=0.0,
        threshold="none",
    )


def clips(folder: str) -> list[torch.Tensor]:
    return [video_io.read_video(file) for file in sorted(Path(folder).glob("clip_*.mkv"))]


def generate(run: str, out: str, *more: str) -> int:
    words = ["generate", "--ckpt_path", run, "--out", out, "--device", "cpu", *TRUSTED]
    return main([*words, "--num_samples", "2", *more])


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) > 0 and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_generate_draws_with_a_pipeline_and_names_all_its_runs(home):
    assert generate("runs/cascade", "out", "--frames", "12", "--class_id", "3") == 0
    assert [tuple(clip.shape) for clip in clips("out")] == [(12, 16, 16, 3)] * 2
    record = json.loads(Path("out/samples.json").read_text())
    assert [(stage["run"], stage["frames"]) for stage in record["stages"]] == [("../low", 6), ("../high", 12)]
    assert len({stage["weights"] for stage in record["stages"]} | {record["checkpoint_sha256"]}) == 3


def test_a_file_anywhere_may_name_runs_and_change_how_they_draw(home):
    Path("mine.yaml").write_text(
        "pipeline:\n  - run: runs/low\n    model: {guidance_scale: 3.0, sampler: {init_args: {num_steps: 5}}}\n"
        "  - run: runs/high/last\n"
    )
    assert generate("mine.yaml", "out") == 0
    stages = json.loads(Path("out/samples.json").read_text())["stages"]
    assert [(stage["steps"], stage["guidance"]) for stage in stages] == [(5, 3.0), (2, 1.0)]


def test_an_option_of_one_stage_is_that_stages_alone(home):
    words = ["--model.stages.0.model.guidance_scale", "3", "--model.stages.1.model.sampler.num_steps", "4"]
    assert generate("runs/cascade", "out", *words) == 0
    stages = json.loads(Path("out/samples.json").read_text())["stages"]
    assert [(stage["steps"], stage["guidance"]) for stage in stages] == [(2, 3.0), (4, 1.0)]


def test_an_interrupted_pipeline_goes_on_after_its_last_window(home, monkeypatch):
    assert generate("runs/cascade", "whole", "--frames", "20") == 0
    window, done = DiffusionModule.generate_window, []

    def stopped(self, *args):
        if len(done) == 6:
            raise KeyboardInterrupt
        window(self, *args)
        done.append(type(self).__name__)

    monkeypatch.setattr(DiffusionModule, "generate_window", stopped)
    assert generate("runs/cascade", "part", "--frames", "20") == 130
    assert done == ["VDM"] * 4 + ["DiffusionModule"] * 2
    done[:] = [None] * 7
    assert generate("runs/cascade", "part", "--frames", "20") == 0
    assert set(done[7:]) == {"DiffusionModule"}  # no window of the first stage again
    assert same(clips("part"), clips("whole"))
    assert not list(Path("part").glob(".latents*"))


def test_the_interpolator_flag_is_a_pipeline_of_two(home):
    words = ["--frames", str(9 * FACTOR), "--steps", "3/2"]
    assert (
        generate("runs/keys", "flag", "--interpolator", "runs/gaps", "--long_video", "hierarchical", *words)
        == 0
    )
    Path("both.yaml").write_text(
        "pipeline:\n  - {run: runs/keys, model: {long_video: hierarchical}}\n  - {run: runs/gaps, takes: latent}\n"
    )
    assert generate("both.yaml", "file", *words) == 0
    assert same(clips("flag"), clips("file"))
    record = json.loads(Path("flag/samples.json").read_text())
    assert [stage["run"] for stage in record["stages"]] == ["runs/keys/checkpoints/last.ckpt", "runs/gaps"]


def test_a_result_of_a_pipeline_names_its_runs_and_changes_with_each(home):
    words = ["test", "--ckpt_path", "runs/cascade", "--protocol", "random:8", "--num_clips", "4"]
    words += ["--trainer.accelerator", "cpu", *TRUSTED]
    assert main(words) == 0
    (first,) = Path("runs/cascade/eval").glob("*.json")
    result = json.loads(first.read_text())
    assert [(run["run"], run["step"]) for run in result["model"]["runs"]] == [("../low", 7), ("../high", 9)]
    assert [stage["class"] for stage in result["model"]["stages"]] == ["VDM", "DiffusionModule"]
    assert (
        "test/last_stage_loss" in json.loads(Path("runs/cascade/test/1/results.json").read_text())["metrics"]
    )
    shutil.rmtree("runs/low")
    write_run(Path("runs/low"), low(), 4, 8, seed_of="other weights")
    assert main(words) == 0
    assert len(list(Path("runs/cascade/eval").glob("*.json"))) == 2


def test_predict_continues_clips_with_a_pipeline(home):
    words = [
        "predict",
        "--ckpt_path",
        "runs/cascade",
        "--out",
        "out",
        "--trainer.accelerator",
        "cpu",
        *TRUSTED,
    ]
    assert main(words) == 0
    record = json.loads(Path("out/predictions.json").read_text())
    assert (record["given"], record["count"]) == (2, 4)


def test_compare_puts_a_pipeline_beside_a_model(home):
    words = [
        "compare",
        "runs/cascade",
        "runs/plain",
        "--protocol",
        "random:8",
        "--num_clips",
        "4",
        "--steps",
        "2",
    ]
    assert main([*words, "--shown", "2", "--device", "cpu", "--out", "report", *TRUSTED]) == 0
    models = json.loads(Path("report/results.json").read_text())["models"]
    assert [run["run"] for run in models[0]["checkpoint"]["runs"]] == ["../low", "../high"]
    assert "runs" not in models[1]["checkpoint"]
    assert [model["name"] for model in models] == ["cascade", "plain"]
    assert (models[0]["training"]["steps"], models[0]["training"]["clips"]) == (7 + 9, 2 * (7 + 9))
    assert models[0]["parameters"].keys() == {"stage 1 net", "stage 2 net"}
    assert models[0]["draws"][0]["flop_per_video"] > models[1]["draws"][0]["flop_per_video"] / 10


def test_compare_refuses_a_stage_that_draws_nothing_alone_before_anything_is_drawn(home, capsys):
    words = [
        "compare",
        "runs/cascade",
        "runs/high",
        "--protocol",
        "random:8",
        "--num_clips",
        "4",
        "--steps",
        "2",
    ]
    assert main([*words, "--device", "cpu", "--out", "report", *TRUSTED]) == 2
    said = capsys.readouterr().err
    assert "runs/high: this model enlarges a video" in said
    assert "judged" not in said
    assert not Path("report").exists()


def test_an_exported_pipeline_holds_its_runs_and_draws_the_same(home):
    assert generate("runs/cascade", "before") == 0
    assert main(["export", "runs/cascade", "--out", "elsewhere/mine", *TRUSTED]) == 0
    shutil.rmtree("runs")
    assert generate("elsewhere/mine", "after") == 0
    assert same(clips("before"), clips("after"))
    written = yaml.safe_load(Path("elsewhere/mine/pipeline.yaml").read_text())
    assert [stage["run"] for stage in written["pipeline"]] == ["./stage_1", "./stage_2"]
    shutil.rmtree("elsewhere/mine/stage_1")
    shutil.copytree("elsewhere/mine/stage_2", "elsewhere/mine/stage_1")
    assert generate("elsewhere/mine", "again") == 2  # other weights than those it was made with


def test_info_counts_every_stage(home, capsys):
    assert main(["info", "runs/cascade", "--quick", "--json", *TRUSTED]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [stage["clip_shape"] for stage in stages] == [[3, 4, 8, 8], [3, 8, 16, 16]]


BAD = {
    "pipeline: []": "at least one stage",
    "stages: []": "names no trained runs",
    "pipeline: [{run: runs/low}]\nsampler: 3": "no key 'sampler'",
    "pipeline: [{runs: runs/low}]": "stage 1 must name its run",
    "pipeline: [{run: runs/low, steps: 3}]": "stage 1 has no key 'steps'",
    "pipeline: [{run: runs/absent}]": "stage 1: no run or checkpoint",
    "pipeline: [{run: runs/low}, {run: pipeline.yaml}]": "stage 2 names pipeline.yaml, which is this pipeline itself",
    "pipeline: [{run: runs/low}, {run: runs/cascade}]": "stage 2 names runs/cascade, which is a pipeline",
    "pipeline: [{run: runs/high}, {run: runs/low}]": "no multiple of the 16x16 of",
    "pipeline: [{run: runs/low}, {run: runs/plain, takes: latent}]": "leaves it nothing to do|are not those",
    "pipeline: [{run: runs/low, weights: 00ff}]": "not the 00ff",
    "pipeline: [{run: runs/low}, {run: runs/plain, takes: everything}]": "takes",
    "pipeline: [{run: runs/low, model: {guidance: 2}}]": "guidance",
    "pipeline: {run": "pipeline.yaml",
    "format: 9\npipeline: [{run: runs/low}]": "newer videodiff",
}


@pytest.mark.parametrize("text", BAD)
def test_a_pipeline_that_cannot_be_used_is_refused_in_one_line(text, home, capsys):
    import re

    Path("pipeline.yaml").write_text(text)
    before = sorted(home.rglob("*"))
    assert main(["generate", "--ckpt_path", "pipeline.yaml", *TRUSTED]) == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert re.search(BAD[text], said)
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["--ckpt_path", "runs/cascade", "--name", "x"],
        ["--init_from", "runs/cascade", "--name", "x"],
        ["--config", "runs/cascade/pipeline.yaml"],
    ],
    ids=lambda words: words[0],
)
def test_fit_takes_no_pipeline(words, home, capsys):
    assert main(["fit", *words, *TRUSTED]) == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert "pipeline" in said
    assert "fit each of its runs by itself" in said
    assert not Path("runs/x").exists()


def test_a_latent_of_another_first_stage_is_refused(home, capsys):
    write_run(Path("runs/strange"), lvdm([1]), 34 * FACTOR, SIDE)
    words = ["--interpolator", "runs/strange", "--long_video", "hierarchical", "--frames", "18"]
    assert generate("runs/keys", "out", *words) == 2
    assert "was trained on another first stage" in capsys.readouterr().err
    assert not Path("out").exists()


def test_the_models_of_a_pipeline_are_those_of_its_runs(home):
    pipeline = load_run("runs/cascade", trusted=TRUST)
    for model, run in zip(pipeline.models, ("runs/low", "runs/high"), strict=True):
        weights = load_run(run, trusted=TRUST).state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
