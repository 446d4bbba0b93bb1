"""Orders of noise levels, and sampling by them: integers, closed forms of Gaussians, and invariants."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from closed_forms import UnitDenoiser
from videodiff.diffusion import (
    AncestralSampler,
    Condition,
    CosineSchedule,
    DDIMSampler,
    DPMSolverPP2MSampler,
    LangevinSampler,
    LearnedRangeSampler,
    ScaledLinearSchedule,
    pyramid,
    sample_units,
    trapezoid,
)

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS", "")
MATRICES = Path(ASSETS, "fixtures", "systems", "scheduling_matrices.npz")
SCHEDULE = CosineSchedule()


def series(units, correlation=0.8):
    """The covariance of an AR(1) series, fp64."""
    places = torch.arange(units, dtype=torch.float64)
    return correlation ** (places[:, None] - places[None, :]).abs()


def noise(units, samples=3, channels=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, channels, units, dtype=torch.float64, generator=generator)


@pytest.mark.skipif(
    not MATRICES.is_file(), reason="needs the published scheduling matrices in VIDEODIFF_TEST_ASSETS"
)
def test_matrices_are_the_published_ones():
    stored = np.load(MATRICES)
    schedule = ScaledLinearSchedule()
    seen = 0
    for name in stored.files:
        kind, _, case = name.partition("__")
        steps, units, *rest = case.replace("_context", "_").replace("_scale", "_").split("_")
        steps, units, last = int(steps), int(units), float(rest[0]) if rest else 0.0
        if kind.startswith("timesteps"):  # context first, then levels as indices, -1 clean
            order, context = kind.removeprefix("timesteps_"), int(last)
            delay = {"full_sequence": 0, "pyramid": 1, "sequential": steps}[order]
            levels = torch.nn.functional.pad(pyramid(steps, units - context, delay), (context, 0))
            found = schedule.index(schedule.times(steps, "pvdm").flip(0))[levels]
        elif kind == "forcing_trapezoid":
            found = trapezoid(steps, units, last, as_published=True)
        else:
            found = pyramid(steps, units, {"full": 0, "sequential": steps, "pyramid": 1}.get(kind, last))
        assert np.array_equal(found.numpy(), stored[name]), name
        seen += 1
    assert seen > 60


def test_a_trapezoid_falls_alike_from_both_ends_and_leaves_no_unit_out():
    levels = trapezoid(4, 6, 2)
    assert torch.equal(levels, levels.flip(1))
    assert levels[0].tolist() == [4] * 6
    assert levels[-1].tolist() == [0] * 6
    assert torch.equal(levels[:, :3], pyramid(4, 3, 2))
    with pytest.raises(ValueError, match="steps and units must be at least 1"):
        pyramid(0, 2, 1)


@pytest.mark.parametrize(
    "sampler", [DDIMSampler(12), DPMSolverPP2MSampler(12), AncestralSampler(12, gamma=0.3)]
)
def test_all_at_once_is_the_sampler_itself(sampler):
    denoiser = UnitDenoiser(SCHEDULE, series(5))
    plain, by_levels = (torch.Generator().manual_seed(1) for _ in range(2))

    class OneTime(UnitDenoiser):
        def __call__(self, z, t, cond):
            return super().__call__(z, t[:, None].expand(-1, z.shape[2]), cond)

    expected = sampler.sample(OneTime(SCHEDULE, series(5)), SCHEDULE, noise(5), Condition(), plain)
    levels = pyramid(len(sampler.plan(SCHEDULE).times), 5, 0)
    found = sample_units(sampler, denoiser, SCHEDULE, noise(5), Condition(), levels, generator=by_levels)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert denoiser.calls == 12


@pytest.mark.parametrize("delay", [0, 0.5, 1, 3, 1000])
def test_samples_of_a_series_get_its_covariance_at_first_order(delay):
    # every step is linear in z, so the covariance is exact: M M^T of the map M from noise to samples
    def error(steps, units=4):
        levels = pyramid(steps, units, min(delay * steps / 40, steps))
        basis = torch.eye(units, dtype=torch.float64)[:, None]  # a sample for every unit of noise
        denoiser = UnitDenoiser(SCHEDULE, series(units))
        x = sample_units(DDIMSampler(steps), denoiser, SCHEDULE, basis, Condition(), levels)
        return (x[:, 0].T @ x[:, 0] - series(units)).abs().max().item()

    errors = [error(steps) for steps in (80, 160, 320)]
    assert errors[-1] < 0.02
    for one, half in pairwise(errors):
        assert one / half == pytest.approx(2, abs=0.3)  # of first order


def test_a_window_that_moves_along_a_markov_series_makes_the_same_as_one_that_sees_all():
    # the covariance of AR(1) with two clean units before the noisy ones says all that the rest would
    levels, units = pyramid(8, 12, 4), 12
    options = (SCHEDULE, noise(units), Condition(), levels)
    narrow, wide = UnitDenoiser(SCHEDULE, series(units)), UnitDenoiser(SCHEDULE, series(units))
    through_window = sample_units(DDIMSampler(8), narrow, *options, width=4)
    assert torch.allclose(through_window, sample_units(DDIMSampler(8), wide, *options), atol=1e-3)
    assert narrow.calls == wide.calls == 8 + 11 * 4
    with pytest.raises(
        ValueError, match=r"4 units are noisy at once, and the network sees 3: a larger delay"
    ):
        sample_units(
            DDIMSampler(8), narrow, SCHEDULE, noise(units), Condition(), pyramid(8, units, 2), width=3
        )


def test_sequential_is_unit_by_unit():
    steps, units = 6, 4
    sampler, denoiser = DDIMSampler(steps), UnitDenoiser(SCHEDULE, series(units))
    found = sample_units(sampler, denoiser, SCHEDULE, noise(units), Condition(), pyramid(steps, units, steps))
    assert denoiser.calls == steps + (units - 1) * steps
    z = noise(units)
    for unit in range(units):  # the ones before are data, the ones behind noise at t = 1
        times = sampler.times(SCHEDULE).double()
        for t, s in pairwise(times):
            each = torch.ones(len(z), units, dtype=torch.float64)
            each[:, :unit], each[:, unit] = 0, t
            x = denoiser(z, each, Condition())[:, :, unit]
            (alpha_t, sigma_t), (alpha_s, sigma_s) = SCHEDULE.alpha_sigma(t), SCHEDULE.alpha_sigma(s)
            eps = (z[:, :, unit] - alpha_t * x) / sigma_t
            z[:, :, unit] = x if s == 0 else alpha_s * x + sigma_s * eps
    assert torch.allclose(found, z, rtol=1e-9)


@pytest.mark.parametrize(
    "sampler", [DDIMSampler(6, eta=1.0), DPMSolverPP2MSampler(6), LangevinSampler(DDIMSampler(4))]
)
@pytest.mark.parametrize("schedule", [SCHEDULE, ScaledLinearSchedule(zero_terminal_snr=True)])
def test_given_units_stay_and_nothing_becomes_infinite(sampler, schedule):
    steps, z = len(sampler.plan(schedule).times), noise(5).float()
    z[:, :, [0, 3]] = 0.5
    levels = torch.zeros(steps + 2 * 2 + 1, 5, dtype=torch.int64)
    levels[:, [1, 2, 4]] = pyramid(steps, 3, 2)
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    states, progress = [], []

    class Seen(UnitDenoiser):
        def __call__(self, z, t, cond):
            states.append(cond.units)
            return super().__call__(z.double(), t.double(), cond).float()

    x = sample_units(
        sampler, Seen(schedule, series(5)), schedule, z, Condition(), levels, generator=generators,
        progress=lambda *done: progress.append(done),
    )  # fmt: skip
    assert torch.equal(x[:, :, [0, 3]], z[:, :, [0, 3]])
    assert x.isfinite().all()
    assert x.dtype == torch.float32
    assert states[0] == ("given", "noisy", "noisy", "given", "noisy")
    assert states[-1] == ("given", "generated", "generated", "given", "noisy")
    assert progress == [(done, steps + 4) for done in range(1, steps + 5)]
    again = [torch.Generator().manual_seed(1)]
    alone = sample_units(
        sampler, Seen(schedule, series(5)), schedule, z[1:2], Condition(), levels, generator=again
    )
    assert torch.allclose(x[1:2], alone, atol=1e-5)  # a video does not depend on those beside it


def test_levels_that_are_no_steps_of_the_sampler_are_refused():
    denoiser = UnitDenoiser(SCHEDULE, series(2))
    for levels in (pyramid(5, 2, 1), pyramid(4, 2, 1)[::2]):
        with pytest.raises(ValueError, match="levels must fall by one or rest, from 4"):
            sample_units(DDIMSampler(4), denoiser, SCHEDULE, noise(2), Condition(), levels)
    learnt = LearnedRangeSampler(4, grid="trailing")
    with pytest.raises(ValueError, match="need a sampler whose variance is known"):
        sample_units(learnt, denoiser, SCHEDULE, noise(2), Condition(), pyramid(4, 2, 1))
    joined = Condition(concat=torch.zeros(3, 1, 2))
    with pytest.raises(ValueError, match="has no place in a window that moves"):
        sample_units(DDIMSampler(4), denoiser, SCHEDULE, noise(2), joined, pyramid(4, 2, 4), width=1)
