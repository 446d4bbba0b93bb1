"""What clips of a comparison are told: given frames, scales of guidance, and runs that are told two kinds of things."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from videodiff.cli import main
from videodiff.comparison import Settings, compare_runs
from videodiff.comparison.compare import check_told_alike
from videodiff.comparison.formats import comma_separated
from videodiff.comparison.reference import UnequalRunsError
from videodiff.comparison.tables import quality
from videodiff.conditioning.asked import conditioned_on
from videodiff.evaluation.observed import Observed
from videodiff.evaluation.score import class_accuracy
from videodiff.metrics.moments import FeatureStats
from videodiff.report.page import build_page

PREDICTION = "random:4:given=1:draws=2:best_of=2"


def test_a_prediction_is_compared_as_it_is_tested_beside_repeating_the_last_frame(at_home, tmp_path):
    settings = Settings(PREDICTION, num_clips=4, steps=(2,), shown=3)
    found, clips = compare_runs(["runs/vdm_digits"], settings)
    words = (
        f"test runs/vdm_digits --loss false --protocol {PREDICTION} --num_clips 4 --model.sampler DDIMSampler"
    )
    assert main([*words.split(), "--model.sampler.num_steps", "2", "--out", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out/eval").glob("*.json")
    tested = json.loads(file.read_text())["metrics"]
    (draw,) = found.models[0].draws
    (still,) = found.baselines
    assert still["name"] == "repeating the last frame"
    assert {"psnr", "psnr_best2", "ssim", "rand_fd"} <= {*tested}
    for name, entry in tested.items():
        beside = entry.pop("repeat_last", None)
        entry.pop("gain", None)
        assert draw.metrics[name] == entry
        if beside is not None:
            assert beside["value"] == still["metrics"][name]["value"]
    assert draw.conditioned_on == "classes of the real clips, the first 1 frame of the real clips"
    assert "4 real clips of 4 frames continued from the first 1, 2 draws of each" in quality(found).title
    assert clips.models["vdm_digits"].samples.shape == clips.real[:3].shape  # a draw of each, beside its clip
    assert (clips.models["vdm_digits"].samples[:, 0] == clips.real[:3, 0]).all()


def test_models_of_pixels_and_of_whole_clips_continue_the_same_clips(at_home):
    settings = Settings("random:8:given=4", num_clips=3, steps=(1,), shown=1)
    found, clips = compare_runs(["runs/vdm_digits", "pvdm_digits"], settings)
    assert [model.draws[0].metrics["psnr"]["count"] for model in found.models] == [3, 3]
    vdm, pvdm = (clips.models[name].samples for name in ("vdm_digits", "pvdm_digits"))
    assert torch.equal(vdm[:, :4], clips.real[:1, :4])  # kept as they are
    assert not torch.equal(pvdm[:, :4], clips.real[:1, :4])  # through the first stage


def test_scales_of_guidance_are_draws_of_one_run(at_home):
    settings = Settings("random", num_clips=4, steps=(2,), shown=2, guidance=(0.0, 1.0, 3.0))
    found, clips = compare_runs(["runs/vdm_digits"], settings)
    draws = found.models[0].draws
    told = "classes of the real clips"
    assert [(d.guidance, d.conditioned_on) for d in draws] == [
        (0, "nothing"), (1, told), (3, told),
    ]  # fmt: skip
    assert len({d.metrics["rand_fd"]["value"] for d in draws}) == 3
    assert found.settings["guidance"] == [0, 1, 3]
    assert [line.split(",")[5] for line in comma_separated(found).splitlines()[:4]] == [
        "guidance",
        "0.0",
        "1.0",
        "3.0",
    ]
    assert "What guidance trades" in build_page(found, clips)
    single, _ = compare_runs(["runs/vdm_digits"], Settings("random", 4, steps=(2,), shown=2, guidance=3.0))
    assert single.models[0].draws[0].metrics == draws[2].metrics
    assert single.settings["guidance"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "pvdm_digits --protocol random:4:given=1",
            "give clips of 8 frames (--data.num_frames 8, or a protocol P:8:given=4)",
        ),
        ("vdm_digits --protocol random:4:given=1 --long_frames 8", "long videos are generated from noise"),
        ("vdm_digits --protocol random:4:given=1 --condition_frames 0:1", "given=N of the protocol"),
        ("vdm_digits --guidance 1,1", "--guidance names one scale twice"),
        ("vdm_digits --guidance 1,-2", "--guidance must be at least 0"),
    ],
)
def test_what_cannot_be_told_is_one_line(at_home, tmp_path, words, said, capsys):
    few = ["--num_clips", "2", "--steps", "1", "--out", str(tmp_path / "out")]
    assert main(["compare", *words.split(), *few]) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_runs_that_are_told_two_kinds_of_things_are_refused():
    """One knows classes, the other none: told none, both stand beside each other."""
    runs = [
        SimpleNamespace(
            spec=spec, model=SimpleNamespace(num_classes=n), data=SimpleNamespace(class_names=None)
        )
        for spec, n in (("a", 10), ("b", None))
    ]
    measurement = SimpleNamespace(
        told=lambda model, asked, names: conditioned_on(asked, model.num_classes is not None)
    )
    with pytest.raises(
        UnequalRunsError, match=r"clips conditioned on classes .* against nothing \(a, b\): .*--class_id none"
    ):
        check_told_alike(runs, Settings(), measurement)
    check_told_alike(runs, Settings(conditions={"class_id": "none"}), measurement)
    check_told_alike(runs, Settings(guidance=0.0), measurement)
    check_told_alike(runs[:1], Settings(), measurement)


def test_class_accuracy_is_of_what_clips_were_told():
    def side(read, classes):
        logits = FeatureStats.from_features(np.eye(4)[read])
        return Observed({"evaluator_logits": logits}, places=np.arange(len(read)), classes=np.array(classes))

    real = side([0, 1, 2, 3], [0, 1, 2, 2])
    entry = class_accuracy(real, side([0, 1, 1, 0], [0, 1, 2, 3]), 1)
    assert (entry["value"], entry["floor"], entry["count"]) == (0.5, 0.75, 4)
    draws = class_accuracy(real, side([0, 0, 1, 0, 2, 1], [0, 0, 1, 1, 2, 2]), 2)
    assert (draws["value"], draws["count"]) == (pytest.approx(2 / 3), 3)
    assert class_accuracy(real, side([0, 1], [-1, 1]), 1)["count"] == 1  # the other was told nothing
    untold = side([0, 1], [0, 1])
    untold.classes = None
    assert class_accuracy(real, untold, 1) is None
