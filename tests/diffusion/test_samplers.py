import itertools

import pytest
import torch

from closed_forms import ClosedFormNetwork, GaussianDenoiser, MixtureDenoiser, sampled_variance
from videodiff.diffusion import (
    AncestralSampler,
    Condition,
    CosineSchedule,
    DDIMSampler,
    DiscreteCosineSchedule,
    DPMSolverPP2MSampler,
    FlowSDESampler,
    HeunSampler,
    LangevinSampler,
    LinearSchedule,
    NetworkDenoiser,
    ScaledLinearSchedule,
    StraightSchedule,
    Threshold,
    UniPCSampler,
)

SCHEDULES = {
    "cosine": CosineSchedule(),
    "cosine10": CosineSchedule(-10, 10),
    "shifted": CosineSchedule(shift=-2.7726),
    "shift_between": CosineSchedule(shift=-2.7726, shift_at_0=0.0),
    "scaled_linear": ScaledLinearSchedule(),
    "linear": LinearSchedule(),
    "discrete_cosine": DiscreteCosineSchedule(),
    "zero_terminal": ScaledLinearSchedule(zero_terminal_snr=True),
    "straight": StraightSchedule(),
}
SAMPLERS = {
    "ancestral_0": lambda n: AncestralSampler(n, 0.0),
    "ancestral_1": lambda n: AncestralSampler(n, 1.0),
    "ddim_0": lambda n: DDIMSampler(n, 0.0),
    "ddim_1": lambda n: DDIMSampler(n, 1.0),
    "dpm": DPMSolverPP2MSampler,
    "langevin": lambda n: LangevinSampler(AncestralSampler(n)),
    "heun": HeunSampler,
    "unipc_3": UniPCSampler,
    "unipc_2_bh1": lambda n: UniPCSampler(n, order=2, variant="bh1", grid="trailing"),
}
FEW_STEPS = {"heun": 50, "unipc_3": 60, "unipc_2_bh1": 60}  # of higher order: as close as 500 of the others
SMOOTH = ("cosine", "straight", "discrete_cosine")  # which few steps suffice for
NONE = Condition()


def generators(num, start=0):
    return [torch.Generator().manual_seed(seed) for seed in range(start, start + num)]


def mixtures():
    """Every sampler on the cosine schedule, one of first order by turns on each other one; other pairs are slow."""
    many_steps = [name for name in SAMPLERS if name not in FEW_STEPS]
    for number, path in enumerate(SCHEDULES):
        for name in SAMPLERS if path in SMOOTH else many_steps:
            is_in_suite = (
                path == "cosine" or name in FEW_STEPS or name == many_steps[number % len(many_steps)]
            )
            yield pytest.param(path, name, marks=() if is_in_suite else pytest.mark.slow)


def draw(sampler, denoiser, shape, generator=None):
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    return sampler.sample(denoiser, denoiser.schedule, noise, NONE, generator)


@pytest.mark.parametrize(
    ("name", "at_128", "at_32"),
    [
        ("ancestral_0", 0.2361, 0.2055),
        ("ancestral_1", 0.2538, 0.2622),
        ("ddim_0", 0.2440, 0.2270),
        ("ddim_1", 0.2361, 0.2050),
        ("dpm", 0.2497, 0.2537),
        ("langevin", 0.2399, 0.2104),
    ],
)
def test_the_variance_of_a_gaussian_is_that_of_an_independent_simulation(name, at_128, at_32):
    # the figures were sampled, with a standard error of 0.0006; ours are exact
    for num_steps, figure in ((128, at_128), (32, at_32)):
        exact = sampled_variance(SAMPLERS[name](num_steps), SCHEDULES["cosine"], 0.25)
        assert exact == pytest.approx(figure, abs=0.0025)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_variance_of_a_gaussian_is_right_in_the_limit_of_many_steps(schedule, name):
    errors = [abs(sampled_variance(SAMPLERS[name](n), schedule, 0.25) - 0.25) for n in (125, 500)]
    assert errors[1] < max(0.4 * errors[0], 0.001)
    assert errors[1] < 0.015


