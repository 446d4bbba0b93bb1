"""Samplers that start late or take steps twice: closed forms of a Gaussian, and what must not change."""

import pytest
import torch

from closed_forms import CorrelatedDenoiser, GaussianDenoiser, sampled_variance
from videodiff.diffusion import (
    AncestralSampler,
    Condition,
    CosineSchedule,
    DDIMSampler,
    DPMSolverPP2MSampler,
    EDMSampler,
    HeunSampler,
    LangevinSampler,
    Replacement,
    ScaledLinearSchedule,
    UniPCSampler,
)

NONE, MEAN, STD = Condition(), 0.3, 0.5
SAMPLERS = {
    "ancestral": AncestralSampler(200),
    "ddim": DDIMSampler(200),
    "dpmpp": DPMSolverPP2MSampler(25),
    "langevin": LangevinSampler(AncestralSampler(200)),
    "heun": HeunSampler(50),
    "edm": EDMSampler(50, churn=10.0),
    "unipc": UniPCSampler(25),
}
SCHEDULES = {"cosine": CosineSchedule(), "discrete": ScaledLinearSchedule()}


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def noised(x, schedule, time, seed=1):
    noise = torch.randn(x.shape, generator=source(seed))
    return schedule.add_noise(x, noise, torch.full((len(x),), time, dtype=torch.float64)).float()


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("start", [0.3, 0.5, 0.77])
def test_noised_data_become_data_again_from_any_time(sampler, schedule, start):
    # Exact, not drawn. A late start makes fewer of the same steps, so it is no further off than all of them are.
    whole, late = (sampled_variance(sampler, schedule, STD**2, begin) for begin in (1.0, start))
    assert late == pytest.approx(STD**2, abs=abs(whole - STD**2) + 2e-3)
    assert late == pytest.approx(STD**2, rel=0.2)


@pytest.mark.parametrize("start", [0.2, 0.5, 0.8])
def test_one_video_noised_to_a_level_becomes_the_gaussian_that_follows_from_it(start):
    # Without fresh noise z_t -> x is affine: x - mean = std / sqrt(alpha^2 std^2 + sigma^2) (z_t - alpha mean).
    schedule, x = SCHEDULES["cosine"], torch.full((20_000, 1), 1.2)
    alpha, sigma = (v.item() for v in schedule.alpha_sigma(torch.tensor(start)))
    gain = STD / (alpha**2 * STD**2 + sigma**2) ** 0.5
    drawn = DDIMSampler(200).sample(
        GaussianDenoiser(schedule, MEAN, STD), schedule, noised(x, schedule, start), NONE, start=start
    )
    assert drawn.mean().item() == pytest.approx(MEAN + gain * alpha * (1.2 - MEAN), abs=0.01)
    assert drawn.std().item() == pytest.approx(gain * sigma, abs=0.01)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_times_begin_where_they_are_told_and_fall_in_whole_steps(sampler, schedule):
    grid = sampler.times_from(schedule, 1)
    assert torch.equal(grid, sampler.times(schedule).double())
    for start in (1e-9, 0.004, 0.5, float(grid[3]), float(grid[3]) + 1e-6, 0.9999):
        times = sampler.times_from(schedule, start)
        assert times[0] == pytest.approx(max(start, schedule.smallest_time))
        assert set(times[1:].tolist()) <= set(grid.tolist())
        steps = schedule.log_snr(times).diff()[:-1]  # the last may lead to no noise at all
        assert (steps > 0).all()
        assert len(steps) < 2 or steps[0] >= 0.45 * steps[1]
        assert sampler.plan(schedule, start).times[0] == times[0]


@pytest.mark.parametrize("start", [1.0, 0.6])
@pytest.mark.parametrize("name", ["ancestral", "ddim", "langevin"])
def test_steps_taken_again_leave_a_gaussian_what_it_is(name, start):
    sampler, schedule = SAMPLERS[name], SCHEDULES["cosine"]
    once, thrice = (sampled_variance(sampler, schedule, STD**2, start, repeats) for repeats in (1, 3))
    assert thrice == pytest.approx(STD**2, abs=4 * abs(once - STD**2) + 2e-3)
    assert thrice == pytest.approx(STD**2, rel=0.1)


def test_what_is_filled_in_comes_nearer_to_the_conditional_mean_the_oftener_steps_are_taken():
    # Two frames with correlation 0.8: given the first is 1.5, the second is N(1.2, 0.36). Replacement is approximate:
    # the mean is 0.72 with steps taken once, 1.06 with four times, 1.15 with sixteen.
    schedule, covariance = SCHEDULES["cosine"], torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    known, mask = torch.full((2000, 1, 2), 1.5), torch.tensor([True, False])
    far = {}
    for repeats in (1, 4, 16):
        noise = source(4)
        denoiser = Replacement(CorrelatedDenoiser(schedule, covariance), schedule, known, mask, noise)
        z = torch.randn(known.shape, generator=noise)
        x = AncestralSampler(50).sample(denoiser, schedule, z, NONE, noise, repeats=repeats)
        assert (x[..., 0] == 1.5).all()
        far[repeats] = 1.2 - x[..., 1].mean().item()
    assert far[16] < 0.5 * far[4] < 0.25 * far[1]


def test_repeats_of_a_sampler_that_extrapolates_are_refused():
    schedule = SCHEDULES["cosine"]
    with pytest.raises(ValueError, match="from one x_hat with a known variance, as ancestral"):
        DPMSolverPP2MSampler(5).sample(
            GaussianDenoiser(schedule, MEAN, STD), schedule, torch.zeros(1, 1), NONE, repeats=2
        )
