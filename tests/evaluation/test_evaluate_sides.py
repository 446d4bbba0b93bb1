import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from eval_fakes import NoiseSource, fake_detector, features_of
from videodiff.data.resize import rule_text
from videodiff.evaluation.explain import explain_difference
from videodiff.evaluation.observed import ClipObserver, observe
from videodiff.evaluation.plan import Batch
from videodiff.evaluation.protocol import get_protocol
from videodiff.evaluation.results import Result, comparable, read_result
from videodiff.evaluation.run import evaluate
from videodiff.evaluation.score import score
from videodiff.metrics.frechet import frechet_distance
from videodiff.metrics.moments import FeatureStats

P = replace(get_protocol("styleganv", frames=4), num_real=24, num_generated=24)


def clips_of(seed, count=24, level=0, **options):
    source = NoiseSource(count, seed=seed, level=level, **options)
    return torch.stack([source.read(i, 0, 4, 1) for i in range(count)])


def batches(clips, size):
    return iter(clips.split(size))


def run(real, fake, protocol=P, **options):
    return evaluate(batches(real, 5), batches(fake, 7), protocol, detectors=[fake_detector()], **options)


def test_the_number_is_the_frechet_distance_of_the_features():
    real, fake = clips_of(0), clips_of(1, level=40)
    result = run(real, fake)
    truth = frechet_distance(features_of(real).astype(float), features_of(fake).astype(float))
    assert result.metrics["fvd"]["value"] == pytest.approx(truth, rel=1e-12)
    assert result.metrics["fvd"]["count"] == 24
    assert (result.num_real, result.num_generated, result.name) == (24, 24, "styleganv_4f")
    assert result.protocol["network_sha256"] == result.detector["sha256"] == "f" * 64


@pytest.mark.parametrize("size", [1, 3, 16])
def test_batches_do_not_change_the_number(size):
    real, fake = clips_of(0), clips_of(1, level=40)
    detectors = [fake_detector()]
    found = evaluate(batches(real, size), batches(fake, size), P, detectors=detectors).metrics
    assert found["fvd"]["value"] == pytest.approx(run(real, fake).metrics["fvd"]["value"], rel=1e-9)
    assert found["kvd"]["value"] == pytest.approx(run(real, fake).metrics["kvd"]["value"], rel=1e-9)


def test_clips_are_held_in_the_order_of_their_plan_whatever_order_they_come_in():
    clips, order = clips_of(0, 23), torch.randperm(23, generator=torch.Generator().manual_seed(1))
    whole = observe(batches(clips, 4), [fake_detector()])
    mixed = observe((Batch(part.tolist(), clips[part]) for part in order.split(3)), [fake_detector()])
    assert mixed.places.tolist() == list(range(23))
    assert np.array_equal(mixed.features["i3d"].features, whole.features["i3d"].features)
    assert (mixed.digests, mixed.sizes, mixed.constant) == (whole.digests, whole.sizes, 0)
    sides = [(side, observe(batches(clips_of(1, 23), 5), [fake_detector()])) for side in (whole, mixed)]
    one, other = (score(*pair, P.changed(num_real=23, num_generated=23))[0] for pair in sides)
    assert json.dumps(one) == json.dumps(other)


def test_sums_alone_are_kept_where_features_are_not():
    clips = clips_of(0)
    whole = FeatureStats.from_features(features_of(clips).astype(float))
    observer = ClipObserver([fake_detector()], keep_features=10)
    for part in clips.split(7):
        observer.update(part)
    seen = observer.observed()
    assert (seen.features["i3d"].n, len(seen), seen.features["i3d"].features) == (24, 24, None)
    assert np.allclose(seen.features["i3d"].covariance(), whole.covariance(), rtol=1e-9)
    with pytest.raises(ValueError, match="24 clips are too many to look at 10 of them again"):
        seen.first(10)
    metrics, _ = score(seen, observe([clips_of(1)], [fake_detector()]), P)
    assert metrics["fvd"]["value"] > 0
    assert "interval" not in metrics["fvd"]
    assert "kvd" not in metrics  # it needs the features themselves


def test_fewer_clips_than_the_protocol_wants_never_bear_its_name():
    result = run(clips_of(0, 10), clips_of(1, 8))
    assert result.name == "styleganv_4f_n10-8"
    assert result.metrics["fvd"]["reduced"] is True
    assert any("wants 24 real and 24 generated clips, 10 and 8 were used" in w for w in result.warnings)
    whole = run(clips_of(0), clips_of(1))
    assert whole.metrics["fvd"]["reduced"] is False
    assert not any("wants" in w for w in whole.warnings)


def test_more_clips_than_wanted_are_left_alone():
    real, fake = clips_of(0, 40), clips_of(1, 30)
    assert run(real, fake).metrics["fvd"] == run(real[:24], fake[:24]).metrics["fvd"]


