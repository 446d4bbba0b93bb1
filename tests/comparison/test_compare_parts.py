"""The parts of a comparison: sample i, costs, training records, nearest clips, reconstruction, tables."""

import hashlib
import json
import math
import random
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from turns import by_turns
from videodiff.checkpoints import load_run
from videodiff.comparison import Comparison, Draw, ModelRecord, Training, write_results
from videodiff.comparison.best import best_of, best_towards
from videodiff.comparison.formats import comma_separated, latex, markdown, terminal
from videodiff.comparison.nearest import nearest
from videodiff.comparison.published import NAMES, all_rows, published_rows
from videodiff.comparison.reconstruction import reconstruct
from videodiff.comparison.runs import Run, checkpoint_record
from videodiff.comparison.settings import SAMPLERS, make_sampler
from videodiff.comparison.tables import number
from videodiff.comparison.training import POINTS, read_lines, training_of
from videodiff.cost.counter import Counter
from videodiff.cost.real_run import counted, flop_of_sampling, peak_of_sampling
from videodiff.evaluation.generated import GeneratedClips
from videodiff.evaluation.plan import Batch
from videodiff.metrics.directory import METRICS, better
from videodiff.metrics.entry import mean_entry


def draws(model, sampler="ddim", steps=2, frames=4, count=5, batch_size=2):
    sampler = make_sampler(sampler, steps)
    return GeneratedClips(model, frames, range(count), 3, batch_size, labels=[1, 2, 3], sampler=sampler)


@pytest.mark.parametrize("name", ["vdm_digits", "pvdm_digits"])
def test_sample_i_does_not_depend_on_the_batch(at_home, name):
    model = load_run(name)
    every = torch.cat([batch.clips for batch in draws(model, batch_size=5)]).int()
    parts = torch.cat([batch.clips for batch in draws(model, batch_size=2)]).int()
    assert (every - parts).abs().max() <= 1  # rounding of a convolution may differ by the last bit
    assert (every - parts).ne(0).float().mean() < 0.01
    assert (every[0] - every[3]).abs().max() > 8


@pytest.mark.parametrize(
    ("name", "frames", "sampler"),
    by_turns([("vdm_digits", 4), ("pvdm_digits", 8)], SAMPLERS),  # the samplers are the same objects for both
)
def test_flop_of_many_steps_lie_on_the_line_of_few(at_home, name, frames, sampler):
    long = draws(load_run(name), sampler, steps=5, frames=frames)
    flop = flop_of_sampling(partial(long.clips, [0]), long.sampler)
    assert flop == counted(lambda: long.clips([0]))


@pytest.mark.parametrize("name", ["vdm_digits", "pvdm_digits"])
def test_flop_are_those_of_torch(at_home, name):
    one = draws(load_run(name), steps=1)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        one.clips([0])
    assert counted(lambda: one.clips([0])) == counter.get_total_flops() > 1e6


def test_flop_are_two_for_each_multiply_add():
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert counted(lambda: a @ b) == 2 * 3 * 5 * 7


def test_memory_is_that_of_the_tensors_alive_at_once():
    layer = nn.Linear(100, 100, bias=False)
    live = Counter(is_real=True)
    live.take(layer.parameters())
    with live, torch.no_grad():
        x = torch.ones(1000, 100)
        for _ in range(5):
            x = layer(x).relu_()  # the old x lives until the new one is there
    assert live.peak == 4 * (100 * 100 + 2 * 1000 * 100)
    assert live.live == 4 * (100 * 100 + 1000 * 100)


def test_memory_of_sampling_grows_with_the_batch_and_not_with_steps(at_home):
    model = load_run("vdm_digits")
    weights = 4 * sum(p.numel() for p in model.parameters())

    def peak(size=1, steps=4):
        its = draws(model, steps=steps)
        return peak_of_sampling(model, model.device, partial(its.clips, list(range(size))), its.sampler)

    assert weights < peak(1) < peak(2)
    assert peak(steps=9) == peak(steps=4)


# --- training -----------------------------------------------------------------------------------------------------


