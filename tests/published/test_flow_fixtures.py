"""Schedules, conversions and samplers against numbers of published flow and EDM code (``fixtures/systems``)."""

import math

import pytest
import torch

from published_files import expected_of, given, needs_assets
from videodiff.diffusion import (
    Condition,
    CosineSchedule,
    DDIMSampler,
    Denoiser,
    EDMSchedule,
    HeunSampler,
    NetworkDenoiser,
    NoiseSchedule,
    StraightSchedule,
    eps_of_velocity,
    velocity,
    x_of_velocity,
)
from videodiff.diffusion.flow_scheduler_config import smallest_time_there

pytestmark = needs_assets


def fake(x, c):
    return 0.6 * torch.tanh(x) + 0.2 * torch.sin(2 * x + c)


class Watched(Denoiser):
    """A denoiser that keeps what it sees and says."""

    def __init__(self, inner):
        self.inner, self.z, self.x, self.t = inner, [], [], []

    def __call__(self, z, t, cond):
        x = self.inner(z, t, cond)
        self.z.append(z.clone()), self.x.append(x), self.t.append(t[0].item())
        return x


def close(found, expected, tolerance=1e-5):
    expected = torch.as_tensor(expected)
    largest = max(expected.abs().max().item(), 1.0)
    torch.testing.assert_close(found.to(expected.dtype), expected, rtol=0, atol=tolerance * largest)


# --- flow matching of diffusers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [1, 3])
def test_eulers_and_heuns_steps_of_flow_matching(shift):
    expected, noise = expected_of("flow_sampler"), given("noise", (2, 4, 3, 8, 8))
    schedule = StraightSchedule(shift, smallest_time=smallest_time_there(shift))
    for steps, kind, name in (
        (10, DDIMSampler, f"euler_shift{shift}_10"),
        (25, DDIMSampler, f"euler_shift{shift}_25"),
        (5, HeunSampler, f"heun_shift{shift}_5"),
    ):
        net = NetworkDenoiser(
            lambda z, time, cond: fake(z, time.view(-1, 1, 1, 1, 1) / 1000), schedule, "flow"
        )
        watched, sampler = Watched(net), kind(steps, grid="solver")
        x = sampler.sample(watched, schedule, noise, Condition())
        t = torch.tensor(watched.t)
        close(schedule.alpha_sigma(t)[1], expected[f"{name}__sigmas"][:-1])
        close(schedule.network_time(t), expected[f"{name}__timesteps"])
        if f"{name}__final" in expected:
            close(x, expected[f"{name}__final"])
        for k in (1, 2, 3):
            if f"{name}__x_{k}" in expected:
                close(watched.z[k], expected[f"{name}__x_{k}"])
    t = schedule.times(10, "solver")[[3, 7]]
    close(schedule.add_noise(given("clean", noise.shape), noise, t), expected[f"scale_noise_shift{shift}"])
    for steps in (10, 25):  # the grid as the papers have it, shifted once, is what our schedule has by itself
        once = StraightSchedule(shift)
        close(
            once.alpha_sigma(once.times(steps, "solver"))[1],
            expected[f"single_shift{shift}_{steps}__sigmas"],
            1e-7,
        )


# --- affine paths -------------------------------------------------------------------------------------------------


class Path(NoiseSchedule):
    """A path as a user states one; ``forward`` is the published time, 0 noise and 1 data."""

    def __init__(self, scales):
        super().__init__()
        self.scales = scales

    def _log_snr(self, t):
        alpha, sigma = self._scales(t)
        return 2 * (alpha.log() - sigma.log())

    def _scales(self, t):
        return self.scales(1 - t)


def vp(forward, low=0.1, high=20.0):
    back = 1 - forward
    exponent = -0.25 * back**2 * (high - low) - 0.5 * back * low
    return exponent.exp(), (1 - (2 * exponent).exp()).sqrt()


PATHS = {
    "condot": StraightSchedule(),
    "cosine": Path(lambda u: ((math.pi / 2 * u).sin(), (math.pi / 2 * u).cos())),
    "vp": Path(vp),
    "poly3": Path(lambda u: (u**3, 1 - u**3)),
    "linear_vp": Path(lambda u: (u, (1 - u**2).sqrt())),
}
SIT = {"sit_linear": "condot", "sit_gvp": "cosine", "sit_vp": "vp"}


@pytest.mark.parametrize("name", PATHS)
def test_the_velocity_of_every_path_is_converted_as_published(name):
    """Published times run from noise to data: their velocity is ours, negated."""
    expected, schedule = expected_of("flow_paths"), PATHS[name]
    z, w, x, eps = (given(n, (5, 3, 4)).double() for n in ("x_t", "velocity", "target", "epsilon"))
    t = 1 - torch.from_numpy(expected["t"])
    scales, slopes = schedule.alpha_sigma(t), schedule.slopes(t)
    for found, key, sign in (
        (scales[0], "alpha", 1), (scales[1], "sigma", 1), (slopes[0], "d_alpha", -1), (slopes[1], "d_sigma", -1),
    ):  # fmt: skip
        close(sign * found, expected[f"{name}__{key}"], 1e-10)
    (alpha, sigma), slopes = schedule.alpha_sigma(t, 3), tuple(slope.view(-1, 1, 1) for slope in slopes)
    for key, found in {
        "velocity_to_target": x_of_velocity(-w, z, alpha, sigma, slopes),
        "velocity_to_epsilon": eps_of_velocity(-w, z, alpha, sigma, slopes),
        "target_to_velocity": -velocity(x, (z - alpha * x) / sigma, slopes),
        "target_to_epsilon": (z - alpha * x) / sigma,
        "epsilon_to_velocity": -velocity((z - sigma * eps) / alpha, eps, slopes),
        "epsilon_to_target": (z - sigma * eps) / alpha,
        "sample_x_t": schedule.add_noise(x, eps, t),
        "sample_dx_t": -velocity(x, eps, slopes),
    }.items():
        close(found, expected[f"{name}__{key}"], 1e-10)