def test_the_loop_makes_what_the_plan_says():
    schedule = SCHEDULES["cosine"]
    for name, make in SAMPLERS.items():
        x = draw(
            make(32), GaussianDenoiser(schedule, 0.0, 0.5), (40_000, 1), torch.Generator().manual_seed(1)
        )
        # standard error of a sampled variance: sqrt(2 / n) = 0.7 %
        assert x.var().item() == pytest.approx(sampled_variance(make(32), schedule, 0.25), rel=0.03), name
        assert x.mean().item() == pytest.approx(0, abs=0.012), name


@pytest.mark.parametrize(("path", "name"), mixtures())
def test_a_mixture_comes_back_with_its_weights_means_and_deviations(path, name):
    schedule = SCHEDULES[path]
    weights, means, stds = (0.3, 0.7), (-0.8, 0.6), (0.2, 0.2)
    denoiser = MixtureDenoiser(schedule, weights, means, stds)
    x = draw(SAMPLERS[name](FEW_STEPS.get(name, 500)), denoiser, (6000, 1), torch.Generator().manual_seed(2))
    modes = x[x < -0.1], x[x >= -0.1]  # 3.5 deviations from either mean
    # 6000 samples: standard errors 0.006 (weight), 0.005 (mean), 1.7 % (deviation); steps of first order narrow a mode
    # by up to 7 % at 500 steps of the scaled-linear schedule
    for mode, weight, mean, std in zip(modes, weights, means, stds, strict=True):
        assert len(mode) / len(x) == pytest.approx(weight, abs=0.025)
        assert mode.mean().item() == pytest.approx(mean, abs=0.02)
        assert mode.std().item() == pytest.approx(std, rel=0.1)


def test_ddim_with_eta_1_is_ancestral_sampling_with_gamma_0():
    for schedule in SCHEDULES.values():
        denoiser = GaussianDenoiser(schedule, 0.3, 0.5)
        a = draw(DDIMSampler(20, eta=1.0), denoiser, (50, 2), torch.Generator().manual_seed(3))
        b = draw(AncestralSampler(20), denoiser, (50, 2), torch.Generator().manual_seed(3))
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_ddim_is_eulers_method_of_the_flow_on_every_schedule(schedule):
    """With y = z / (alpha + sigma) and theta = sigma / (alpha + sigma): y_s = y_t + (theta_s - theta_t) (eps - x)."""
    denoiser = MixtureDenoiser(schedule, (0.3, 0.7), (-0.8, 0.6), (0.2, 0.4))
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    ours = DDIMSampler(12).sample(denoiser, schedule, z, NONE)
    for t, s in itertools.pairwise(schedule.times(12).double()):
        (alpha, sigma), (alpha_s, sigma_s) = schedule.alpha_sigma(t[None]), schedule.alpha_sigma(s[None])
        x = denoiser(z, t.expand(len(z)), NONE)
        y, theta = z / (alpha + sigma), sigma / (alpha + sigma)
        y = y + (sigma_s / (alpha_s + sigma_s) - theta) * ((z - alpha * x) / sigma - x)
        z = (alpha_s + sigma_s) * y
    assert torch.allclose(ours, x, rtol=0, atol=1e-12)  # the last step, to clean data, is x
    if alpha_s == 1:
        assert torch.allclose(ours, z, rtol=0, atol=1e-12)


def test_first_order_dpm_steps_are_ddim_steps():
    # two and three calls are too few for a step of second order; DDIM visits the same times on the linspace grid
    schedule = SCHEDULES["scaled_linear"]
    denoiser = MixtureDenoiser(schedule, (0.5, 0.5), (-0.5, 0.5), (0.1, 0.1))
    for num_steps in (1, 2, 3):
        a = draw(DPMSolverPP2MSampler(num_steps), denoiser, (50, 2))
        b = draw(DDIMSampler(num_steps, grid="linspace"), denoiser, (50, 2))
        assert torch.allclose(a, b, atol=1e-5)


