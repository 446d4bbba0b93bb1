"""Continuations of real clips: draws, best draws, given frames in and out of the metric, repeating the last one."""

import json

import numpy as np
import pytest
import torch

import eval_run
from eval_fakes import fake_detector, features_of
from eval_run import Continues, data, run, truth_of
from fault_harness import Job
from videodiff.data import BouncingDigits
from videodiff.evaluation.continued import NEXT_DRAW
from videodiff.evaluation.detectors import Detector
from videodiff.evaluation.protocol import PROTOCOLS, get_protocol
from videodiff.evaluation.score import of_clips
from videodiff.metrics import psnr
from videodiff.metrics.frechet_intervals import frechet_interval

GIVEN, DRAWS, CLIPS = 2, 3, 6


def measured(tmp_path, model, switches="", **options):
    """The result of a prediction, and the shapes of clips that its network saw."""
    shapes = []

    def look(clips):
        shapes.append(tuple(clips.shape[1:]))
        return {"random": features_of(clips)}

    detector = Detector("random", look, 2, lambda: "f" * 64)
    options = {"num_clips": CLIPS, "make_detectors": lambda p: [detector], **options}
    protocol = f"random:8:given={GIVEN}{switches}"
    judge, _ = run(tmp_path, model, data(), protocol=protocol, **options)
    return judge.result, set(shapes)


def test_figures_are_of_what_follows_the_mean_of_draws_and_the_best(tmp_path):
    model = Continues()
    result, _ = measured(tmp_path, model, f":draws={DRAWS}:best_of=2")
    by_hand = np.array([
        [psnr(truth_of(i)[None, GIVEN:], model.made[i + NEXT_DRAW * d][None, GIVEN:]).item() for d in range(DRAWS)]
        for i in range(CLIPS)
    ])  # fmt: skip
    assert len(np.unique(by_hand)) == by_hand.size
    found = result.metrics
    assert found["psnr"]["value"] == pytest.approx(by_hand.mean())
    assert found["psnr_best2"]["value"] == pytest.approx(by_hand[:, :2].max(1).mean())
    assert found["psnr"]["count"] == CLIPS
    assert found["rand_fd"]["count"] == CLIPS * DRAWS
    low, high = found["psnr"]["interval"]
    assert low < found["psnr"]["value"] < high
    assert result.num_real == CLIPS
    assert result.num_generated == CLIPS * DRAWS
    assert result.name == f"random_8f_given{GIVEN}_draws{DRAWS}_bestof2_n{CLIPS}-{CLIPS * DRAWS}"
    assert result.model["conditioned_on"] == f"the first {GIVEN} frames of the real clips"


def test_repeating_the_last_given_frame_stands_beside_every_figure(tmp_path):
    result, _ = measured(tmp_path, Continues(grain=0.005))
    still = [truth_of(i)[None, GIVEN - 1].expand(1, 8 - GIVEN, 16, 16, 3) for i in range(CLIPS)]
    theirs = np.mean([psnr(truth_of(i)[None, GIVEN:], s).item() for i, s in enumerate(still)])
    entry = result.metrics["psnr"]
    assert entry["repeat_last"]["value"] == pytest.approx(theirs)
    assert entry["gain"]["value"] == pytest.approx(entry["value"] - theirs)
    assert entry["gain"]["interval"][0] > 0
    assert result.metrics["rand_fd"]["repeat_last"]["value"] > result.metrics["rand_fd"]["value"]
    assert "repeating the last given frame" in result.table()