@pytest.mark.parametrize("name", SIT)
def test_score_drift_and_diffusion_are_those_of_sit(name):
    expected, schedule = expected_of("flow_paths"), PATHS[SIT[name]]
    z, w, x, eps = (given(n, (5, 3, 4)).double() for n in ("x_t", "velocity", "target", "epsilon"))
    t = 1 - torch.from_numpy(expected["t"])
    (alpha, sigma), slopes = schedule.alpha_sigma(t, 3), tuple(s.view(-1, 1, 1) for s in schedule.slopes(t))
    noise = eps_of_velocity(-w, z, alpha, sigma, slopes)
    of_score = -sigma * w  # the velocity fixture taken for a score, -eps / sigma
    for key, found in {
        "x_t": schedule.add_noise(x, eps, t),
        "u_t": -velocity(x, eps, slopes),
        "noise_from_velocity": noise,
        "score_from_velocity": -noise / sigma,
        "velocity_from_score": -velocity((z - sigma * of_score) / alpha, of_score, slopes),
        "drift": slopes[0] / alpha * z,
        "diffusion": sigma * (slopes[1] - slopes[0] / alpha * sigma),
    }.items():
        close(found, expected[f"{name}__{key}"], 1e-10)


def test_our_cosine_schedule_has_the_velocity_of_its_angle():
    """On alpha = cos(pi t / 2) the velocity is pi / 2 times v."""
    schedule, t = CosineSchedule(-60.0, 60.0), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    alpha, sigma = schedule.alpha_sigma(t)
    x, eps = torch.tensor([0.3, -1.0, 2.0]).double(), torch.tensor([1.0, 0.5, -0.2]).double()
    w = velocity(x, eps, schedule.slopes(t))
    close(w, math.pi / 2 * (alpha * eps - sigma * x), 1e-10)
    close(x_of_velocity(w, alpha * x + sigma * eps, alpha, sigma, schedule.slopes(t)), x, 1e-10)


# --- EDM and Stable Video Diffusion -------------------------------------------------------------------------------


def test_the_preconditioning_of_stable_video_diffusion():
    expected = expected_of("svd_sampler")
    r = torch.from_numpy(expected["precond_sigma"])
    schedule = EDMSchedule(sigma_min=0.001, sigma_max=1000.0, sigma_data=1.0)
    t = schedule.time_of(-2 * r.log())
    alpha, sigma = schedule.alpha_sigma(t)
    # x_hat = alpha z - sigma v with z = alpha y
    for found, key in (
        (alpha**2, "c_skip"), (-sigma, "c_out"), (alpha, "c_in"), (schedule.network_time(t), "c_noise"),
    ):  # fmt: skip
        close(found, expected[f"precond_{key}"], 1e-10)


def test_the_steps_of_edm_and_of_stable_video_diffusion():
    expected, shape = expected_of("svd_sampler"), (1, 4, 4, 8, 8)
    noise, e = given("noise", shape), given("cond", shape)
    guidance = torch.from_numpy(expected["guidance"]).view(1, -1, 1, 1, 1)

    def guided(z, time, cond):
        plain, told = fake(z, time[0]), fake(z + 0.3 * e, time[0])
        return plain + guidance * (told - plain)

    edm, svd = EDMSchedule(), EDMSchedule(sigma_max=700.0, sigma_data=1.0)
    for prefix, schedule, net in (
        ("edm_", edm, lambda z, time, cond: -fake(z, time[0])),
        ("", svd, guided),
    ):
        for steps in (10, 25, 30):
            if f"{prefix}sigmas_{steps}" in expected:
                t = schedule.times(steps, "solver")[:-1]
                close((-0.5 * schedule.log_snr(t)).exp(), expected[f"{prefix}sigmas_{steps}"][:-1])
                close(schedule.network_time(t), expected[f"{prefix}timesteps_{steps}"])
        first = schedule.alpha_sigma(torch.ones(1))[0] * torch.from_numpy(
            expected[f"{prefix}init_noise_sigma"]
        )
        watched = Watched(NetworkDenoiser(net, schedule, "v"))
        x = DDIMSampler(10, grid="solver").sample(watched, schedule, first * noise, Condition())
        close(x, expected[f"{prefix}final"])
        for k in (0, 1):
            close(watched.z[k], expected[f"{prefix}scaled_input_{k}"])
            close(watched.x[k], expected[f"{prefix}denoised_{k}"])
            y = watched.z[k + 1] / schedule.alpha_sigma(torch.tensor([watched.t[k + 1]]))[0]
            close(y, expected[f"{prefix}x_{k + 1}"])
