"""Samplers of higher order and stochastic ones: measured orders, golden numbers, published loops written once more."""

import itertools
import math
from unittest import mock

import pytest
import torch

from closed_forms import GaussianDenoiser, MixtureDenoiser, exact_flow, sampled_variance
from videodiff.diffusion import (
    Condition,
    CosineSchedule,
    DDIMSampler,
    DPMSolverPP2MSampler,
    EDMSampler,
    EDMSchedule,
    FlowSDESampler,
    HeunSampler,
    LogNormalTimes,
    NetworkDenoiser,
    StraightSchedule,
    UniPCSampler,
    diffusion_loss,
    to_x,
)

VP, STRAIGHT = CosineSchedule(), StraightSchedule()
MIXTURE = (0.3, 0.7), (-1.0, 0.8), (0.25, 0.25)
NONE = Condition()


def on_log_ratio(sampler, schedule=VP, begin=-4.0, end=4.0):
    """The sampler with equal steps of lambda = log(alpha / sigma)."""
    ratio = torch.linspace(begin, end, sampler.num_steps + 1, dtype=torch.float64)
    times = schedule.time_of(2 * ratio)
    sampler.times = lambda schedule: times
    return sampler


def unipc(order, variant="bh2", lower=False):
    return lambda n: UniPCSampler(n, order, variant, lower)


@pytest.mark.parametrize(
    ("make", "order"),
    [
        (DDIMSampler, 1.0),
        (DPMSolverPP2MSampler, 2.0),
        (HeunSampler, 2.0),
        (EDMSampler, 2.0),
        *((unipc(p, b), order) for b in ("bh1", "bh2") for p, order in ((1, 2.0), (2, 3.0), (3, 3.9))),
        (unipc(3, lower=True), 2.0),
    ],
)
def test_the_error_falls_with_the_steps_to_the_power_of_the_order(make, order):
    z = torch.linspace(-3, 3, 401, dtype=torch.float64)[:, None]
    denoiser = MixtureDenoiser(VP, *MIXTURE)
    begin, end = (VP.time_of(torch.tensor([2.0 * ratio])).item() for ratio in (-4, 4))
    exact = exact_flow(denoiser, z, begin, end)
    errors = [
        (on_log_ratio(make(n)).sample(denoiser, VP, z, NONE) - exact).square().mean().sqrt().item()
        for n in (160, 640)
    ]
    assert math.log(errors[0] / errors[1], 4) == pytest.approx(order, abs=0.15)


def test_ten_steps_of_unipc_on_a_gaussian_give_the_golden_numbers():
    z, denoiser = torch.full((1, 1), 1.3, dtype=torch.float64), GaussianDenoiser(VP, 0.7, 0.5)
    for lower, golden in ((False, 1.3428824774), (True, 1.3788236036)):
        found = on_log_ratio(UniPCSampler(10, 3, "bh2", lower)).sample(denoiser, VP, z, NONE)
        assert found.item() == pytest.approx(golden, abs=1e-9)


def test_a_predictor_of_order_two_without_corrections_is_dpm_solver():
    z, denoiser = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None], MixtureDenoiser(VP, *MIXTURE)
    predictor = UniPCSampler(12, 2, "bh2")
    predictor._weights = lambda known, end: (UniPCSampler._weights(predictor, known, end)[0], [])
    dpm = DPMSolverPP2MSampler(12, grid="trailing")  # on the solver grid it ends low too, in the same way
    for sampler, other in ((predictor, dpm), (predictor, DPMSolverPP2MSampler(12))):
        if other is dpm:
            sampler, other = on_log_ratio(predictor), on_log_ratio(dpm)
        else:
            del predictor.times
        ours, theirs = (s.sample(denoiser, VP, z, NONE) for s in (sampler, other))
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "make", [DDIMSampler, DPMSolverPP2MSampler, EDMSampler, unipc(3), unipc(2, "bh1", True)]
)
def test_equal_steps_of_lambda_take_z_over_alpha_to_the_same_place_on_every_path(make):
    ends = []
    y = torch.linspace(-60, 60, 9, dtype=torch.float64)[:, None]  # z / alpha at r = e^4
    for schedule in (CosineSchedule(), StraightSchedule(), StraightSchedule(3.0)):
        sampler = on_log_ratio(make(12), schedule)
        if make is EDMSampler:  # which refuses to begin at t = 1 of the straight path, and need not here
            schedule.has_zero_terminal_snr = lambda: False
        t = sampler.times(schedule)
        scale = schedule.alpha_sigma(t[[0, -1]])[0]
        z = sampler.sample(MixtureDenoiser(schedule, *MIXTURE), schedule, scale[0] * y, NONE)
        ends.append(z / scale[1])
    for other in ends[1:]:
        assert torch.allclose(other, ends[0], rtol=0, atol=1e-12 * 60)


