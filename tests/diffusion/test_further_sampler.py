"""Trial: a sampler of second order as a user writes it, in one file over the declared parts of a sampler."""

import itertools

import pytest
import torch

from closed_forms import MixtureDenoiser, exact_flow
from videodiff.diffusion import Condition, CosineSchedule, DDIMSampler, ScaledLinearSchedule
from videodiff.diffusion.step_table import Plan

MIXTURE = (0.3, 0.7), (-0.8, 0.6), (0.2, 0.4)


class HeunSampler(DDIMSampler):
    """Heun's steps of the probability flow (Karras et al. 2022, algorithm 1 without churn).

    With r = sigma / alpha and y = z / alpha the flow is dy/dr = (y - x) / r. DDIM predicts z_s; the mean of the slopes
    at both ends moves it by ``alpha_s (r_s - r_t) / (2 r_s)`` times x_hat before less x_hat now.
    """

    def plan(self, schedule):
        predictor = super().plan(schedule)
        pairs = len(predictor.times) - predictor.ends_clean  # the step to clean data is x_hat itself
        t, s = predictor.times[:pairs], self.times(schedule).double()[1 : pairs + 1]
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
        back, zero = 0.5 * alpha_s * (1 - sigma_t * alpha_s / (alpha_t * sigma_s)), torch.zeros_like(s)
        corrector = torch.stack([zero + 1, -back, zero, back, zero], 1)
        times = torch.stack([t, s], 1).flatten()
        rows = torch.stack([predictor.table[:pairs], corrector], 1).flatten(0, 1)
        last = slice(pairs, None)
        return Plan(
            torch.cat([times, predictor.times[last]]),
            torch.cat([rows, predictor.table[last]]),
            predictor.ends_clean,
        )


class Loud(DDIMSampler):
    """With an option that no sampler of ours has."""

    def __init__(self, num_steps=10, loudness=2.0, **options):
        super().__init__(num_steps, **options)
        self.loudness, self.kept = loudness, None


def test_records_hold_the_options_of_a_sampler_that_a_user_wrote():
    assert Loud(eta=0.5, grid="leading").options() == {"eta": 0.5, "loudness": 2.0}


@pytest.mark.parametrize(
    "schedule", [CosineSchedule(-10, 10), ScaledLinearSchedule()], ids=["cosine", "linear"]
)
def test_heuns_error_falls_with_the_square_of_the_steps_and_ddims_with_the_steps(schedule):
    z = torch.linspace(-2, 2, 101, dtype=torch.float64)[:, None]
    denoiser = MixtureDenoiser(schedule, *MIXTURE)

    def error(sampler, begin=1.0, end=0.0):
        if end > 0:
            sampler.times = lambda schedule: torch.linspace(begin, end, sampler.num_steps + 1)
        found = sampler.sample(denoiser, schedule, z, Condition())
        return (found - exact_flow(denoiser, z, begin, end)).square().mean().sqrt().item()

    heun, ddim = ([error(make(n), 0.9, 0.1) for n in (32, 64, 128)] for make in (HeunSampler, DDIMSampler))
    assert [a / b for a, b in itertools.pairwise(heun)] == pytest.approx([4, 4], rel=0.15)
    assert [a / b for a, b in itertools.pairwise(ddim)] == pytest.approx([2, 2], rel=0.15)
    assert heun[0] < ddim[1]  # with as many network calls
    whole = [error(make(32)) for make in (HeunSampler, DDIMSampler)]  # both end by a step of first order
    assert whole[0] < whole[1]
