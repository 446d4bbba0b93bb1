"""generate takes dotted options of the model as test does, and one function chooses its precision."""

import json
import shlex

import pytest
import torch

from videodiff.cli import clip_files, main
from videodiff.data import video_io

DRAW = "generate --num_samples 1 --class_id 1"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("options") / "run"
    words = ["--config", "vdm_digits", "--config", "with/smoke", "--data.num_train_clips", "8"]
    assert main(["fit", *words, "--trainer.limit_val_batches", "0", "--out", str(folder)]) == 0
    return folder


def drawn(run, tmp_path, name, words):
    """The clip and the record of a command."""
    out = tmp_path / name
    assert main(shlex.split(f"{DRAW} --ckpt_path {run} --out {out} {words}")) == 0
    return video_io.read_video(out / "clip_00000.mkv"), json.loads((out / "samples.json").read_text())


@pytest.mark.parametrize(
    ("short", "dotted"),
    [
        ("--steps 3 --sampler dpmpp", "--model.sampler DPMSolverPP2MSampler --model.sampler.num_steps 3 "
         "--model.sampler.grid solver"),
        ("--steps 2 --sampler ddim --eta 0.5", "--model.sampler DDIMSampler --model.sampler.num_steps 2 "
         "--model.sampler.eta 0.5"),
        ("--steps 2 --guidance 2 --guidance_rescale 0.5", "--model.sampler.num_steps 2 --model.guidance_scale=2 "
         "--model.guidance_rescale 0.5"),
    ],
)  # fmt: skip
def test_a_flag_is_the_short_form_of_dotted_options(short, dotted, run, tmp_path):
    clip, record = drawn(run, tmp_path, "short", short)
    other, said = drawn(run, tmp_path, "dotted", dotted)
    assert torch.equal(clip, other)
    assert "options" not in record
    words = [word.removeprefix("--") for word in dotted.replace("=", " ").split()]
    assert said.pop("options") == dict(zip(words[::2], words[1::2], strict=True))
    timing = ("seconds_per_video",)
    assert {k: v for k, v in said.items() if k not in timing} == {
        k: v for k, v in record.items() if k not in timing
    }
    assert record["precision"] == "32-true"


def test_an_option_that_has_no_flag_changes_what_is_drawn(run, tmp_path):
    _, record = drawn(run, tmp_path, "dynamic", "--steps 2 --model.threshold dynamic")
    assert (record["threshold"], record["options"]) == ("dynamic", {"model.threshold": "dynamic"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--model.sampler.num_stpes 3", "did you mean 'num_steps'?"),
        ("--modle.sampler.num_steps 3", "did you mean '--model.sampler.num_steps'?"),
        ("--model.thresold dynamic", "did you mean 'threshold'?"),
        ("--threshold dynamic", "did you mean '--model.threshold'?"),
        ("--model.threshold hard", "--model.threshold must be one of static, dynamic, none"),
        (
            "--model.threshold_quantile 0.5",
            "threshold_quantile 0.5 is of threshold dynamic and has no effect on",
        ),
        ("--model.net.width 64", "--model.net.width: checkpoint"),
        ("--model LVDM", "are of videodiff.models.VDM"),
        ("--model.sampler os.system", "--model.sampler"),
        ("--trainer.max_steps 3", "generate has no option '--trainer.max_steps'"),
        ("--data.root x", "generate has no option '--data.root'"),
        ("--config x", "generate has no option '--config'"),
        ("--force", "generate has no option '--force'"),
        ("--model.sampler.num_steps", "--model.sampler.num_steps needs a value"),
        ("clip.mp4", "unexpected argument 'clip.mp4'"),
        ("--precision 16", "--precision must be one of 32-true, bf16-mixed"),
    ],
)
def test_what_is_wrong_with_an_option_is_said_in_one_line(words, said, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(run.rglob("*"))
    assert main(shlex.split(f"{DRAW} --ckpt_path {run} {words}")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert sorted(run.rglob("*")) == before
    assert not list(tmp_path.iterdir())


def test_weights_of_another_shape_are_named(run, capsys):
    assert main(shlex.split(f"{DRAW} --ckpt_path {run} --model.net.width 64")) == 2
    assert "of another shape (first net." in capsys.readouterr().err


def test_a_plan_of_before_precisions_were_written_goes_on(run, tmp_path, capsys):
    _, record = drawn(run, tmp_path, "whole", "--steps 2")
    plan = {k: v for k, v in record.items() if k not in ("seconds_per_video", "device", "torch", "clips")}
    old = {k: v for k, v in plan.items() if k != "precision"}
    assert clip_files.is_same(old, plan)
    assert not clip_files.is_same(old | {"seed": 7}, plan)
    assert not clip_files.is_same(plan | {"options": {"model.threshold": "none"}}, plan)
    assert not clip_files.is_same(None, plan)


def test_precision_is_what_is_asked_and_else_what_the_card_has_units_for(run, tmp_path, monkeypatch):
    clip, record = drawn(run, tmp_path, "half", "--steps 2 --precision bf16-mixed")
    assert record["precision"] == "bf16-mixed"
    other, _ = drawn(run, tmp_path, "whole", "--steps 2")
    assert not torch.equal(clip, other)