def test_training_is_read_from_the_record_of_a_run(tmp_path):
    lines = [
        {"step": 10 * k, "train/loss": 1 / k, "throughput/seconds_per_step": 0.5} for k in range(1, 1001)
    ]
    lines.insert(3, {"step": 30, "val/loss": 0.3})
    lines += [
        {"step": 9990, "train/loss": 7.0, "throughput/seconds_per_step": 0.5}
    ]  # written anew by a resumed run
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 10010, "tra')
    (tmp_path / "checkpoints").mkdir()
    config = {"data": {"init_args": {"batch_size": 8}}}
    found = training_of(tmp_path / "checkpoints" / "last.ckpt", config, 10_000)
    assert (found.steps, found.clips, found.seconds) == (10_000, 80_000, 5_000.0)
    assert found.curves["val/loss"] == [[30.0, 0.3]]
    curve = found.curves["train/loss"]
    assert len(curve) <= POINTS
    assert curve[-1][0] == 10_000
    assert curve[0] == [30.0, pytest.approx((1 + 1 / 2 + 1 / 3) / 3)]
    half = training_of(tmp_path / "checkpoints" / "best.ckpt", config, 5_003)
    assert half.seconds == 2501.5
    assert half.curves["train/loss"][-1][0] == 5_000
    assert len(read_lines(tmp_path)) == 1001
    without = training_of(tmp_path / "elsewhere" / "model.ckpt", {}, None)
    assert without == Training(steps=0)


# --- nearest clips ------------------------------------------------------------------------------------------------


def test_nearest_is_what_brute_force_finds():
    source = torch.Generator().manual_seed(0)
    train = torch.randint(0, 256, (37, 4, 9, 7, 3), dtype=torch.uint8, generator=source)
    samples = torch.randint(0, 256, (5, 4, 9, 7, 3), dtype=torch.uint8, generator=source)
    samples[2], samples[3] = train[20], train[30]
    train[35] = train[20]  # of two equal ones the first wins
    expected = (samples[:, None].double() - train[None].double()).square().flatten(2).mean(2).sqrt()
    for size in (1, 10, 64):
        batches = [Batch(list(range(i, min(i + size, 37))), train[i : i + size]) for i in range(0, 37, size)]
        found, clips = nearest(samples, batches)
        assert [place for place, _ in found] == expected.argmin(1).tolist()
        assert [d for _, d in found] == pytest.approx(expected.min(1).values.tolist(), rel=1e-14)
        assert torch.equal(clips, train[expected.argmin(1)])
        assert found[2] == (20, 0.0)
    with pytest.raises(ValueError, match="no training clips"):
        nearest(samples, [])


# --- reconstruction -----------------------------------------------------------------------------------------------


class Halves(nn.Module):
    """A first stage that keeps every clip of 4 frames as it is, and remembers how many it saw."""

    video_shape = (3, 4, 8, 8)
    seen = 0

    def encode(self, video):
        assert video.shape[2] == 4
        self.seen += 1
        return video

    def decode(self, latent):
        return latent


