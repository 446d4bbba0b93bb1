import copy
import math

import pytest
import torch
from torch import nn

from videodiff.diffusion import (
    CosineSchedule,
    DiscreteCosineSchedule,
    LinearSchedule,
    ScaledLinearSchedule,
    StraightSchedule,
    prediction_target,
    to_eps,
    to_x,
)

SCHEDULES = [
    CosineSchedule(),
    CosineSchedule(shift=2 * math.log(1 / 4)),
    CosineSchedule(shift=2 * math.log(1 / 4), shift_at_0=0.0),
    CosineSchedule(shift=6.0, shift_at_0=0.0),
    LinearSchedule(),
    ScaledLinearSchedule(),
    DiscreteCosineSchedule(),
    ScaledLinearSchedule(zero_terminal_snr=True),
    StraightSchedule(),
    StraightSchedule(shift=4.0),
]
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)


@each_schedule
def test_log_snr_falls_and_alpha_and_sigma_make_one_or_their_squares_do(schedule):
    t = torch.linspace(0, 1, 1001)
    log_snr = schedule.log_snr(t.double())
    assert (log_snr[1:] < log_snr[:-1]).all()
    alpha, sigma = schedule.alpha_sigma(t, 5)
    assert alpha.shape == (1001, 1, 1, 1, 1)
    assert alpha.dtype == torch.float32
    power = 1 if isinstance(schedule, StraightSchedule) else 2
    assert torch.allclose(alpha**power + sigma**power, torch.ones_like(alpha), atol=1e-6)
    ratio = [scale.log() for scale in schedule.alpha_sigma(t.double()[1:-1])]
    assert torch.allclose(2 * (ratio[0] - ratio[1]), log_snr[1:-1], atol=1e-7)


@each_schedule
def test_times_of_units_scale_each_unit_as_the_same_time_scales_a_sample(schedule):
    generator = torch.Generator().manual_seed(0)
    x, eps = torch.randn(
        2, 3, 3, 4, 2, 2, generator=generator
    )  # [B, C, U, H, W]; C = B, so that a mix-up has no error
    t = torch.rand(3, 4, generator=generator)
    z, (alpha, sigma) = schedule.add_noise(x, eps, t), schedule.alpha_sigma(t, 5)
    assert alpha.shape == sigma.shape == (3, 1, 4, 1, 1)
    for unit in range(4):
        alone = schedule.add_noise(x[:, :, unit], eps[:, :, unit], t[:, unit])
        assert torch.equal(z[:, :, unit], alone)
    assert torch.equal(
        schedule.add_noise(x, eps, t[:, :1].expand(-1, 4)), schedule.add_noise(x, eps, t[:, 0])
    )
    assert schedule.network_time(t).shape == schedule.draw_times(t).shape == t.shape
    assert torch.equal(schedule.alpha_sigma(t)[0], alpha.squeeze())  # without axes to fill, as t is shaped


@each_schedule
def test_every_prediction_gives_x_and_eps_back(schedule):
    generator = torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, 5, 4, 3, generator=generator)
    t = torch.tensor([0.001, 0.1, 0.5, 0.999, 1.0])
    alpha, sigma = schedule.alpha_sigma(t, 3)
    z = schedule.add_noise(x, eps, t)
    for kind in ("x", "v", "eps", "flow"):
        target = prediction_target(kind, x, eps, alpha, sigma)
        back = to_x(kind, target, z, alpha, sigma)
        rows = slice(0, 3) if kind == "eps" else slice(None)  # at t near 1 eps is divided by next to nothing
        assert torch.allclose(back[rows], x[rows], atol=1e-5)
        rows = slice(1, None) if kind == "x" else slice(None)  # at t near 0 x is divided by next to nothing
        assert torch.allclose(to_eps(kind, target, z, alpha, sigma)[rows], eps[rows], atol=1e-5)


@each_schedule
def test_one_half_of_the_times_lies_below_one_half(schedule):
    u = torch.linspace(0, 1 - 2**-24, 4001)
    t = schedule.draw_times(u)
    assert t.max() <= 1
    assert t.min() >= 0
    assert t.mean().item() == pytest.approx(0.5, abs=0.001)