@pytest.mark.parametrize(("real", "fake", "said"), [(1, 24, "2 real clips"), (24, 1, "2 generated clips")])
def test_fewer_than_two_clips_are_refused(real, fake, said):
    with pytest.raises(ValueError, match=f"at least {said} are needed, got 1"):
        run(clips_of(0, real), clips_of(1, fake))


def test_no_clip_at_all_is_refused():
    with pytest.raises(ValueError, match="at least 2 real clips are needed, got 0"):
        evaluate(iter(()), iter(()), P, detectors=[fake_detector()])


def test_real_equal_to_fake_is_zero_with_a_warning():
    clips = clips_of(0)
    result = run(clips, clips.clone())
    assert result.metrics["fvd"]["value"] == pytest.approx(0, abs=1e-9)
    assert any("24 of the 24 different generated clips are real ones" in w for w in result.warnings)
    assert not any("bit for bit" in w for w in run(clips, clips_of(1)).warnings)


def test_repeated_and_constant_clips_are_told_and_still_a_number():
    black = torch.zeros_like(clips_of(0))
    result = run(clips_of(0), black)
    assert result.metrics["fvd"]["value"] > 0
    assert "24 generated clips of one single colour" in result.warnings
    assert "23 generated clips the same as an earlier one, bit for bit" in result.warnings


def test_different_sizes_give_a_number_and_a_warning():
    result = run(clips_of(0), clips_of(1, size=12))
    assert any("frame sizes differ (real 8x8, generated 12x12)" in w for w in result.warnings)
    assert result.resolution == {"real": [[8, 8]], "fake": [[12, 12]]}


@pytest.mark.parametrize(
    ("resize", "how"), [("crop", "the centre square alone"), ("tf1", "whole frames bent to a square")]
)
def test_what_a_protocol_does_to_frames_that_are_not_square_is_told(resize, how):
    protocol = P.changed(resize=resize)
    told = f"frames are not square (real 8x6, generated 8x6): {protocol.label} shows its network {how}"
    assert told in run(clips_of(0)[:, :, :, 1:7], clips_of(1)[:, :, :, 1:7], protocol).warnings
    assert not any("square" in warning for warning in run(clips_of(0), clips_of(1), protocol).warnings)


def test_features_that_are_not_finite_name_the_clip():
    detector = fake_detector()
    look = detector.look
    detector.look = lambda clips: {"i3d": np.where(clips.numpy().max() > 150, np.nan, look(clips)["i3d"])}
    real, fake = (clips_of(seed).clamp(max=100) for seed in (0, 1))
    fake[7] = 200
    with pytest.raises(ValueError, match=r"features of clip 7.* not finite"):
        evaluate(real.split(1), fake.split(1), P, detectors=[detector])


@pytest.mark.parametrize(
    ("clips", "error", "said"),
    [
        (
            torch.zeros(2, 1, 8, 8, 3, dtype=torch.uint8),
            ValueError,
            "i3d needs clips of at least 2 frames, got 1",
        ),
        (torch.zeros(2, 4, 8, 8, 3), TypeError, "uint8"),
        (torch.zeros(2, 4, 8, 8, dtype=torch.uint8), ValueError, r"shape \[B, T, H, W, 3\]"),
    ],
)
def test_batches_that_are_no_clips_are_refused_in_one_line(clips, error, said):
    with pytest.raises(error, match=said):
        run(clips, clips)


def test_a_floor_is_measured_at_the_count_of_the_generated_clips():
    real, fake, other = clips_of(0), clips_of(1, level=60), clips_of(2)
    result = run(real, fake, floor=batches(other, 6))
    truth = frechet_distance(features_of(real).astype(float), features_of(other).astype(float))
    assert result.metrics["fvd"]["floor"] == pytest.approx(truth, rel=1e-12)
    assert result.metrics["fvd"]["floor"] < result.metrics["fvd"]["value"]


# --- results ----------------------------------------------------------------------------------------------------


def test_a_result_survives_its_file_and_is_complete(tmp_path):
    model = {
        "sampler": "DDIMSampler",
        "steps": 20,
        "guidance": 1.0,
        "ema": True,
        "checkpoint": "a.ckpt",
        "labels": "x",
    }
    data = {"dataset": "folder", "listing": "abc", "split": "train"}
    result = run(clips_of(0), clips_of(1), seed=3, model=model, data=data)
    path = result.save(tmp_path / "eval" / f"{result.name}.json")
    record = json.loads(path.read_text())
    for key in ("protocol", "metrics", "num_real", "num_fake", "seed", "sampler", "steps", "guidance", "ema",
                "detector", "data", "versions", "warnings"):  # fmt: skip
        assert record[key] is not None, key
    assert record["protocol"]["hash"] == P.hash
    assert read_result(path).to_dict() == result.to_dict()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert "fvd" in result.table()


