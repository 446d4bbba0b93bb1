"""Models trained on differently made clips, judged on one reference; without it they are refused by what differs."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from compared_runs import relabel
from videodiff.cli import main
from videodiff.cli.commands.compare import parser, reference_of, write_report
from videodiff.comparison import Settings, compare_runs, read_comparison
from videodiff.comparison.compare import real_clips
from videodiff.comparison.formats import terminal
from videodiff.comparison.nearest import training_clips
from videodiff.comparison.reconstruction import reconstruct
from videodiff.comparison.reference import UnequalRunsError, reference_arguments
from videodiff.comparison.runs import open_run
from videodiff.data import BouncingDigits, VideoDataModule, video_io
from videodiff.data.resize import resize
from videodiff.evaluation.measurement import Measurement
from videodiff.evaluation.protocol import get_protocol

SMALL = ["--protocol", "random", "--num_clips", "2", "--steps", "1", "--shown", "1"]
SIZE_32 = [
    "--data.resolution",
    "32",
    "--model.net.resolution",
    "32",
    "--model.net.attention_resolutions",
    "[16]",
]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two VDMs of one folder of videos: at 16 pixels and every frame, and at 32 by another rule and 8 fps."""
    folder, before = tmp_path_factory.mktemp("mixed"), Path.cwd()
    for split, count in (("train", 6), ("test", 4)):
        (folder / "videos" / split).mkdir(parents=True)
        source = BouncingDigits(split, count, 16, 48)
        for i in range(count):
            frames = source.read(i, 0, 16, 1)
            video_io.write_lossless(folder / "videos" / split / f"{i}.mkv", frames, fps=16.0)
    os.chdir(folder)
    try:
        fit = ["fit", "--config", "vdm_digits", "--config", "with/smoke", "--data.root", "videos"]
        assert main([*fit, "--trainer.max_steps", "1", "--out", "a"]) == 0
        other = [*SIZE_32, "--data.resize", "bilinear", "--data.fps", "8"]
        assert main([*fit, *other, "--trainer.max_steps", "1", "--out", "b"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def at_work(mixed, monkeypatch, tmp_path):
    monkeypatch.chdir(mixed)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return mixed


def last_error(capsys, *words):
    assert main(["compare", *words]) == 2
    return capsys.readouterr().err.strip().splitlines()[-1].removeprefix("videodiff: error: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a and b cannot be compared: resolution 16 against 32, resize antialias against bilinear, fps every frame "
         "against 8; leave one out, or compare all on one reference with --data.resolution N --data.resize RULE "
         "--data.fps F"),
        (["--data.resolution", "16"], "the runs differ in resize antialias against bilinear, fps every frame against "
         "8; say what the reference has with --data.resize RULE --data.fps F"),
        (["--data.resolution", "wide"], "--data.resolution must be "),
        (["--data.resize", "nearest"], "--data.resize must be one of antialias, bilinear"),
        (["--data.reszie", "lanczos"], "no option '--data.reszie'; did you mean '--data.resize'?"),
        (["--data.batch_size", "4"], "no option '--data.batch_size'"),
        (["--data.root", "nowhere", "--data.resolution", "16", "--data.resize", "bilinear", "--data.fps", "8"],
         "nowhere"),
    ],
)  # fmt: skip
def test_what_the_runs_differ_in_is_named_with_the_way_out(at_work, tmp_path, capsys, words, said):
    assert said in last_error(capsys, "a", "b", *SMALL, *words, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fps": 4.0}, "fps every frame against 4"),
        pytest.param({"resize": "lanczos"}, "resize antialias against lanczos", marks=pytest.mark.slow),
        pytest.param({"num_test_clips": 2}, "num_test_clips no limit against 2", marks=pytest.mark.slow),
    ],
)
def test_runs_that_differ_in_one_thing_are_refused_by_its_name(at_work, tmp_path, capsys, change, said):
    shutil.copytree("a", tmp_path / "other")
    relabel(tmp_path / "other", **change)
    error = last_error(capsys, "a", str(tmp_path / "other"), *SMALL, "--out", str(tmp_path / "out"))
    assert f"cannot be compared: {said}; leave one out" in error


@pytest.fixture(scope="module")
def judged(mixed, tmp_path_factory):
    """Both on one reference, as the command does it: the record, the clips and the folder of the report."""
    before, out = Path.cwd(), tmp_path_factory.mktemp("judged") / "out"
    words = ["a", "b", "--data.resolution", "24", "--data.resize", "lanczos", "--data.fps", "4"]
    reference = reference_of(parser().parse_args(words))
    assert reference == {"resolution": "24", "resize": "lanczos", "fps": "4"}
    os.chdir(mixed)
    try:
        comparison, clips = compare_runs(
            ["a", "b"], Settings("random", 2, steps=(1,), shown=1, reference=reference)
        )
    finally:
        os.chdir(before)
    write_report(comparison, clips, out)
    return comparison, clips, out


def test_one_reference_judges_all_and_each_rule_stands_beside_the_numbers(at_work, judged):
    out = judged[2]
    found = read_comparison(out)
    one, other = found.models
    root = str(at_work / "videos")
    assert one.data == {"dataset": "folder", "root": root, "resolution": 16, "resize": "antialias", "fps": None,
                        "frame_stride": 1}  # fmt: skip
    assert other.data == {**one.data, "resolution": 32, "resize": "bilinear", "fps": 8.0}
    assert found.settings["reference"] == {**one.data, "resolution": 24, "resize": "lanczos", "fps": 4.0}
    assert (found.data["resolution"], found.data["fps"], found.protocol["fps"]) == (24, 4.0, 4.0)
    assert "generated at 16x16 and brought to the reference's 24x24 by lanczos" in one.warnings
    assert "learnt from clips of fps 8, the real clips have 4" in other.warnings
    assert not any("frame sizes differ" in warning for model in found.models for warning in model.warnings)
    row = next(line for line in terminal(found).splitlines() if line.startswith("resize "))
    assert row.split() == ["resize", "antialias", "bilinear", "lanczos"]
    assert ">every frame</td>" in (out / "index.html").read_text()
    rows = [line for line in csv.DictReader((out / "results.csv").open()) if line["kind"] == "model"]
    assert [(line["data_resolution"], line["data_resize"], line["data_fps"]) for line in rows] == [
        ("16", "antialias", ""),
        ("32", "bilinear", "8.0"),
    ]
    page = (out / "index.html").read_text()
    assert "One reference" in page
    assert "lanczos" in page


