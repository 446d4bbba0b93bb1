"""A training bounded by its seconds of compute: where it ends, what counts, and that interruptions change neither."""

import itertools

import pytest

import tiny_run as tiny
from videodiff.callbacks import budget
from videodiff.callbacks.budget import SECONDS, ComputeBudget, spent
from videodiff.callbacks.record import read_metrics
from videodiff.checkpoints import load_checkpoint


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock finds it a quarter of a second on."""
    ticks = itertools.count()
    monkeypatch.setattr(budget.time, "process_time", lambda: next(ticks) / 4)


def fit(folder, seconds, steps=1000, resume=None):
    tiny.fit(folder, steps, resume=resume, extra=[ComputeBudget(seconds)], keep=0)
    return load_checkpoint(folder / "checkpoints" / "last.ckpt")


def test_a_training_ends_at_the_first_step_after_its_seconds_and_goes_on_with_those_it_has_spent(
    tmp_path, clock
):
    whole = fit(tmp_path / "whole", 8.0)
    assert whole["global_step"] < 40  # by its seconds, not by its steps
    seconds = spent(whole)["seconds"]
    assert 8.0 <= seconds < 9.0
    logged = [line[SECONDS] for line in read_metrics(tmp_path / "whole" / "metrics.jsonl") if SECONDS in line]
    assert logged == sorted(logged)
    assert logged[-2] < 8.0 <= logged[-1]

    first = fit(tmp_path / "cut", 8.0, steps=5)
    assert 0 < spent(first)["seconds"] < seconds
    again = fit(tmp_path / "cut", 8.0, resume=tmp_path / "cut" / "checkpoints" / "last.ckpt")
    assert abs(again["global_step"] - whole["global_step"]) <= 1
    assert spent(again)["starting"] > spent(first)["starting"]  # of two starts

    assert spent(fit(tmp_path / "none", None, steps=2)) == {"seconds": 0.0, "starting": 0.0}


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_seconds_that_bound_nothing_are_refused(seconds):
    with pytest.raises(ValueError, match=r"budget\.seconds must be above 0"):
        ComputeBudget(seconds)


def test_seconds_that_do_not_hold_one_step_are_too_few(tmp_path, clock):
    with pytest.raises(ValueError, match=r"0\.1 seconds of compute are too few: the first step took"):
        fit(tmp_path, 0.1)