# --- EDM ----------------------------------------------------------------------------------------------------------


def test_edms_preconditioning_is_v_prediction_of_data_in_units_of_their_deviation():
    d, t = 0.5, torch.linspace(0, 1, 11, dtype=torch.float64)
    schedule, source = EDMSchedule(sigma_data=d), torch.Generator().manual_seed(0)
    y, f = torch.randn(2, 11, 3, generator=source, dtype=torch.float64)
    alpha, sigma = schedule.alpha_sigma(t, 2)
    r = ((0.002 ** (1 / 7) + t * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7).view(-1, 1)
    total = r**2 + d**2
    published = d**2 / total * y + r * d / total.sqrt() * f  # c_skip y + c_out F
    ours = d * to_x("v", -f, y / total.sqrt(), alpha * d, sigma)  # c_in y is what the network sees
    assert torch.allclose(ours, published, rtol=1e-12, atol=1e-12)
    assert torch.allclose(alpha * y, y / total.sqrt(), rtol=1e-12)
    assert torch.allclose(schedule.network_time(t), r[:, 0].log() / 4, rtol=1e-10)
    net = NetworkDenoiser(lambda z, *_: -f, schedule, "v")
    assert torch.allclose(net(y * alpha, t, NONE), published, rtol=1e-12, atol=1e-12)


def test_edms_loss_is_its_weighted_error_of_the_denoiser():
    """1 / c_out^2 times the squared error of D is that of F, unweighted."""
    schedule, source = EDMSchedule(), torch.Generator().manual_seed(0)
    x, n, u = torch.randn(3, 50, 4, generator=source, dtype=torch.float64)
    t = LogNormalTimes().draw(torch.special.ndtr(u[:, 0]), schedule)
    r = (-0.5 * schedule.log_snr(t)).exp()[:, None]
    c_out = 0.5 * r / (r**2 + 0.25).sqrt()
    denoised = 0.25 / (r**2 + 0.25) * (x + r * n) + c_out * 0.3  # F = 0.3 everywhere
    wanted = ((denoised - x) / c_out).square().mean(1)
    found = diffusion_loss(lambda z, *_: torch.full_like(z, -0.3), schedule, x, n, t, NONE, "v")
    assert torch.allclose(found, wanted, rtol=1e-9)


def algorithm_2(denoise, r, y, noises, churn, churn_from, churn_to, noise_scale):
    """Karras et al. 2022, as printed."""
    steps = len(r) - 1
    for i in range(steps):
        g = min(churn / steps, math.sqrt(2) - 1) if churn_from <= r[i] <= churn_to else 0
        up = r[i] + g * r[i]
        if g > 0:
            y = y + (up**2 - r[i] ** 2).sqrt() * noise_scale * noises.pop(0)
        slope = (y - denoise(y, up)) / up
        after = y + (r[i + 1] - up) * slope
        if r[i + 1] > 0:
            after = y + (r[i + 1] - up) * (slope + (after - denoise(after, r[i + 1])) / r[i + 1]) / 2
        y = after
    return y


@pytest.mark.parametrize("churn", [0.0, 4.0, 40.0])
def test_the_edm_sampler_is_the_printed_algorithm(churn):
    how = {"churn": churn, "churn_from": 0.05, "churn_to": 50.0, "noise_scale": 1.003}
    source = torch.Generator().manual_seed(0)
    y, *noises = torch.randn(19, 5, 2, generator=source, dtype=torch.float64)
    for schedule in (EDMSchedule(), EDMSchedule(sigma_data=1.0), CosineSchedule(-8.7, 12.0)):
        sampler = EDMSampler(18, **how)
        times = sampler.times(schedule).double()
        r = (-0.5 * schedule.log_snr(times)).exp()
        r[-1] = 0
        alpha, _ = schedule.alpha_sigma(times)
        start = r[0] * y
        theirs = algorithm_2(lambda y, r: 0.3 + 0.25 / (0.25 + r**2) * (y - 0.3), r, start, [*noises], **how)
        with mock.patch("videodiff.diffusion.sampler.normal_like", side_effect=[*noises]):
            ours = sampler.sample(GaussianDenoiser(schedule, 0.3, 0.5), schedule, alpha[0] * start, NONE)
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-9)