def test_neighbours_are_of_each_models_own_training_clips(at_work, judged):
    found, clips, _ = judged
    for record, spec, side in zip(found.models, ("a", "b"), (16, 32), strict=True):
        shown, data = clips.models[record.name], open_run(spec).data
        assert shown.samples.shape == shown.nearest.shape == (1, 4, side, side, 3)
        source, batches, _ = training_clips(data, get_protocol("random:4:fps=4"), 0)
        own = torch.cat([batch.clips for batch in batches])
        (row,) = record.nearest
        assert torch.equal(shown.nearest[0], own[row["train"]])
        assert row["name"] == source.name(row["train"])
    assert tuple(clips.real.shape) == (1, 4, 24, 24, 3)


def test_generated_clips_come_to_the_reference_by_its_rule(at_work):
    data = VideoDataModule(root="videos", num_frames=4, resolution=24, resize="squeeze")
    measurement = Measurement(data, get_protocol("random:4"), 2)
    clips = torch.randint(0, 256, (2, 4, 16, 16, 3), dtype=torch.uint8)
    assert torch.equal(measurement.sized(clips), resize(clips, 24, "squeeze"))
    assert measurement.sized(real_clips(measurement, 2)).shape[2:4] == (24, 24)


def test_a_first_stage_of_another_size_is_judged_at_the_size_of_the_reference(at_home):
    settings = Settings("random", num_clips=2, steps=(1,), shown=1, reference={"resolution": 32})
    found, clips = compare_runs(["pvdm_digits"], settings)
    (model,) = found.models
    assert {"psnr", "ssim"} <= set(model.first_stage["metrics"])
    rebuilt = clips.models["pvdm_digits"].reconstructions
    assert rebuilt.shape == clips.real.shape == (1, 4, 32, 32, 3)
    stage = open_run("pvdm_digits").model.autoencoder
    small = reconstruct(stage, resize(clips.real, 16), torch.device("cpu"))
    assert torch.equal(rebuilt, resize(small, 32))


class Named:
    """A run as far as its data go."""

    def __init__(self, root, **options):
        self.data = VideoDataModule(
            **{"root": root and str(root), "num_frames": 4, "resolution": 16, **options}
        )


def test_a_reference_has_what_is_given_and_what_all_runs_share(at_work, tmp_path):
    videos, copy = at_work / "videos", shutil.copytree(at_work / "videos", tmp_path / "copy")
    runs = [
        Named(videos, fps=8.0, num_test_clips=3),
        Named(copy, fps=8.0, preset="pvdm", num_test_clips=3, val_fraction=0.1),
    ]
    found = reference_arguments(runs, {"resize": "bilinear"}, "test")
    assert found["root"] == str(videos)  # copies of the same videos
    assert (found["fps"], found["resolution"], found["preset"]) == (8.0, 16, None)
    assert (found["train_split"], found["num_test_clips"]) == ("train", 3)
    with pytest.raises(
        UnequalRunsError, match=r"differ in resize antialias against bilinear; say .* --data\.resize"
    ):
        reference_arguments(runs, {}, "test")
    # Of other data nothing but the look of the clips is taken over.
    moved = reference_arguments(runs, {"resize": "bilinear", "root": str(copy / "test")}, "test")
    assert set(moved) == {"resize", "root", "resolution", "fps", "frame_stride", "view", "classes"}
    # A preset brings its own rule.
    assert "resize" not in reference_arguments(runs, {"preset": "lvdm", "root": str(copy)}, "test")


def test_a_reference_has_the_captions_that_any_run_learnt_from_and_the_clips_that_all_are_tested_on():
    digits, words = (
        {"dataset": "bouncing_digits"},
        {"captions": "generated", "held_out_words": ["three north"]},
    )
    runs = [Named(None, **digits), Named(None, **digits, **words)]
    found = reference_arguments(runs, {}, "test")
    assert (found["captions"], found["held_out_words"], found["test_clips"]) == ("generated", None, "all")
    with pytest.raises(UnequalRunsError, match=r"held_out_words none against \['three north'\]"):
        reference_arguments(runs, {}, "val")  # other validation clips
    runs.append(Named(None, **digits, **words, test_clips="held_out"))
    with pytest.raises(UnequalRunsError, match=r"test_clips all against held_out; .* --data\.held_out_words"):
        reference_arguments(runs, {}, "test")
    given = ["x", "--data.held_out_words", "[three north, five]", "--data.test_clips", "held_out"]
    asked = reference_of(parser().parse_args(given))
    assert asked == {"held_out_words": ["three north", "five"], "test_clips": "held_out"}
    assert reference_arguments(runs, asked, "test") == {**found, **asked}


def test_an_older_record_of_a_comparison_is_read(at_home, compared):
    record = json.loads(json.dumps(compared[0].to_dict()))
    for model in record["models"]:
        assert model.pop("data")["resolution"] == 16
    assert type(compared[0]).from_dict(record).models[0].data == {}