def test_the_mean_of_sixteen_pixels_has_under_a_shift_the_noise_of_one_without():
    # Hoogeboom et al. 2023, section 3.1: averaging d x d pixels of one value divides sigma^2 by d^2.
    t, side = torch.linspace(0.01, 0.99, 99, dtype=torch.float64), 4
    alpha, sigma = CosineSchedule(shift=2 * math.log(1 / side)).alpha_sigma(t)
    plain_alpha, plain_sigma = CosineSchedule().alpha_sigma(t)
    assert torch.allclose(alpha / (sigma / side), plain_alpha / plain_sigma, rtol=1e-12)


def test_the_straight_path_is_a_line_from_x_to_noise_which_the_network_sees_as_it_is():
    schedule, t = StraightSchedule(), torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    alpha, sigma = schedule.alpha_sigma(t)
    assert alpha.tolist() == [1.0, 0.75, 0.0]
    assert sigma.tolist() == [0.0, 0.25, 1.0]
    assert schedule.network_time(t).tolist() == [0.0, 250.0, 1000.0]
    x, eps = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(schedule.add_noise(x, eps, t), x + t[:, None] * (eps - x), rtol=1e-12)


def test_shifts_multiply_and_the_inverse_takes_one_back():
    t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    for a, b in ((2.0, 3.0), (4.0, 0.25)):
        once = StraightSchedule(a).alpha_sigma(t)[1]  # the share of noise is a time of the plain schedule
        twice, product = (StraightSchedule(c).alpha_sigma(u)[1] for c, u in ((b, once), (a * b, t)))
        assert torch.allclose(twice, product, rtol=1e-12)
    # the frames of a clip that are alike, and the cosine schedule's shift of as much
    lower = StraightSchedule().log_snr(t) - StraightSchedule(4.0).log_snr(t)
    assert torch.allclose(lower, torch.full_like(t, 2 * math.log(4)), rtol=1e-12)


@each_schedule
def test_conversions_are_exact_in_fp64_whatever_alpha_and_sigma(schedule):
    generator = torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    t = torch.tensor([0.02, 0.1, 0.5, 0.8, 0.98], dtype=torch.float64)
    alpha, sigma = schedule.alpha_sigma(t, 2)
    z = alpha * x + sigma * eps
    for kind in ("x", "v", "eps", "flow"):
        target = prediction_target(kind, x, eps, alpha, sigma)
        for found, true in (
            (to_x(kind, target, z, alpha, sigma), x),
            (to_eps(kind, target, z, alpha, sigma), eps),
        ):
            assert torch.allclose(found, true, rtol=0, atol=2e-12 / min(alpha.min(), sigma.min())), kind


def test_a_shift_between_two_is_that_of_each_at_its_end():
    # Hoogeboom et al. 2023: log SNR = t times that of one shift + (1 - t) times that of another.
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    one, other = CosineSchedule(shift=-2.0).log_snr(t), CosineSchedule(shift=0.5).log_snr(t)
    both = CosineSchedule(shift=-2.0, shift_at_0=0.5).log_snr(t)
    assert torch.allclose(both, t * one + (1 - t) * other, rtol=1e-12)


def test_every_index_is_drawn_equally_often():
    schedule = LinearSchedule(num_train_steps=10)
    index = schedule.index(schedule.draw_times((torch.arange(1000) + 0.5) / 1000))
    assert index.bincount().tolist() == [100] * 10
    assert schedule.draw_times(torch.tensor([1 - 2**-24])).item() == 1


def test_index_and_time_are_the_same_thing_for_every_index():
    schedule = ScaledLinearSchedule()
    index = torch.arange(1000)
    t = schedule.times(1000).flip(0)[1:]
    assert torch.equal(schedule.index(t), index)
    assert torch.allclose(schedule.alpha_sigma(t.double())[0] ** 2, schedule.alpha_bar, rtol=1e-12)
    alpha, sigma = schedule.alpha_sigma(torch.zeros(1))
    assert (alpha.item(), sigma.item()) == (1, 0)


