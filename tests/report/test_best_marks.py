from itertools import pairwise

import pytest

from report_records import entry
from videodiff.comparison.best import best_towards, penalty_interval
from videodiff.report.number_format import duration, memory, plain, short
from videodiff.report.scale import linear_ticks, log_ticks, scale_for


@pytest.mark.parametrize(
    ("better", "entries", "best"),
    [
        ("lower", [entry(3, 0.4), entry(4, 0.5)], 0),
        ("lower", [entry(3, 0.5), entry(4, 0.5)], None),  # the ends touch
        (
            "lower",
            [entry(3, 0.4), entry(4, 0.5), entry(3.5, 0.2)],
            None,
        ),  # apart from one, not from the other
        ("higher", [entry(3, 0.4), entry(4, 0.5)], 1),
        ("real", [entry(0.9, 0.05, floor=1.0), entry(1.4, 0.1, floor=1.0)], 0),
        ("real", [entry(0.5, 0.01, floor=1.0), entry(1.5, 0.01, floor=1.0)], None),  # as far, on two sides
        ("real", [entry(0.9, 0.05), entry(1.4, 0.1)], None),  # nobody knows what real clips have
        ("none", [entry(3, 0.1), entry(4, 0.1)], None),
        ("lower", [entry(3, 0.1)], None),  # nothing to beat
        ("lower", [entry(3, 0.1), entry(9)], None),  # the other's interval is unknown
        ("lower", [entry(3, 0.1), None, entry(9, 0.1)], 0),  # one was not measured
        ("lower", [entry(3, 0.1), entry(None), entry(9, 0.1)], 0),
        ("lower", [entry(3), entry(9)], None),
        ("higher", [entry(1, 0.0), entry(0.5, 0.1)], None),  # all of a few clips alike: no width, little said
        ("higher", [{**entry(1, 0.0), "count": 512}, entry(0.5, 0.1)], 0),
    ],
)
def test_the_best_is_marked_only_where_its_interval_lies_apart_from_all_others(better, entries, best):
    assert best_towards(entries, better) == best


def test_a_value_on_both_sides_of_the_real_one_may_be_no_distance_away():
    assert penalty_interval(entry(1.1, 0.3, floor=1.0), "real") == (0.0, pytest.approx(0.4))


def test_numbers_are_written_for_people():
    assert [plain(v) for v in (4.5921, 1234.6, 0.0123456, 0.0, None, float("nan"), -2.5)] == [
        "4.592", "1235", "0.01235", "0", "–", "–", "−2.500"]  # fmt: skip
    assert [short(12_300_000), short(4.5e11, "FLOP"), short(12)] == ["12.3 M", "450 GFLOP", "12.0"]
    assert [memory(3 * 2**30), memory(5 * 2**20)] == ["3.00 GiB", "5.00 MiB"]
    assert [duration(s) for s in (0.0123, 2.5, 600, 7200)] == ["12.3 ms", "2.50 s", "10.0 min", "2.00 h"]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.003, 0.0031), (-5, 12), (1e6, 9e6), (3, 3.0001)])
def test_linear_ticks_are_round_and_inside(low, high):
    ticks = linear_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    slack = 1e-9 * (abs(low) + abs(high))
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    steps = {round((b - a) / (ticks[1] - ticks[0]), 3) for a, b in pairwise(ticks)}
    assert steps == {1.0}


@pytest.mark.parametrize(("low", "high"), [(0.01, 5), (1, 1e9), (0.9, 1.1), (3, 30)])
def test_logarithmic_ticks_are_inside(low, high):
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert all(low <= tick <= high for tick in ticks)


def test_axes_keep_order_and_hold_all_values():
    for log in (False, True):
        scale = scale_for([2.0, 10.0, 500.0], 50, 350, log)
        places = [scale(v) for v in (2, 10, 500)]
        assert places == sorted(places)
        assert places[0] > 50
        assert places[-1] < 350
    assert scale_for([3.0], 0, 100)(3.0) == pytest.approx(50)
    assert not scale_for([0.0, 1.0], 0, 100, log=True).log  # zero has no logarithm
