import math

import pytest
import torch

from videodiff.diffusion import (
    CosineSchedule,
    LogitNormalTimes,
    LogNormalTimes,
    ModeTimes,
    ScaledLinearSchedule,
    ShiftedTimes,
    StraightSchedule,
)

STRAIGHT = StraightSchedule()
SCHEDULES = {
    "cosine": CosineSchedule(),
    "shift_between": CosineSchedule(shift=-2.7726, shift_at_0=0.0),
    "scaled_linear": ScaledLinearSchedule(),
    "straight": STRAIGHT,
    "straight_shifted": StraightSchedule(shift=4.0),
}
TIMES = {
    "logit_normal": LogitNormalTimes(),
    "log_normal": LogNormalTimes(),
    "mode": ModeTimes(),
    "mode_low": ModeTimes(-1.0),
    "shifted": ShiftedTimes(),
}
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
SHARES = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=torch.float64)


@pytest.mark.parametrize(
    ("mean", "std", "quantiles"),
    [
        (0.0, 1.0, [0.217286, 0.337492, 0.5, 0.662508, 0.782714]),
        (-1.2, 1.2, [0.060776, 0.118221, 0.231475, 0.403570, 0.583671]),
    ],
)
def test_the_quantiles_of_a_logit_normal_are_those_of_a_table_of_the_normal(mean, std, quantiles):
    for times in (LogitNormalTimes(mean, std), LogNormalTimes(mean, std)):  # one law on the straight path
        assert times.draw(SHARES, STRAIGHT).tolist() == pytest.approx(quantiles, abs=5e-7)


@each_schedule
def test_a_log_normal_is_one_of_noise_to_signal_on_every_schedule(schedule):
    t = LogNormalTimes(-1.2, 1.2).draw(SHARES, schedule)
    normal = torch.distributions.Normal(-1.2, 1.2).icdf(SHARES)
    one_step = 0.05 if isinstance(schedule, ScaledLinearSchedule) else 1e-6
    assert (-0.5 * schedule.log_snr(t)).tolist() == pytest.approx(normal.tolist(), abs=one_step)


def test_a_shift_of_the_straight_path_adds_its_logarithm_to_the_mean():
    shifted = SCHEDULES["straight_shifted"].alpha_sigma(LogitNormalTimes(-0.5, 0.8).draw(SHARES, STRAIGHT))[1]
    assert torch.allclose(
        shifted, LogitNormalTimes(-0.5 + math.log(4), 0.8).draw(SHARES, STRAIGHT), rtol=1e-12
    )
    uniform = SCHEDULES["straight_shifted"].alpha_sigma(SHARES)[1]
    assert torch.allclose(ShiftedTimes(4.0).draw(SHARES, STRAIGHT), uniform, rtol=1e-12)


def test_the_mode_distribution_is_the_published_formula_turned_round():
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    q = 1 - u
    for scale in (1.29, -0.7):
        published = 1 - q - scale * ((math.pi / 2 * q).cos() ** 2 - 1 + q)
        assert torch.allclose(ModeTimes(scale).draw(u, STRAIGHT), published, rtol=1e-12)


@pytest.mark.parametrize("name", TIMES)
@each_schedule
def test_times_rise_with_the_share_below_them_and_stay_in_the_unit_interval(schedule, name):
    u = torch.linspace(0, 1 - 2**-24, 4001)
    t = TIMES[name].draw(u, schedule)
    assert t.dtype == u.dtype
    assert (t.diff() >= 0).all()
    assert 0 <= t.min() <= t.max() <= 1
    units = u[:4000].view(1000, 4)
    assert torch.equal(TIMES[name].draw(units, schedule), t[:4000].view(1000, 4))
    if isinstance(schedule, ScaledLinearSchedule):
        assert t.min() >= 1 / 1000  # a step of the table, never clean data


@each_schedule
def test_the_time_of_a_log_snr_is_where_the_schedule_has_it(schedule):
    t = torch.arange(1, 1000, 7, dtype=torch.float64) / 1000
    step = 1.01e-3 if isinstance(schedule, ScaledLinearSchedule) else 1e-12
    assert torch.allclose(schedule.time_of(schedule.log_snr(t)), t, rtol=0, atol=step)
    assert schedule.time_of(torch.tensor([1e4, -1e4])).tolist() == pytest.approx([0, 1], abs=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogitNormalTimes(std=0.0), "std must be above 0 and finite, got 0.0"),
        (lambda: LogNormalTimes(mean=math.nan), "mean must be finite, got nan"),
        (lambda: ModeTimes(1.76), r"scale must lie in \[-1, 1.7519\], got 1.76"),
        (lambda: ShiftedTimes(-1.0), r"shift must be above 0 and finite \(1 is none\), got -1.0"),
    ],
)
def test_a_wrong_argument_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
