"""The callback behind ``videodiff test``, on the real data module and a model that draws in closed form."""

import json

import pytest
import pytorch_lightning as pl

import eval_run
from eval_fakes import fake_detector
from eval_run import Draws, Follows, data, run, with_fakes
from fault_harness import Job
from videodiff.data import BouncingDigits, video_io
from videodiff.evaluation.callback import VideoEvaluation
from videodiff.evaluation.detectors import motion
from videodiff.evaluation.protocol import get_protocol
from videodiff.evaluation.real import real_source
from videodiff.evaluation.results import comparable


def test_a_test_run_measures_writes_and_still_logs_its_loss(tmp_path):
    judge, found = run(
        tmp_path, Draws(grain=0.2), model_record={"ema": True, "checkpoint": "a.ckpt"}, **with_fakes()
    )
    assert "test/loss" in found[0]
    (path,) = (tmp_path / "run" / "eval").glob("random_8f_n12_ddim7_seed0_*.json")
    record = json.loads(path.read_text())
    assert judge.result.name == "random_8f_n12"
    assert (record["num_real"], record["num_fake"], record["seed"]) == (12, 12, 0)
    assert (record["sampler"], record["steps"], record["guidance"], record["ema"]) == (
        "DDIMSampler",
        7,
        1.0,
        True,
    )
    assert record["checkpoint"] == "a.ckpt"
    assert record["data"]["dataset"] == "bouncing_digits"
    assert record["data"]["split"] == "test"
    entry = record["metrics"]["rand_fd"]
    assert entry["value"] > entry["floor"] > 0
    assert entry["reduced"] is True


def test_a_model_as_good_as_the_data_lies_at_the_floor_and_grain_is_seen(tmp_path):
    sets = {"datamodule": data(num_test_clips=64), **with_fakes()}
    good = run(tmp_path, Draws(), **sets)[0].result.metrics["rand_fd"]
    bad = run(tmp_path, Draws(grain=0.1), **sets)[0].result.metrics["rand_fd"]
    assert good["value"] < 2 * good["floor"]
    assert bad["value"] > 5 * good["value"]
    assert bad["interval"][0] > good["interval"][1]


@pytest.mark.parametrize("batch_size", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 16))])
def test_the_batch_size_changes_no_number(tmp_path, batch_size):
    one = run(tmp_path / "one", Draws(grain=0.1), **with_fakes())[0].result
    other = run(tmp_path / "other", Draws(grain=0.1), batch_size=batch_size, **with_fakes())[0].result
    assert other.metrics["rand_fd"]["value"] == pytest.approx(one.metrics["rand_fd"]["value"], rel=1e-9)


def test_real_clips_are_decoded_once_for_any_number_of_models(tmp_path, monkeypatch):
    reads = []
    read = BouncingDigits.read
    monkeypatch.setattr(BouncingDigits, "read", lambda self, i, *a: reads.append(i) or read(self, i, *a))
    run(tmp_path, **with_fakes())
    first = len([i for i in reads if i < 4000])
    reads.clear()
    run(tmp_path, Draws(grain=0.3), **with_fakes())
    loop = 12  # the test loop itself reads the test clips, for the loss
    assert first == loop + 24  # real clips and the floor's
    assert len([i for i in reads if i < 4000]) == loop


def test_the_evaluator_is_the_default_for_built_in_data(tmp_path):
    result = run(tmp_path, Draws(classes=10))[0].result
    assert result.protocol["name"] == "evaluator"
    assert result.protocol["frames"] == 8
    assert {"evaluator_fd", "evaluator_is_splits1", "rand_fd", "digit_residual", "digit_identity"} <= set(
        result.metrics
    )
    assert not any("fvd" in name for name in result.metrics)
    for name in ("evaluator_fd", "rand_fd", "digit_residual", "evaluator_is_splits1"):
        assert result.metrics[name]["floor"] is not None
    assert result.metrics["digit_residual"]["value"] < 0.5


def test_classes_are_those_of_the_real_clips(tmp_path):
    model, sets = Draws(classes=10), data()
    run(tmp_path, model, sets, batch_size=5, **with_fakes())
    labels = [int(v) for _, label in model.calls for v in label]
    assert labels == sets.source("test").labels[:12]
    plain = Draws()
    run(tmp_path, plain, **with_fakes())
    assert plain.calls[0][1] is None


