import json
import re
import shutil

import pytest

from compared_runs import relabel
from real_run import SMALLEST
from videodiff.cli import main
from videodiff.data import BouncingDigits, video_io
from videodiff.evaluation.against import find_against
from videodiff.evaluation.results import read_result
from videodiff.models.diffusion import DiffusionModule

SMALL = ["--data.num_test_clips", "3", "--model.sampler.num_steps", "2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    assert main(["fit", *SMALLEST, "--out", str(run)]) == 0
    return run


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("VIDEODIFF_OFFLINE", "1")


def run_test(capsys, trained, *words):
    code = main(["test", "--ckpt_path", str(trained), *SMALL, *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_result_lies_in_the_run_and_beside_the_loss(trained, capsys):
    code, out, err = run_test(capsys, trained, "--protocol", "random:4", "--seed", 7)
    assert code == 0, err
    assert "rand_fd (n=3)" in out
    assert "test/loss" in out
    assert "3 and 3 were used" in err
    (path,) = (trained / "eval").glob("*.json")
    record = json.loads(path.read_text())
    assert re.fullmatch(r"random_4f_n3_step2_ddim2_seed7_[0-9a-f]{10}\.json", path.name)
    assert (record["seed"], record["steps"], record["sampler"], record["ema"]) == (7, 2, "DDIMSampler", True)
    assert record["checkpoint"].endswith("last.ckpt")
    assert record["metrics"]["rand_fd"]["floor"] > 0
    copy = next((trained / "test").glob("*/eval/*.json"))
    assert read_result(copy).to_dict() == read_result(path).to_dict()
    assert (copy.parent.parent / "results.json").is_file()
    assert list(copy.parent.parent.glob("events.out.tfevents.*"))


def test_out_takes_the_result_alone(trained, capsys, tmp_path):
    code, _, err = run_test(
        capsys, trained, "--protocol", "random:5", "--out", tmp_path / "o", "--num_clips", 2
    )
    assert code == 0, err
    (path,) = (tmp_path / "o" / "eval").glob("random_5f_n2_*.json")
    assert read_result(path).num_generated == 2  # 5 frames: two windows
    assert not list((trained / "eval").glob("random_5f*"))


def test_without_the_loss_the_clips_alone_are_measured(trained, capsys, tmp_path, monkeypatch):
    words = [
        "--protocol",
        "random:4",
        "--loss",
        "false",
        "--data.num_test_clips",
        "6",
        "--data.batch_size",
        "2",
    ]
    seen = []
    original = DiffusionModule.test_step
    monkeypatch.setattr(DiffusionModule, "test_step", lambda *args: (seen.append(1), original(*args))[1])
    code, out, err = run_test(capsys, trained, *words, "--out", tmp_path / "o")
    assert code == 0, err
    assert "rand_fd" in out
    assert "test/loss" not in out
    assert json.loads((tmp_path / "o" / "results.json").read_text())["metrics"] == {}
    assert len(seen) == 1
    code, _, err = run_test(capsys, trained, "--protocol", "none", "--loss", "false")
    assert code == 2
    assert "leaves nothing to measure" in err


def test_weights_that_a_protocol_lacks_are_told_before_the_loss_is_taken(
    trained, capsys, tmp_path, monkeypatch
):
    for name in ("VIDEODIFF_WEIGHTS", "VIDEODIFF_TEST_ASSETS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(DiffusionModule, "test_step", lambda *args: pytest.fail("the loss was taken"))
    code, _, err = run_test(capsys, trained, "--protocol", "styleganv", "--out", tmp_path / "o")
    assert code == 2, err
    assert "I3D" in err


def test_none_measures_the_loss_alone(trained, capsys, tmp_path):
    code, out, _ = run_test(capsys, trained, "--protocol", "none", "--out", tmp_path / "o")
    assert code == 0
    assert "test/loss" in out
    assert "rand_fd" not in out
    assert not (tmp_path / "o" / "eval").exists()


def test_other_options_and_later_weights_leave_earlier_records_alone(trained, capsys, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("eval", "test"))
    calls = [(), ("--model.sampler.num_steps", "3")]
    for words in (*calls, calls[0]):
        assert run_test(capsys, run, "--protocol", "random:4", *words)[0] == 0
    first = {path.name: path.read_text() for path in (run / "eval").glob("*.json")}
    assert len(first) == len(calls)
    assert {json.loads(text)["steps"] for text in first.values()} == {2, 3}
    assert main(["fit", "--out", str(run), "--trainer.max_steps", "3"]) == 0
    assert run_test(capsys, run, "--protocol", "random:4")[0] == 0
    later = {path.name: path.read_text() for path in (run / "eval").glob("*.json")}
    assert len(later) == len(calls) + 1
    assert {name: later[name] for name in first} == first
    assert main(["export", str(run), "--out", str(tmp_path / "export")]) == 0
    card = (tmp_path / "export" / "README.md").read_text()
    rows = [line.split(" | ") for line in card.splitlines() if " | rand_fd | " in line]
    assert [row[0] for row in rows] == [
        "| step 3, these",
        *["| step 2; the weights are of step 3"] * len(calls),
    ]
    assert sum("steps 3" in row[2] for row in rows) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--protocol", "fvd"], "no protocol 'fvd'; there are styleganv"),
        pytest.param(["--protocol", "styleganv,pvdm"], "test takes one", marks=pytest.mark.slow),
        (["--protocol", "evaluator:3"], "at least 4 frames, the protocol evaluator_3f shows it 3"),
        (["--protocol", "styleganv"], "i3d_pretrained_400.pt"),
        pytest.param(["--num_clips", "1"], "--num_clips must be at least 2, got 1", marks=pytest.mark.slow),
    ],
)
def test_bad_wishes_are_one_line_and_exit_code_2(trained, capsys, words, says):
    code, _, err = run_test(capsys, trained, *words)
    errors = [line for line in err.splitlines() if "error:" in line]
    assert (code, len(errors)) == (2, 1)
    assert says in errors[0]


def test_only_test_takes_a_protocol(trained, capsys):
    assert main(["validate", "--ckpt_path", str(trained), "--protocol", "random"]) == 2
    assert "--protocol" in capsys.readouterr().err


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two runs of one folder of videos; the second is another by what its config says of the data."""
    folder = tmp_path_factory.mktemp("videos")
    for split in ("train", "test"):
        (folder / split).mkdir()
        source = BouncingDigits(split, 4, 16, 24)
        for i in range(4):
            video_io.write_lossless(folder / split / f"{i}.mkv", source.read(i, 0, 16, 1), fps=16.0)
    run = folder / "run"
    words = [*SMALLEST, "--trainer.max_steps", "1"]
    assert (
        main(["fit", *words, "--data.root", str(folder), "--data.layout", "videos", "--out", str(run)]) == 0
    )
    return folder


MEASURED = ["--protocol", "random:4", "--num_clips", "2", "--model.sampler.num_steps", "1"]


@pytest.fixture(scope="module")
def record(videos):
    """The record of the first of them."""
    assert main(["test", "--ckpt_path", str(videos / "run"), *MEASURED, "--out", str(videos / "out")]) == 0
    return next((videos / "out" / "eval").glob("*.json"))


def test_two_runs_measured_alike_stand_beside_each_other(videos, record, tmp_path, capsys):
    other = shutil.copytree(videos / "run", tmp_path / "other")
    assert main(["test", "--ckpt_path", str(other), *MEASURED, "--against", str(record)]) == 0
    *_, which, _, row = capsys.readouterr().out.strip().splitlines()
    assert which == f"{record}: step 1, sampler DDIMSampler, steps 1, guidance 1.0, ema True, seed 0"
    row = row.split()
    assert row[0] == "rand_fd"
    assert row[1] == row[2]  # the same weights and seed
    (other / "eval" / "notes.json").write_text("{}")
    found = find_against(str(other))  # a run stands for all that was measured of it
    assert [result.metrics["rand_fd"] for result in found.results] == [read_result(record).metrics["rand_fd"]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"fps": 8.0}, "fps 8 against every frame", marks=pytest.mark.slow),
        pytest.param({"frame_stride": 2}, "stride 2 against 1", marks=pytest.mark.slow),
        pytest.param({"resize": "bilinear"}, "resize bilinear against antialias", marks=pytest.mark.slow),
        pytest.param({"num_test_clips": 3}, "num_test_clips 3 against no limit", marks=pytest.mark.slow),
        ({"root": "{tmp}/copy"}, "other videos ({tmp}/copy against {videos})"),
    ],
)
def test_two_runs_that_differ_in_their_real_clips_are_refused_by_name(
    videos, record, tmp_path, capsys, change, said
):
    shutil.copytree(videos / "train", tmp_path / "copy")
    change = {k: v.format(tmp=tmp_path) if isinstance(v, str) else v for k, v in change.items()}
    other = shutil.copytree(videos / "run", tmp_path / "other", ignore=shutil.ignore_patterns("test", "eval"))
    relabel(other, **change)
    capsys.readouterr()
    assert main(["test", "--ckpt_path", str(other), *MEASURED, "--against", str(record)]) == 2
    out, err = capsys.readouterr()
    (error,) = [line for line in err.splitlines() if "error:" in line]
    assert (
        f"cannot be compared with {record}: {said.format(tmp=tmp_path, videos=videos)}; measure both" in error
    )
    assert "rand_fd" not in out  # told before anything was drawn
    assert not (other / "test").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--against", "{run}"], "nothing was measured of it; run videodiff test"),
        (["--against", "{record}", "--num_clips", "3"], "num_generated 3 against 2; measure both"),
        (["--against", "nothing.json"], "--against nothing.json: no such file"),
        (["--against", "{run}", "--protocol", "none"], "--against needs a protocol"),
    ],
)
def test_what_a_test_cannot_stand_beside_is_one_line(videos, record, tmp_path, capsys, words, says):
    run = shutil.copytree(videos / "run", tmp_path / "other", ignore=shutil.ignore_patterns("eval"))
    words = [*MEASURED, *(word.format(run=run, record=record) for word in words)]
    assert main(["test", "--ckpt_path", str(run), *words]) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert "rand_fd" not in out  # told before anything was drawn