def test_a_number_that_is_none_is_never_written(tmp_path):
    result = run(clips_of(0), clips_of(1))
    result.metrics["fvd"]["value"] = float("nan")
    with pytest.raises(RuntimeError, match="fvd is not finite"):
        result.save(tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"protocol": 3}'])
def test_a_file_that_holds_no_result_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match="holds no evaluation result"):
        read_result(tmp_path / "x.json")


def test_only_equal_measurements_share_a_column():
    one = run(clips_of(0), clips_of(1))
    assert comparable(one, run(clips_of(0), clips_of(5))) == (True, "")
    other = run(clips_of(0), clips_of(1), P.changed(ddof=1))
    assert comparable(one, other) == (False, "ddof 0 against 1")
    assert "num_generated 24 against 9" in comparable(one, run(clips_of(0), clips_of(1, 9)))[1]
    assert "resolution" in comparable(one, run(clips_of(0, size=12), clips_of(1, size=12)))[1]
    weights = evaluate(
        clips_of(0).split(5), clips_of(1).split(5), P, detectors=[fake_detector(sha256="e" * 64)]
    )
    assert "network_sha256" in comparable(one, weights)[1]
    assert isinstance(one, Result)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fps": 25.0}, ""),  # what the model learnt from; the real clips are the protocol's
        ({"resize": rule_text("bilinear")}, "resize antialias against bilinear"),
        ({"view": "image_aux1"}, "view image_main against image_aux1"),
        ({"classes": ["a", "b"]}, "classes none against 2"),
        ({"resolution": 128}, "resolution 64 against 128"),
        ({"min_frames": 49}, "min_frames 0 against 49"),
        ({"listing": "def"}, "other videos (listing abc against listing def)"),
        ({"listing": "def", "train_split": "all"}, "train_split train against all"),
        ({"limits": {"train": 5, "test": None}}, "num_train_clips no limit against 5"),
        ({"limits": {"train": None, "test": 5}}, ""),
        ({"preset": "pvdm 0123", "horizontal_flip": True, "seed": 4}, ""),
    ],
)
def test_other_real_clips_are_told_by_what_makes_them_other(change, said):
    data = {"dataset": "folder", "listing": "abc", "resolution": 64, "resize": rule_text("antialias")}
    one, other = (run(clips_of(0), clips_of(1), data=facts) for facts in (data, {**data, **change}))
    assert comparable(one, other) == (not said, said)


def test_the_rate_of_real_clips_is_the_protocols_also_in_older_results():
    data = {"dataset": "folder", "fps": 8.0}
    plain, at_8 = (run(clips_of(0), clips_of(1), p, data=data) for p in (P, P.changed(fps=8.0)))
    assert comparable(plain, at_8) == (False, "fps every frame against 8")
    older = Result.from_dict(json.loads(plain.json()))
    del older.protocol["fps"]  # written when the data alone said how real clips are read
    assert comparable(older, at_8) == (True, "")
    assert comparable(older, plain)[1] == "fps 8 against every frame"


# --- from one protocol to another -------------------------------------------------------------------------------


def test_the_difference_of_two_protocols_is_told_switch_by_switch():
    calls = []

    def look(protocol):
        calls.append(protocol)
        shift = 5.0 if protocol.eps == 1e-5 else 0.0
        real = observe(batches(clips_of(0, 30), 5), [fake_detector()])
        return real, observe(batches(clips_of(1, 30), 5), [fake_detector(shift=shift)])

    start, end = P, P.changed(eps=1e-5, rounding="truncate", ddof=1, num_generated=30)
    told = explain_difference(look, start, end, without_effect=("rounding",))
    assert [s.switch for s in told.steps] == ["eps", "rounding", "ddof", "num_generated"]
    assert len(calls) == 2  # the start, and eps: nothing else touches features
    assert all(p.num_generated == 30 for p in calls)
    changes = {s.switch: s.change for s in told.steps}
    assert changes["rounding"] is None
    assert changes["eps"] > 100 > abs(changes["ddof"]) > 0
    assert sum(c or 0 for c in changes.values()) == pytest.approx(
        told.end_value - told.start_value, rel=1e-12
    )
    last = score(*look(end), end)[0]["fvd"]["value"]
    assert told.end_value == pytest.approx(last, rel=1e-12)
    assert "eps: 0.001 -> 1e-05" in told.table()
    assert json.dumps(told.to_dict())


def test_protocols_of_different_networks_have_nothing_to_explain():
    with pytest.raises(ValueError, match="different networks"):
        explain_difference(lambda p: None, P, get_protocol("random"))