def folder_of(tmp_path, count=6, frames=12):
    source = BouncingDigits("train", count, frames, 16)
    for split in ("train", "test"):
        (tmp_path / "videos" / split).mkdir(parents=True)
        for i in range(count):
            video_io.write_lossless(tmp_path / "videos" / split / f"{i}.mkv", source.read(i, 0, frames, 1))
    return str(tmp_path / "videos")


def test_a_folder_without_weights_tells_what_to_fetch_and_measures_what_needs_none(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("VIDEODIFF_OFFLINE", "1")
    monkeypatch.setenv("VIDEODIFF_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sets = data(dataset="folder", root=folder_of(tmp_path, frames=18), num_test_clips=None)
    result = run(tmp_path, datamodule=sets)[0].result
    err = [line for line in capsys.readouterr().err.splitlines() if "FVD is not measured" in line]
    assert len(err) == 1
    assert "i3d_pretrained_400.pt" in err[0]
    assert set(result.metrics) == {"rand_fd"}
    assert any("FVD is not measured" in w for w in result.warnings)
    with pytest.raises(FileNotFoundError, match="i3d_pretrained_400"):
        run(tmp_path, datamodule=sets, protocol="styleganv")


def test_another_stride_than_the_protocols_is_another_protocol(tmp_path):
    sets = data(dataset="folder", root=folder_of(tmp_path, frames=16), frame_stride=2, num_test_clips=None)
    result = run(tmp_path, datamodule=sets, **with_fakes())[0].result
    assert (result.protocol["name"], result.protocol["base"], result.protocol["stride"]) == (
        "custom",
        "random",
        2,
    )
    assert any("stride 2" in w for w in result.warnings)


def test_another_rate_than_the_protocols_is_another_protocol(tmp_path):
    root = folder_of(tmp_path, frames=16)  # stored at 8 frames per second
    sets = {fps: data(dataset="folder", root=root, num_test_clips=None, fps=fps) for fps in (None, 4.0)}
    options = {**with_fakes(), "num_clips": 4}
    plain, slow = (run(tmp_path, datamodule=sets[fps], **options)[0].result for fps in (None, 4.0))
    assert (slow.protocol["name"], slow.protocol["base"], slow.protocol["fps"]) == ("custom", "random", 4.0)
    assert (plain.protocol["name"], plain.protocol["fps"]) == ("random", None)
    assert any("read at 4 fps" in w and "random_8f at every frame" in w for w in slow.warnings)
    assert comparable(plain, slow)[1].startswith("fps every frame against 4")
    assert plain.metrics["rand_fd"]["value"] != slow.metrics["rand_fd"]["value"]
    # A rate that the protocol names holds whatever the model learnt from.
    named = run(tmp_path, datamodule=sets[None], **{**options, "protocol": "random:8:fps=4"})[0].result
    assert comparable(named, slow) == (True, "")
    assert any("learnt from clips at every frame" in w for w in named.warnings)
    with pytest.raises(ValueError, match=r"fps needs videos of a data\.root, bouncing_digits is built in"):
        real_source(data(), get_protocol("random:8:fps=4"))


def test_fewer_and_more_clips_than_the_protocols_never_bear_its_name(tmp_path):
    sets = {"datamodule": data(num_test_clips=None)}
    few = run(tmp_path, num_clips=5, **sets, **with_fakes())[0].result
    assert (few.name, few.num_real, few.num_generated) == ("random_8f_n5", 5, 5)
    many = run(tmp_path, num_clips=520, **sets, **with_fakes())[0].result
    assert many.name.startswith("custom_")
    assert (many.num_real, many.num_generated) == (520, 520)


def test_a_limit_of_the_data_is_another_reference_than_as_many_clips(tmp_path):
    """A limit keeps videos by a hash of their names, a count the first ones of the listing."""
    root = folder_of(tmp_path)
    limited = data(dataset="folder", root=root, num_test_clips=3)
    first = run(tmp_path, datamodule=limited, **with_fakes())[0].result
    counted = data(dataset="folder", root=root, num_test_clips=None)
    second = run(tmp_path, datamodule=counted, num_clips=3, **with_fakes())[0].result
    alone = run(tmp_path, datamodule=counted, num_clips=3, cache=tmp_path / "fresh", **with_fakes())[0].result
    assert second.num_real == first.num_real == 3
    assert second.metrics["rand_fd"]["value"] == alone.metrics["rand_fd"]["value"]


@pytest.mark.parametrize(("wish", "count"), [("random:8", 1), (None, 0)])
def test_impossible_counts_are_refused(wish, count):
    with pytest.raises(ValueError, match=f"--num_clips must be at least 2, got {count}"):
        VideoEvaluation(wish, count)


def test_clips_too_short_for_the_network_are_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"at least 9 frames, the protocol .* shows it 8; ask for more"):
        run(tmp_path, protocol="styleganv:8", make_detectors=lambda p: [fake_detector(min_frames=9)])


def test_a_model_that_draws_nan_fails(tmp_path):
    with pytest.raises(RuntimeError, match="non-finite"):
        run(tmp_path, Draws(poison=True), **with_fakes())
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_evaluated_is_passed_over_unless_asked_for(tmp_path, capsys):
    class Silent(pl.LightningModule):
        test_step = Draws.test_step

    judge, found = run(tmp_path, Silent())
    assert judge.result is None
    assert "test/loss" in found[0]
    assert "clips are not evaluated: Silent does not generate videos" in capsys.readouterr().err
    with pytest.raises(ValueError, match="Silent does not generate videos"):
        run(tmp_path, Silent(), protocol="random")


def test_scalars_reach_the_logger_under_the_protocols_name(tmp_path):
    from pytorch_lightning.loggers import CSVLogger

    judge, _ = run(tmp_path, loggers=CSVLogger(str(tmp_path), name="", version=""), **with_fakes())
    text = (tmp_path / "metrics.csv").read_text()
    assert f"test/{judge.result.name}/rand_fd" in text


@pytest.mark.parametrize("batch_size", [1, pytest.param(16, marks=pytest.mark.slow)])
def test_two_processes_measure_what_one_does(tmp_path, batch_size):
    one = run(tmp_path / "one", Draws(grain=0.1, classes=10), data(num_test_clips=11), **with_fakes())[
        0
    ].result
    with Job(
        eval_run.rank_of_job, {"folder": str(tmp_path), "batch_size": batch_size}, tmp_path, world=2
    ) as job:
        assert job.wait(120) == [0, 0], job.text()
    for turn in range(2):  # the second time from the cached statistics
        two = json.loads((tmp_path / f"two{turn}.json").read_text())
        assert (two["num_real"], two["num_fake"]) == (11, 11)
        for key in ("value", "floor"):
            expected = one.metrics["rand_fd"][key]
            assert two["metrics"]["rand_fd"][key] == pytest.approx(expected, rel=1e-9)


def named(tmp_path, model, captions="generated", **options):
    looks = [fake_detector("random"), motion("bouncing_digits")]
    found, _ = run(
        tmp_path,
        model,
        data(captions=captions),
        protocol="random:8",
        make_detectors=lambda p: looks,
        **options,
    )
    return found.result.metrics.get("named_direction"), found.result


def test_clips_told_the_captions_of_the_real_ones_are_judged_by_what_these_name(tmp_path):
    model, sets = Follows(), data(captions="generated")
    right, result = named(tmp_path, model)
    assert result.model["conditioned_on"] == "captions of the real clips"
    source = sets.source("test")
    assert model.prompts == [source.captions_of(i, 0, 8, 1)[0] for i in range(12)]
    judged = sum(source.told(i, 0, 8, 1)["bounces_after"] >= 3 for i in range(12))
    assert (right["value"], right["floor"], right["count"], right["chance"]) == (1, 1, judged, 0.125)
    assert named(tmp_path, Follows(late=1))[0]["value"] < 0.5


@pytest.mark.parametrize(
    ("captions", "conditions"),
    [(None, {}), ("generated", {"guidance": 0.0}), ("generated", {"prompt": ["a nine"]})],
)
def test_clips_that_were_not_told_these_captions_have_no_such_share(tmp_path, captions, conditions):
    share, result = named(tmp_path, Follows(), captions, conditions=conditions)
    assert share is None
    assert not any(name.startswith("named_") or name == "diversity" for name in result.metrics)
