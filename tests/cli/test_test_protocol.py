import json
import re
import shutil

import pytest

from videodiff.cli import main
from videodiff.evaluation.results import read_result

SMALL = ["--data.num_test_clips", "3", "--model.sampler.num_steps", "2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    assert main(["fit", "--config", "vdm_digits", "--config", "with/smoke", "--out", str(run)]) == 0
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
    assert read_result(path).num_fake == 2  # 5 frames: two windows
    assert not list((trained / "eval").glob("random_5f*"))


def test_none_measures_the_loss_alone(trained, capsys, tmp_path):
    code, out, _ = run_test(capsys, trained, "--protocol", "none", "--out", tmp_path / "o")
    assert code == 0
    assert "test/loss" in out
    assert "rand_fd" not in out
    assert not (tmp_path / "o" / "eval").exists()


def test_other_options_and_later_weights_leave_earlier_records_alone(trained, capsys, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("eval", "test"))
    calls = [(), ("--model.sampler.num_steps", "3"), ("--model.threshold", "none")]
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
        (["--protocol", "styleganv,pvdm"], "test takes one"),
        (["--protocol", "random:3"], "at least 4 frames, the protocol random_3f shows it 3"),
        (["--protocol", "styleganv"], "i3d_pretrained_400.pt"),
        (["--num_clips", "1"], "--num_clips must be at least 2, got 1"),
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