def test_the_edm_sampler_says_where_it_cannot_begin():
    with pytest.raises(ValueError, match="alpha is 0 at t = 1 of StraightSchedule; HeunSampler can begin"):
        EDMSampler(10).plan(STRAIGHT)
    with pytest.raises(ValueError, match="churn must be at least 0, got -1"):
        EDMSampler(10, churn=-1)
    with pytest.raises(ValueError, match="sigma_min must lie in"):
        EDMSchedule(sigma_min=90.0)
    with pytest.raises(ValueError, match="sigma_data must be above 0"):
        EDMSchedule(sigma_data=0.0)
    with pytest.raises(ValueError, match=r"this schedule takes data by 0\.5: leave clamp out"):
        diffusion_loss(
            lambda z, *_: z, EDMSchedule(), *torch.zeros(2, 1, 1), torch.ones(1), NONE, "x", clamp=True
        )


# --- the stochastic flow ------------------------------------------------------------------------------------------


def test_the_stochastic_flow_without_noise_is_ddim():
    denoiser = MixtureDenoiser(VP, *MIXTURE)
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    sampler, ddim = FlowSDESampler(20, amount=0.0), DDIMSampler(20)
    ddim.times = sampler.times
    a, b = (s.sample(denoiser, VP, z, NONE) for s in (sampler, ddim))
    assert torch.allclose(a, b, rtol=0, atol=1e-4)  # alpha(0) is not quite 1


def test_the_stochastic_flow_takes_the_published_steps_on_the_straight_path():
    denoiser, source = GaussianDenoiser(STRAIGHT, 0.3, 0.5), torch.Generator().manual_seed(0)
    z, *noises = torch.randn(6, 4, 1, generator=source, dtype=torch.float64)
    with mock.patch("videodiff.diffusion.sampler.normal_like", side_effect=[*noises]):
        ours = FlowSDESampler(6).sample(denoiser, STRAIGHT, z, NONE)
    times = FlowSDESampler(6).times(STRAIGHT).double()
    for k, (t, s) in enumerate(itertools.pairwise(times)):
        x = denoiser(z, t.expand(4), NONE)
        eps = (z - (1 - t) * x) / t
        h = t - s
        z = z - h * (eps - x) - h * t * (eps / t)  # drift: velocity, less t times the score
        if k < 5:
            z = z + (2 * t * h).sqrt() * noises[k]
    assert torch.allclose(ours, z, rtol=0, atol=1e-12)


@pytest.mark.parametrize("schedule", [VP, STRAIGHT], ids=["cosine", "straight"])
def test_the_stochastic_flow_keeps_the_variance_in_the_limit_of_many_steps(schedule):
    errors = [
        abs(sampled_variance(FlowSDESampler(n, last_time=1e-3), schedule, 0.25) - 0.25) for n in (100, 400)
    ]
    assert errors[1] < 0.4 * errors[0] < 0.03