@pytest.mark.parametrize("frames", [3, 4, 8, 9])
def test_reconstruction_goes_by_clips_of_the_first_stage(frames):
    clips = torch.randint(0, 256, (2, frames, 8, 8, 3), dtype=torch.uint8)
    stage = Halves()
    assert torch.equal(reconstruct(stage, clips, torch.device("cpu")), clips)
    assert stage.seen == -(-frames // 4)


def test_exact_reconstructions_are_counted_apart():
    import numpy as np

    entry = mean_entry(np.array([20.0, 30.0, math.inf]))
    assert (entry["value"], entry["count"], entry["exact"]) == (25.0, 2, 1)


# --- tables -------------------------------------------------------------------------------------------------------


def entry(value, low, high, **more):
    return {"value": value, "interval": [low, high], "count": 8, **more}


def record(name, **metrics):
    draw = Draw(
        "DDIMSampler", 50, 16, 8, metrics, timing={"seconds_per_video": 0.25, "peak_memory_bytes": 2**21}
    )
    return ModelRecord(name, f"runs/{name}", name, {}, {"net": 1000}, Training(5), [draw])


def comparison(*models, **more):
    protocol = {"name": "evaluator", "hash": "0" * 16}
    return Comparison(protocol, {"seed": 0}, {}, list(models), **more)


def best_index(entries, name):
    return best_of([{} if entry is None else {name: entry} for entry in entries], [name])[name]


def test_best_is_marked_only_where_its_interval_lies_apart():
    apart = [{"fvd": entry(1, 0.9, 1.1)}, {"fvd": entry(2, 1.2, 3)}]
    touching = [{"fvd": entry(1, 0.9, 1.3)}, {"fvd": entry(2, 1.2, 3)}]
    for metrics, bold in ((apart, True), (touching, False)):
        text = markdown(comparison(*(record(f"m{i}", **m) for i, m in enumerate(metrics))))
        assert ("**1.000 [0.900, 1.10]**" in text) == bold
        assert text.count("**") == (2 if bold else 0)
    assert best_index([entry(5, 4, 6), entry(9, 8, 10)], "psnr") == 1
    assert best_index([entry(5, 4, 6), {"value": 9.0}], "psnr") is None  # no interval, no verdict
    assert best_index([entry(5, 4, 6), None], "psnr") is None  # alone
    assert best_index([entry(5, 4, 6), entry(9, 8, 10)], "digit_median_residual") is None  # no direction
    near = [entry(1.1, 1.0, 1.2, floor=1.1), entry(2, 1.9, 2.1, floor=1.1)]
    assert best_index(near, "digit_speed") == 0
    # ten clips that all gave one value are no proof: tables and page mark by one rule
    few = [{**entry(value, value, value), "count": 10} for value in (0.5, 1.0)]
    assert best_index(few, "digit_present") is None


def test_tables_and_page_mark_the_same_value():
    names = [*METRICS, "evaluator_is_splits1", "brightness"]
    source = random.Random(0)
    for _ in range(500):
        name, entries = source.choice(names), []
        for _ in range(source.randint(1, 4)):
            low, high = sorted(source.uniform(-1, 1) for _ in range(2))
            floor = {"floor": 0.0} if source.random() < 0.8 else {}
            known = entry((low + high) / 2, low, high, **floor)
            entries.append(source.choice([known] * 8 + [None, {"value": None}, {"value": 1.0}]))
        assert best_index(entries, name) == best_towards(entries, better(name))


NOISE = {"name": "noise", "metrics": {"evaluator_fd": entry(535, 520, 550), "rand_fd": entry(90, 85, 95)}}
FROZEN = {"name": "frozen frames", "metrics": {"evaluator_fd": entry(60, 55, 65), "rand_fd": entry(9, 8, 10)}}


@pytest.mark.parametrize(
    ("distance", "rand", "baselines", "starred"),
    [
        (50, 4, [NOISE, FROZEN], {"evaluator_fd", "rand_fd", "digit_residual"}),
        (50, 4, [], {"evaluator_fd", "rand_fd", "digit_residual"}),
        (758, 4, [NOISE], set()),  # noise beats it on the protocol's distance: it is best in nothing
        (400, 4, [NOISE, FROZEN], set()),  # and so do frozen frames
        (
            57,
            4,
            [NOISE, FROZEN],
            {"rand_fd", "digit_residual"},
        ),  # as frozen frames, as far as one knows
        (50, 9.5, [NOISE, FROZEN], {"evaluator_fd", "digit_residual"}),
        (50, 60, [NOISE, FROZEN], {"evaluator_fd", "digit_residual"}),
        (
            50,
            4,
            [{"name": "noise", "metrics": {"rand_fd": {"value": 9.0}}}],
            {"evaluator_fd", "digit_residual"},
        ),
    ],
)
def test_no_star_for_a_model_worse_than_none(distance, rand, baselines, starred):
    """Of two models the second is far behind; the first is starred only where it beats clips made without a model."""
    first = {
        "evaluator_fd": entry(distance, distance - 3, distance + 3), "rand_fd": entry(rand, rand - 1, rand + 1),
        "digit_residual": entry(1, 0.9, 1.1),
    }  # fmt: skip
    second = {name: entry(9000, 8000, 9999) for name in first}
    assert best_of([first, second], list(first), [base["metrics"] for base in baselines]) == {
        name: 0 if name in starred else None for name in first
    }
    found = comparison(record("a", **first), record("b", **second), baselines=baselines)
    assert markdown(found).count("| **") == len(starred)


def test_baselines_and_floor_stand_apart_and_are_never_best():
    models = [
        record("a", rand_fd=entry(9, 8, 10, floor=3.0)),
        record("b", rand_fd=entry(20, 19, 21, floor=3.0)),
    ]
    base = [{"name": "noise_x", "metrics": {"rand_fd": entry(30, 29, 31)}}]
    found = comparison(*models, baselines=base)
    lines = markdown(found).splitlines()
    assert "| **9.000 [8.00, 10.0]** |" in next(line for line in lines if line.startswith("| a |"))
    assert "| *noise_x* | 30.00 [29.0, 31.0] |" in lines
    assert "| *other real clips (floor)* | 3.000 |" in lines
    text = latex(found)
    assert r"noise\_x & 30.00" in text
    assert r"\textbf{9.000 [8.00, 10.0]}" in text
    assert (
        text.index(r"b & 20.00")
        < text.rindex(r"\midrule", 0, text.index(r"noise\_x"))
        < text.index(r"noise\_x")
    )
    rows = comma_separated(found).splitlines()
    assert rows[0].startswith("kind,name,run")
    assert [row.split(",")[0] for row in rows[1:]] == [
        "model",
        "model",
        "baseline",
    ]
    assert "9.000 [8.00, 10.0] *" in terminal(found)


def test_published_figures_stand_in_a_table_of_their_own():
    rows = published_rows({"layout": "ucf101"})
    assert {row["data"] for row in rows} == {"UCF-101"}
    assert {row["data"] for row in published_rows({"layout": "sky"})} == {"SkyTimelapse"}
    for layout in ("bouncing_digits", "drifting_clouds", "videos", None):
        assert published_rows({"layout": layout}) == []
    by = {(r["model"], r["metric"], r["frames"], r["source"][-7:]): r["value"] for r in rows}
    assert by["PVDM-L, 400/400 steps", "FVD", 16, "table 1"] == 343.6
    assert by["PVDM-L, 200/200 steps", "FVD", 128, "table 1"] == 639.7
    assert by["PVDM-L", "IS", 16, "table 2"] == 74.40
    assert by["PVDM-S, 100/20 steps", "seconds per video", 16, "table 5"] == 7.88
    for row in all_rows():
        assert set(row) == {"model", "data", "frames", "protocol", "metric", "value", "source"}
        assert row["protocol"]
        assert "arXiv" in row["source"]
        assert row["data"] in {*NAMES.values(), "FaceForensics"}
    model = record("a", fvd=entry(9, 8, 10))
    text = markdown(comparison(model, published=rows))
    ours, theirs = text.split("## Published figures")
    assert "343.6" in theirs
    assert "343.6" not in ours
    assert "styleganv: 2,048 clips" in theirs
    assert "table 5" in theirs
    assert "343.6" not in comma_separated(comparison(model, published=rows))


def test_an_older_report_is_replaced_and_leftovers_do_not_matter(tmp_path):
    first = comparison(record("a", fvd=entry(9, 8, 10)))
    write_results(first, tmp_path / "out")
    (tmp_path / "out" / ".results.json.123.part").write_text("{")
    write_results(replace(first, command="again"), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "results.json").read_text())["command"] == "again"
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        write_results(first, tmp_path / "out")


def test_numbers_have_four_digits_and_no_needless_exponent():
    shown = {
        0: "0",
        3.14159: "3.142",
        1234.5: "1234",
        0.00123456: "0.001235",
        -2.5: "-2.500",
        3e9: "3.000e+09",
    }
    assert {value: number(value) for value in shown} == shown
    assert number(None) == number(math.nan) == "-"


def test_a_checkpoint_is_read_once_for_its_hash(tmp_path):
    file = tmp_path / "last.ckpt"
    file.write_bytes(b"weights")
    run = Run("a", file, {}, 3, True, None, None)
    before = run.sha256
    file.unlink()
    expected = {
        "file": file.as_posix(),
        "sha256": hashlib.sha256(b"weights").hexdigest(),
        "step": 3,
        "ema": True,
    }
    assert checkpoint_record(run) == {**expected, "sha256": before} == expected
