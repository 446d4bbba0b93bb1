"""Runs side by side: what is drawn and measured, what is refused, what is left out, and that it repeats."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch

from compared_runs import relabel, without_timing
from videodiff.cli import main
from videodiff.comparison import Comparison, Settings, compare_runs, read_comparison, write_results
from videodiff.comparison.folder import CLIPS, FILES
from videodiff.comparison.formats import markdown
from videodiff.comparison.runs import open_run
from videodiff.comparison.settings import frames_of
from videodiff.models import VDM

SMALL = ["--num_clips", "4", "--steps", "2", "--shown", "2"]


def test_every_model_is_measured_on_the_same_clips(compared):
    comparison, clips = compared
    vdm, pvdm = comparison.models
    assert [m.name for m in comparison.models] == ["vdm_digits", "pvdm_digits"] == list(clips.models)
    assert comparison.protocol["name"] == "evaluator"
    assert comparison.protocol["frames"] == 4
    assert comparison.settings["num_clips"] == 6
    assert comparison.settings["steps"] == [2, 3]
    for model in comparison.models:
        assert [(d.sampler, d.steps, d.count) for d in model.draws] == [
            ("DDIMSampler", 2, 6),
            ("DDIMSampler", 3, 6),
        ]
        first = model.draws[0].metrics
        assert {"evaluator_fd", "rand_fd", "digit_residual", "digit_identity"} <= set(first)
        assert all("floor" in first[name] for name in first)
        assert first.pop("diversity")["count"] == 2  # of clips that were told the same as another
        assert {found["count"] for found in first.values()} == {6}
        low, high = first["evaluator_fd"]["interval"]
        assert low < first["evaluator_fd"]["value"] < high
        assert set(model.draws[0].timing) == {"seconds_per_video", "peak_memory_bytes", "batch_size"}
    # The floor is a property of the real clips: the same for every model and every draw.
    floors = {m["floor"] for model in comparison.models for d in model.draws for m in [d.metrics["rand_fd"]]}
    assert len(floors) == 1
    assert vdm.first_stage is None
    assert set(pvdm.first_stage["metrics"]) == {"psnr", "ssim"}
    assert pvdm.first_stage["training"]["steps"] == 2
    assert pvdm.first_stage["training"]["run"]
    assert comparison.published == []
    assert comparison.skipped == []
    assert Comparison.from_dict(json.loads(json.dumps(comparison.to_dict()))) == comparison


def test_one_evaluation_gives_test_and_compare_the_same_numbers(at_home, tmp_path):
    run = str(shutil.copytree("runs/vdm_digits/1", tmp_path / "run"))
    relabel(tmp_path / "run", num_test_clips=6)
    assert main(["test", "--ckpt_path", run, "--num_clips", "6", "--model.sampler.num_steps", "2"]) == 0
    (file,) = (tmp_path / "run" / "eval").glob("*.json")
    tested = json.loads(file.read_text())
    kept = {path.name for path in tmp_path.rglob("references/*.npz")}
    assert len(kept) == 2  # the real clips, and those of the floor
    compared, _ = compare_runs([run], Settings(num_clips=6, steps=(2,), shown=0))
    assert compared.models[0].draws[0].metrics == tested["metrics"]
    assert {key: compared.protocol[key] for key in tested["protocol"]} == tested["protocol"]
    assert {
        path.name for path in tmp_path.rglob("references/*.npz")
    } == kept  # and they are read once for both


def test_costs_and_training_come_from_the_run(compared):
    vdm, pvdm = compared[0].models
    for model in (vdm, pvdm):
        assert model.training.steps == 2
        assert model.training.clips == 4
        assert model.training.seconds > 0
        assert model.training.flop_per_step > 0
        assert [step for step, _ in model.training.curves["train/loss"]] == [1, 2]
        assert model.draws[0].flop_per_video < model.draws[1].flop_per_video
        assert model.checkpoint["step"] == 2
        assert len(model.checkpoint["sha256"]) == 64
    assert set(vdm.parameters) == {"net"}
    assert set(pvdm.parameters) == {"net", "autoencoder"}


def test_a_page_has_all_its_clips(compared):
    _comparison, clips = compared
    shape = (3, 4, 16, 16, 3)
    assert tuple(clips.real.shape) == shape
    for name, shown in clips.models.items():
        assert tuple(shown.samples.shape) == tuple(shown.nearest.shape) == shape
        assert (shown.reconstructions is not None) == (name == "pvdm_digits")
    assert not torch.equal(clips.models["vdm_digits"].samples[0], clips.models["vdm_digits"].samples[1])


def test_nearest_clips_are_those_of_the_training_split(compared):
    comparison, clips = compared
    for model in comparison.models:
        shown = clips.models[model.name]
        for i, row in enumerate(model.nearest):
            assert row["sample"] == i
            assert 0 <= row["train"] < 12
            assert "train" in row["name"]
            difference = shown.samples[i].double() - shown.nearest[i].double()
            assert row["distance"] == pytest.approx(float(difference.square().mean().sqrt()), rel=1e-12)


def test_drift_is_told_by_windows_and_the_rest_left_out(at_home):
    settings = Settings(num_clips=2, steps=(1,), shown=1, long_frames=9, long_videos=2)
    found, clips = compare_runs(["pvdm_digits"], settings)
    (model,) = found.models
    assert tuple(clips.models["pvdm_digits"].long.shape) == (2, 9, 16, 16, 3)
    assert [window["frames"] for window in model.drift] == [[0, 3], [4, 7]]  # the ninth frame fills no window
    for window in model.drift:
        assert {"digit_identity", "frame_change"} <= set(window["metrics"])
        for name in ("digit_identity", "frame_change"):
            low, high = window["metrics"][name]["interval"]
            assert low <= window["metrics"][name]["value"] <= high
        assert window["metrics"]["frame_change"]["count"] == 2
        assert "t of 2 videos" in window["metrics"]["frame_change"]["interval_method"]
        assert "interval" not in window["metrics"]["evaluator_fd"]
    assert "## Drift over long video (2 videos of each model)" in markdown(found)


def test_baselines_are_measured_at_the_same_count(compared):
    noise, frozen = compared[0].baselines
    assert (noise["name"], frozen["name"]) == ("noise", "frozen frames")
    assert noise["metrics"]["evaluator_fd"]["count"] == 6
    assert noise["metrics"]["digit_present"]["value"] == 0
    assert frozen["metrics"]["digit_speed"]["value"] == 0
    assert frozen["metrics"]["digit_identity"]["value"] > 0.5


def test_the_same_comparison_twice_gives_the_same_bytes_for_any_batch_size(at_home, tmp_path, capsys):
    words = ["compare", "pvdm_digits", *SMALL, "--json"]
    records = []
    for place, size in (("a", "4"), ("b", "4"), ("c", "3")):
        assert main([*words, "--batch_size", size, "--out", str(tmp_path / place)]) == 0
        record = without_timing(json.loads(capsys.readouterr().out))
        assert record == without_timing(json.loads((tmp_path / place / "results.json").read_text()))
        assert record.pop("command").endswith(f"--batch_size {size}")  # where it writes does not matter
        records.append(json.dumps(record))
    assert records[0] == records[1]
    one, other = (read_comparison(tmp_path / place) for place in "ac")
    for a, b in zip(one.models, other.models, strict=True):
        assert [row["train"] for row in a.nearest] == [row["train"] for row in b.nearest]
        for name, entry in a.draws[0].metrics.items():
            assert b.draws[0].metrics[name]["value"] == pytest.approx(entry["value"], rel=1e-3), name
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted({*FILES} - {CLIPS})
    first = (tmp_path / "a" / "results.tex").read_text()
    assert "machine" in first
    assert str(tmp_path) not in (tmp_path / "a" / "results.json").read_text()


def test_runs_that_cannot_be_used_are_named_and_the_others_compared(at_home, tmp_path, capsys):
    runs = [
        "vdm_digits",
        "runs/nothing",
        "runs/empty",
        "runs/damaged",
        "pvdm_autoencoder_digits",
        "runs/stopped",
    ]
    few = ["--protocol", "random", "--num_clips", "2", "--steps", "1", "--shown", "1"]
    assert main(["compare", *runs, *few, "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    found = read_comparison(tmp_path / "out")
    reasons = {entry["run"]: entry["reason"] for entry in found.skipped}
    assert list(reasons) == runs[1:5]
    assert "no run or checkpoint" in reasons["runs/nothing"]
    assert "no checkpoint" in reasons["runs/empty"]
    assert "is intact" in reasons["runs/damaged"]
    assert "generates none" in reasons["pvdm_autoencoder_digits"]
    assert all(f"skipped {run}" in err for run in runs[1:5])
    assert [m.name for m in found.models] == ["vdm_digits", "stopped"]
    assert "unfinished: 2 of 40 steps" in found.models[1].warnings
    assert "unfinished: 2 of 40 steps" in err
    assert not any("unfinished" in warning for warning in found.models[0].warnings)
    assert "stopped" in out


def test_without_a_usable_run_it_says_why(at_home, tmp_path, capsys):
    assert main(["compare", "runs/nothing", "runs/empty", "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "none of the 2 runs can be compared" in err
    assert "runs/nothing" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"frame_stride": 2}, "frame_stride 1 against 2", marks=pytest.mark.slow),
        ({"dataset": "drifting_clouds"}, "drifting_clouds"),
    ],
)
def test_runs_of_other_data_are_refused_in_one_line(at_home, tmp_path, capsys, change, said):
    shutil.copytree("runs/vdm_digits/1", tmp_path / "other")
    relabel(tmp_path / "other", **change)
    assert main(["compare", "vdm_digits", str(tmp_path / "other"), "--out", str(tmp_path / "out")]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "vdm_digits" in last
    assert "other" in last
    assert said in last
    assert "leave one out" in last


def test_clips_of_other_length_need_frames(at_home, tmp_path, capsys, monkeypatch):
    shape = VDM.video_shape
    wide = property(lambda self: (3, 6, 16, 16) if self.seed == 7 else shape.fget(self))
    monkeypatch.setattr(VDM, "video_shape", wide)
    real = open_run

    def opened(spec, trusted=()):
        run = real(spec, trusted)
        run.model.seed = 7 if "1" in spec else 0
        return run

    monkeypatch.setattr("videodiff.comparison.runs.open_run", opened)
    assert main(["compare", "vdm_digits", "runs/vdm_digits/1", "--out", str(tmp_path / "out")]) == 2
    assert "vdm_digits 4, runs/vdm_digits/1 6 frames); give --frames 4" in capsys.readouterr().err


def test_a_model_that_draws_no_numbers_is_left_out(at_home, monkeypatch, capsys):
    generate = VDM.generate

    def broken(self, *args, **options):
        return generate(self, *args, **options) * float("nan")

    monkeypatch.setattr(VDM, "generate", broken)
    settings = Settings("random", num_clips=2, steps=(1,), shown=1)
    found, clips = compare_runs(["vdm_digits", "pvdm_digits"], settings)
    assert [m.name for m in found.models] == ["pvdm_digits"] == list(clips.models)
    assert found.skipped[0]["run"] == "vdm_digits"
    assert "non-finite" in found.skipped[0]["reason"]
    with pytest.raises(RuntimeError, match="none of the models"):
        compare_runs(["vdm_digits"], settings)


def test_a_report_never_replaces_anything_else(at_home, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("a page of mine")
    (tmp_path / "file").write_text("")
    for place, named in (("mine", "thesis.txt"), ("page", "index.html"), ("file", "is a file")):
        assert main(["compare", "vdm_digits", "--out", str(tmp_path / place)]) == 2
        assert named in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "words"


def test_every_comparison_has_a_folder_of_its_own(at_home, tmp_path, monkeypatch, capsys):
    """With and without --out: made again it is replaced, made otherwise it is kept."""
    monkeypatch.chdir(tmp_path)
    run, few = (
        str(at_home / "runs" / "vdm_digits"),
        ["--protocol", "random", "--num_clips", "2", "--shown", "1"],
    )
    calls = [["--steps", "1"], ["--steps", "1", "--seed", "3"]]
    for words in (*calls, calls[0]):
        assert main(["compare", run, *few, *words]) == 0
        told = capsys.readouterr().out.splitlines()[-1].removeprefix("report: ")
        assert (tmp_path / told).is_file()
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert len(names) == len(calls)
    start = r"vdm-digits-step2_random-4f_n2_ddim1_seed0_[0-9a-f]{10}"
    assert sum(bool(re.fullmatch(start, name)) for name in names) == 1
    out = tmp_path / "report" / next(name for name in names if re.fullmatch(start, name))
    kept = (out / "results.json").read_text()
    for words, said in ((["--steps", "2"], "(steps [1] against [2])"), (calls[1], "(seed 0 against 3)")):
        assert main(["compare", run, *few, *words, "--out", str(out)]) == 2
        assert f"--out {out} holds another comparison {said}" in capsys.readouterr().err
        assert (out / "results.json").read_text() == kept
    found = read_comparison(out)
    with pytest.raises(FileExistsError, match="holds another comparison"):
        write_results(replace(found, protocol={**found.protocol, "hash": "other"}), out)


def test_frames_are_the_models_unless_a_protocol_says():
    assert frames_of(Settings()) is None
    assert frames_of(Settings("evaluator")) is None
    assert frames_of(Settings("evaluator:8")) == 8
    assert frames_of(Settings("random:frames=9")) == 9
    assert frames_of(Settings("styleganv")) == 16
    assert frames_of(Settings("styleganv:128")) == 128
    assert frames_of(replace(Settings("styleganv"), frames=32)) == 32


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "0"], "--steps must be at least 1"),
        (["--steps", "4,4"], "--steps names one twice"),
        (["--sampler", "euler"], "--sampler must be of ddim"),
        (["--num_clips", "1"], "--num_clips must be at least 2"),
        (["--guidance", "-1"], "--guidance must be at least 0"),
        (["--protocol", "fdv"], "no protocol 'fdv'"),
        (["--step", "4"], "did you mean '--steps'"),
        (["--device", "tpu"], "--device must be"),
        (
            ["--data.fps", "8"],
            "error: the reference cannot be built: data.fps 8.0 needs data.root, and bouncing_digits is built in\n",
        ),
    ],
)
def test_wrong_options_are_told_in_one_line(at_home, tmp_path, words, said, capsys):
    assert main(["compare", "vdm_digits", *words, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
