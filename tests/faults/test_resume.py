"""A run that stopped anywhere goes on as if it had not (bit for bit, raw weights and averages)."""

import os
import shutil
import signal

import pytest

import tiny_run as tiny
from turns import by_turns

STEPS = 9  # three batches of 8 make an epoch of 24 samples; validation every four steps


@pytest.fixture(scope="module", params=[1, 2], ids=["plain", "accumulation 2"])
def reference(request, tmp_path_factory):
    """An uninterrupted run that kept every step, and its accumulation."""
    folder = tmp_path_factory.mktemp("reference")
    tiny.fit(folder, STEPS, accumulate=request.param)
    return folder, request.param


@pytest.mark.parametrize(
    "step", [pytest.param(n, marks=pytest.mark.slow) if n in (2, 3, 6, 7) else n for n in range(1, STEPS)]
)
def test_resume_at_every_step_is_bit_identical(reference, step, tmp_path):
    folder, accumulate = reference
    start = folder / "checkpoints" / f"step_{step:08d}.ckpt"
    tiny.fit(tmp_path, STEPS, resume=start, accumulate=accumulate)
    assert tiny.same(
        tiny.weights(tmp_path / "checkpoints/last.ckpt"), tiny.weights(folder / "checkpoints/last.ckpt")
    )
    before = tiny.lines(folder / "trace_rank0.jsonl")
    after = tiny.lines(tmp_path / "trace_rank0.jsonl")
    assert after == before[len(before) - len(after) :]
    assert len(after) == (STEPS - step) * accumulate


@pytest.mark.parametrize(("batch", "number"), by_turns([(0,), (1,), (2,)], [signal.SIGTERM, signal.SIGINT]))
def test_stop_inside_a_validation_repeats_it_whole(reference, batch, number, tmp_path, monkeypatch):
    folder, accumulate = reference
    monkeypatch.setattr(tiny.Tiny, "validation_step", stopping(batch, number))
    with pytest.raises(SystemExit) as stop:
        tiny.fit(tmp_path, STEPS, accumulate=accumulate)
    assert stop.value.code == (130 if number == signal.SIGINT else 143)
    for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(n, signal.default_int_handler if n == signal.SIGINT else signal.SIG_DFL)
    monkeypatch.undo()
    assert [r["step"] for r in tiny.lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    tiny.fit(tmp_path, STEPS, resume=tmp_path / "checkpoints/last.ckpt", accumulate=accumulate)
    assert tiny.same(
        tiny.weights(tmp_path / "checkpoints/last.ckpt"), tiny.weights(folder / "checkpoints/last.ckpt")
    )
    assert metrics(tmp_path) == metrics(folder)


def stopping(at, number):
    plain = tiny.Tiny.validation_step

    def step(self, batch, batch_idx):
        plain(self, batch, batch_idx)
        if self.global_step == 4 and batch_idx == at:
            os.kill(os.getpid(), number)

    return step


def metrics(folder):
    return [{k: v for k, v in line.items() if k != "time"} for line in tiny.lines(folder / "metrics.jsonl")]


def test_first_half_then_second_half_with_workers_equals_the_whole(reference, tmp_path):
    folder, accumulate = reference
    tiny.fit(tmp_path, 5, accumulate=accumulate)
    last = tmp_path / "checkpoints/last.ckpt"
    tiny.fit(tmp_path, STEPS, resume=last, accumulate=accumulate, data={"workers": 2})
    assert tiny.same(tiny.weights(last), tiny.weights(folder / "checkpoints/last.ckpt"))
    assert metrics(tmp_path) == metrics(folder)


def test_a_chain_of_ten_stops_is_bit_identical(tmp_path):
    tiny.fit(tmp_path / "whole", 11, keep=0)
    resume = None
    for step in range(1, 12):
        tiny.fit(tmp_path / "chain", step, resume=resume, keep=0)
        resume = tmp_path / "chain/checkpoints/last.ckpt"
    assert tiny.same(tiny.weights(resume), tiny.weights(tmp_path / "whole/checkpoints/last.ckpt"))


def test_resume_of_the_best_checkpoint_does_not_validate_twice(reference, tmp_path):
    folder, accumulate = reference
    best = folder / "checkpoints/best.ckpt"
    shutil.copyfile(best, tmp_path / "best.ckpt")
    step = tiny.weights(best)[0]
    tiny.fit(tmp_path, STEPS, resume=tmp_path / "best.ckpt", accumulate=accumulate)
    after = [line["step"] for line in metrics(tmp_path) if "val/loss" in line]
    assert after == [s for s in (4, 8) if s > step]
