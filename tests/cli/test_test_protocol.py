import json

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
    assert path.name == "random_4f_n3.json"
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
    assert read_result(tmp_path / "o" / "eval" / "random_5f_n2.json").num_fake == 2  # 5 frames: two windows
    assert not list((trained / "eval").glob("random_5f*"))


def test_none_measures_the_loss_alone(trained, capsys, tmp_path):
    code, out, _ = run_test(capsys, trained, "--protocol", "none", "--out", tmp_path / "o")
    assert code == 0
    assert "test/loss" in out
    assert "rand_fd" not in out
    assert not (tmp_path / "o" / "eval").exists()


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