def test_given_frames_are_counted_as_generated_or_true_or_not_at_all(tmp_path):
    """A model that darkens what it is given is punished for it by ``counted`` alone."""
    found = {}
    for context in ("counted", "truth", "excluded"):
        model = Continues(grain=0.0, darker=0.5)
        result, shapes = measured(tmp_path / context, model, f":context={context}")
        assert shapes == {(8 - GIVEN if context == "excluded" else 8, 16, 16, 3)}
        found[context] = result.metrics
    assert found["truth"]["rand_fd"]["value"] == pytest.approx(0, abs=1e-6)
    assert found["excluded"]["rand_fd"]["value"] == pytest.approx(0, abs=1e-6)
    assert found["counted"]["rand_fd"]["value"] > 1
    assert {metrics["ssim"]["value"] for metrics in found.values()} == {
        1.0
    }  # of what follows, whatever the context


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_a_draw_depends_on_its_clip_and_number_alone(tmp_path, batch_size):
    few, many = Continues(classes=10), Continues(classes=10)
    one, _ = measured(tmp_path / "one", few, batch_size=batch_size)
    measured(tmp_path / "more", many, f":draws={DRAWS}", batch_size=4)
    assert {*few.made} == {*range(CLIPS)}
    assert {*many.made} == {i + NEXT_DRAW * d for i in range(CLIPS) for d in range(DRAWS)}
    assert all(torch.equal(clip, many.made[index]) for index, clip in few.made.items())
    labels = {
        i % NEXT_DRAW: int(n) for indices, label in many.calls for i, n in zip(indices, label, strict=True)
    }
    assert labels == {i: BouncingDigits("test", 12, 8, 16).labels[i] for i in range(CLIPS)}
    assert (
        one.model["conditioned_on"]
        == f"classes of the real clips, the first {GIVEN} frames of the real clips"
    )


@pytest.mark.parametrize(
    ("protocol", "conditions", "says"),
    [
        ("random:8:given=2", {"condition_frames": "0:3"}, "say how many with given=N of the protocol"),
        ("random:8:given=2", {"condition": "x.mp4"}, "every clip is predicted from its own first frames"),
    ],
)
def test_given_frames_are_said_once(tmp_path, protocol, conditions, says):
    with pytest.raises(ValueError, match=says):
        run(tmp_path, Continues(), protocol=protocol, num_clips=4, conditions=conditions)


def test_draws_of_a_clip_narrow_no_interval():
    """Copies of every continuation tell nothing new: value and interval of the distance stay."""
    rng = np.random.default_rng(0)
    real = rng.normal(size=(40, 3))
    predicted = real + 0.5 * rng.normal(size=(40, 3))
    one = frechet_interval(real, predicted, paired=True)
    many = frechet_interval(real, predicted.repeat(5, axis=0), paired=True, draws=5)
    assert (many.value, many.low, many.high) == pytest.approx((one.value, one.low, one.high))
    with pytest.raises(ValueError, match="paired sides must have 5 clips each for the other, got 40 and 40"):
        frechet_interval(real, predicted, paired=True, draws=5)
    values = np.array([1.0, np.nan, 3.0, np.nan, np.nan, np.nan])
    np.testing.assert_equal(of_clips(values, 3), [2.0, np.nan])


def test_the_papers_predictions_are_named():
    bair, kinetics = PROTOCOLS["vdm_bair"], PROTOCOLS["vdm_kinetics600"]
    assert (bair.given, bair.frames, bair.draws, bair.num_real, bair.num_generated) == (
        1,
        16,
        100,
        256,
        25_600,
    )
    assert (kinetics.given, kinetics.frames, kinetics.num_real) == (5, 16, 50_000)
    fewer = get_protocol("vdm_bair:draws=2:best_of=2")
    assert fewer.label == "vdm_bair_draws2_bestof2"
    assert fewer.num_generated == 512
    assert get_protocol("styleganv:given=4:context=excluded").seen_frames == 12
    assert get_protocol("styleganv:given=4:eps=1e-5").label.endswith("_given4")


@pytest.mark.slow
def test_two_processes_predict_what_one_does(tmp_path):
    fakes = {"make_detectors": lambda p: [fake_detector("random")]}
    one = run(tmp_path / "one", Continues(), data(num_test_clips=11), protocol=eval_run.PREDICTION, **fakes)[
        0
    ].result
    with Job(eval_run.rank_of_prediction, {"folder": str(tmp_path)}, tmp_path, world=2) as job:
        assert job.wait(120) == [0, 0], job.text()
    two = json.loads((tmp_path / "two.json").read_text())
    assert (two["num_real"], two["num_fake"]) == (11, 33)
    for name, entry in one.metrics.items():
        assert two["metrics"][name]["value"] == pytest.approx(entry["value"], rel=1e-9)
        if "repeat_last" in entry:
            assert two["metrics"][name]["repeat_last"]["value"] == pytest.approx(
                entry["repeat_last"]["value"]
            )