def test_few_dpm_steps_come_closer_than_few_ddim_steps():
    for schedule in SCHEDULES.values():
        errors = [
            abs(sampled_variance(make(25), schedule, 0.25) - 0.25)
            for make in (DPMSolverPP2MSampler, DDIMSampler)
        ]
        assert errors[0] < errors[1]


@pytest.mark.parametrize("prediction", ["x", "v", "eps", "flow"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_perfect_network_of_any_prediction_is_the_closed_form(schedule, prediction):
    if prediction == "eps" and schedule.has_zero_terminal_snr():
        with pytest.raises(ValueError, match="prediction 'eps' cannot be used where alpha is 0"):
            NetworkDenoiser(lambda *_: None, schedule, prediction)
        return
    closed_form = GaussianDenoiser(schedule, 0.2, 0.5)
    network = NetworkDenoiser(ClosedFormNetwork(closed_form, prediction), schedule, prediction)
    for name, make in SAMPLERS.items():
        a = draw(make(5), network, (20, 2), torch.Generator().manual_seed(4))
        b = draw(make(5), closed_form, (20, 2), torch.Generator().manual_seed(4))
        assert a.isfinite().all()
        # at t = 1 eps is divided by alpha, 4.5e-5 at least: fp32 rounding alone makes 1e-2 there
        of_eps = 0.1 if name in FEW_STEPS else 3e-2  # which the first estimate goes into more than once
        assert torch.allclose(a, b, atol=of_eps if prediction == "eps" else 5e-4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_leaves_the_global_generator_alone(name):
    denoiser = GaussianDenoiser(SCHEDULES["cosine"], 0.0, 0.5)
    for generator in (torch.Generator().manual_seed(0), generators(4)):
        before = torch.get_rng_state()
        draw(SAMPLERS[name](5), denoiser, (4, 1, 3), generator)
        assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", SAMPLERS)
def test_with_a_generator_each_a_sample_does_not_depend_on_its_batch(name):
    schedule = SCHEDULES["cosine"]
    denoiser, sampler = GaussianDenoiser(schedule, 0.1, 0.5), SAMPLERS[name](6)
    noise = torch.randn(5, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    together = sampler.sample(denoiser, schedule, noise, NONE, generators(5))
    alone = [sampler.sample(denoiser, schedule, noise[i : i + 1], NONE, generators(1, i)) for i in range(5)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)
    with pytest.raises(ValueError, match="one per sample: 4 samples, got 3"):
        AncestralSampler(6).sample(denoiser, schedule, noise[:4], NONE, generators(3))


@pytest.mark.parametrize(
    ("sampler", "calls"),
    [
        (AncestralSampler(7), 7),
        (DDIMSampler(7), 7),
        (DPMSolverPP2MSampler(7), 7),
        (DPMSolverPP2MSampler(1), 1),
        (HeunSampler(7), 13),
        (HeunSampler(1), 1),
        (UniPCSampler(7), 7),
        (UniPCSampler(1), 1),
        (FlowSDESampler(7), 7),
        (LangevinSampler(AncestralSampler(7)), 13),
        (DDIMSampler(400, grid="ldm"), 500),
        (DDIMSampler(50, grid="pvdm"), 50),
    ],
)
def test_the_number_of_network_calls_and_their_times(sampler, calls):
    schedule, seen, reported = SCHEDULES["scaled_linear"], [], []

    def denoiser(z, t, cond):
        assert t.shape == (2,)
        seen.append(t[0].item())
        return 0 * z

    sampler.sample(denoiser, schedule, torch.randn(2, 1), NONE, progress=lambda *at: reported.append(at))
    assert len(seen) == calls
    assert reported == [(k + 1, calls) for k in range(calls)]
    assert seen == sorted(seen, reverse=True)
    if isinstance(sampler, DPMSolverPP2MSampler):
        assert seen[-1] == pytest.approx(1.0 if calls == 1 else 0.001)
    if isinstance(sampler, (LangevinSampler, HeunSampler)):
        assert seen[1::2] == seen[2::2]  # the corrector is called at the new time, where the next step begins


def test_the_ldm_grid_ends_at_its_first_index_with_the_noise_of_that():
    schedule = SCHEDULES["scaled_linear"]
    x = draw(DDIMSampler(50, grid="ldm"), GaussianDenoiser(schedule, 0.4, 1e-4), (20_000, 1))
    assert x.std().item() == pytest.approx((1 - 0.9985) ** 0.5, rel=0.03)  # 0.0387: sqrt(1 - alpha_bar_0)
    clean = draw(DDIMSampler(50, grid="pvdm"), GaussianDenoiser(schedule, 0.4, 1e-4), (1000, 1))
    assert clean.std().item() < 1e-3


def test_recompute_eps_off_is_the_published_pvdm_loop():
    schedule = ScaledLinearSchedule(1000, 0.0015, 0.0195)
    inner = GaussianDenoiser(schedule, 0.3, 1.2)
    z = torch.randn(100, 2, generator=torch.Generator().manual_seed(9))
    times = torch.linspace(-1, 999, 11).int().tolist()[::-1]
    for i, j in itertools.pairwise(times):
        now = schedule.alpha_bar[i].float()
        x = inner(z, torch.full((100,), (i + 1) / 1000), NONE)
        eps = (z - now.sqrt() * x) / (1 - now).sqrt()
        x = x.clamp(-1, 1)
        after = schedule.alpha_bar[j].float() if j >= 0 else None
        z = x if after is None else after.sqrt() * x + (1 - after).sqrt() * eps
    sampler = DDIMSampler(10, grid="pvdm", recompute_eps=False)
    denoiser = Threshold(inner)
    denoiser.schedule = schedule
    assert torch.allclose(draw(sampler, denoiser, (100, 2)), z, atol=1e-5)
    # before the last clipping the two ways differ
    a, b = (draw(DDIMSampler(10, 0.0, "ldm", recompute), denoiser, (100, 2)) for recompute in (True, False))
    assert not torch.allclose(a, b, atol=1e-2)


class LinearNetwork(torch.nn.Linear):
    def forward(self, z, time, cond):
        assert z.dtype == cond.vector.dtype == self.weight.dtype
        assert time.dtype == torch.float32
        return super().forward(z)


def test_the_state_stays_fp32_where_network_and_noise_are_bf16():
    schedule, noise = SCHEDULES["cosine"], torch.randn(2, 3).bfloat16()
    denoiser = NetworkDenoiser(LinearNetwork(3, 3).bfloat16(), schedule, "v")
    x = DDIMSampler(4).sample(denoiser, schedule, noise, Condition(vector=torch.ones(2, 3)))
    assert x.dtype == torch.float32
    assert x.isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AncestralSampler(0), "num_steps must be at least 1, got 0"),
        (lambda: AncestralSampler(5, gamma=1.5), r"gamma must lie in \[0, 1\], got 1.5"),
        (lambda: AncestralSampler(5, gamma=-0.1), r"gamma must lie in \[0, 1\]"),
        (lambda: DDIMSampler(5, eta=-1.0), r"eta must lie in \[0, 1\], got -1.0"),
        (lambda: LangevinSampler(AncestralSampler(5), delta=-0.1), "delta must lie in"),
        (lambda: LangevinSampler(DPMSolverPP2MSampler(5)), "got DPMSolverPP2MSampler"),
        (lambda: LangevinSampler(UniPCSampler(5)), "got UniPCSampler"),
        (lambda: UniPCSampler(5, order=4), "order must be 1, 2 or 3, got 4"),
        (lambda: UniPCSampler(5, variant="bh3"), "variant must be bh1 or bh2, got 'bh3'"),
        (lambda: FlowSDESampler(5, amount=-1.0), "amount must be at least 0, got -1.0"),
        (lambda: FlowSDESampler(5, last_time=0.0), r"last_time must lie in \(0, 1\), got 0.0"),
    ],
)
def test_a_wrong_argument_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_steps_of_langevin_sampling_are_those_of_its_predictor():
    sampler = LangevinSampler(AncestralSampler(5))
    sampler.num_steps = 3
    assert sampler.predictor.num_steps == sampler.num_steps == 3
    assert len(sampler.plan(SCHEDULES["cosine"]).times) == 5