@each_schedule
@pytest.mark.parametrize("grid", ["trailing", "linspace", "solver", "leading", "pvdm", "ldm"])
@pytest.mark.parametrize("num_steps", [1, 7, 50, 400, 999])
def test_a_grid_descends_without_repeating_a_time(schedule, grid, num_steps):
    if grid not in schedule.grids:
        kinds = "trailing, linspace, solver"
        with pytest.raises(ValueError, match=f"grid of .*Schedule must be one of {kinds}, got '{grid}'"):
            schedule.times(num_steps, grid)
        return
    if grid == "ldm" and num_steps == 999:
        with pytest.raises(ValueError, match="asks for index 1000 of 1000"):
            schedule.times(num_steps, grid)
        return
    times = schedule.times(num_steps, grid)
    assert times.dtype == torch.float32
    assert (times[1:] < times[:-1]).all()
    assert times[0] <= 1
    if grid == "ldm":
        assert times[-1].item() == pytest.approx(0.001)
    else:
        assert len(times) == num_steps + 1
        assert times[-1] == 0
    if grid in ("trailing", "linspace", "pvdm"):
        assert times[0] == 1


@pytest.mark.parametrize("num_steps", [10, 25, 50, 100, 128, 200, 250, 333, 400, 500, 1000])
def test_the_pvdm_grid_is_that_of_the_published_code(num_steps):
    published = torch.linspace(-1, 999, num_steps + 1).int().tolist()[::-1]
    times = ScaledLinearSchedule().times(num_steps, "pvdm")
    assert [round(1000 * t) - 1 for t in times.tolist()] == published


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CosineSchedule(5, 5), "log_snr_min must lie below log_snr_max"),
        (lambda: CosineSchedule(shift=math.inf), "shift must be finite, got inf"),
        (lambda: CosineSchedule(shift_at_0=math.nan), "shift_at_0 must be finite, got nan"),
        (lambda: CosineSchedule(shift=6.3, shift_at_0=0), r"shift must lie below shift_at_0 \+ 6.28"),
        (lambda: StraightSchedule(shift=0.0), "shift must be above 0 and finite"),
        (lambda: StraightSchedule(smallest_time=1.0), r"smallest_time must lie in \(0, 1\), got 1.0"),
        (lambda: CosineSchedule().times(0), "num_steps must be at least 1, got 0"),
        (
            lambda: LinearSchedule().times(10, "karras"),
            "must be one of trailing, linspace, solver, leading, pvdm, ldm, got 'karras'",
        ),
        (
            lambda: LinearSchedule().times(1001),
            r"num_steps must be at most num_train_steps \(1000\), got 1001",
        ),
        (lambda: LinearSchedule().times(1001, "ldm"), "num_steps must be at most"),
        (lambda: LinearSchedule().times(300, "ldm"), "num_steps 300 asks for index 1000 of 1000"),
        (lambda: LinearSchedule(beta_end=1.5), r"betas must lie in \(0, 1\)"),
        (lambda: ScaledLinearSchedule(beta_start=-0.1), "beta_start must lie in"),
        (lambda: DiscreteCosineSchedule(num_train_steps=0), "num_train_steps must be at least 2, got 0"),
        (lambda: LinearSchedule(num_train_steps=1), "num_train_steps must be at least 2, got 1"),
    ],
)
def test_a_wrong_argument_is_refused(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@each_schedule
def test_casts_of_the_model_do_not_touch_the_table(schedule):
    t = torch.tensor([0.001, 0.3, 0.999])
    module = nn.ModuleDict({"schedule": copy.deepcopy(schedule)}).to(torch.bfloat16)
    assert torch.equal(module["schedule"].log_snr(t), schedule.log_snr(t))
    assert not module.state_dict()


def test_a_schedule_can_be_built_beside_a_network_on_the_meta_device():
    with torch.device("meta"):
        schedule = ScaledLinearSchedule(zero_terminal_snr=True)
    assert schedule.alpha_bar[0].item() == pytest.approx(0.9985)
    assert schedule.times(10).device.type == "cpu"
