"""Guidance by history on two units and on a series whose denoiser is known in closed form."""

import pytest
import torch

from closed_forms import UnitDenoiser
from diffusion.test_unit_levels import SCHEDULE, noise, series
from videodiff.diffusion import (
    Condition,
    DDIMSampler,
    History,
    HistoryGuidance,
    ScaledLinearSchedule,
    Stabilised,
    pyramid,
    sample_units,
)

ZERO_END = ScaledLinearSchedule(
    zero_terminal_snr=True
)  # alpha is exactly 0 at t = 1: what is absent says nothing


def continued(
    histories, steps=20, units=5, given=2, schedule=SCHEDULE, wrap=lambda d: d, z=None, delay=0, ground=None
):
    """A series continued from its first units, by levels; with the denoiser at the bottom."""
    ground = UnitDenoiser(schedule, series(units)) if ground is None else ground
    levels = torch.nn.functional.pad(pyramid(steps, units - given, delay), (given, 0))
    guided = wrap(ground)
    if histories is not None:
        guided = HistoryGuidance(guided, schedule, histories, torch.Generator().manual_seed(5))
    z = noise(units) if z is None else z
    return sample_units(DDIMSampler(steps), guided, schedule, z, Condition(), levels), ground


def test_history_that_is_noise_leaves_the_marginal():
    t = torch.full((3, 5), 0.4, dtype=torch.float64)
    z, covariance = noise(5), series(5)
    t[:, :2] = 1.0
    found = UnitDenoiser(ZERO_END, covariance)(z, t, Condition())[:, :, 2:]
    marginal = UnitDenoiser(ZERO_END, covariance[2:, 2:])(z[:, :, 2:], t[:, 2:], Condition())
    assert torch.allclose(found, marginal, rtol=0, atol=1e-12)


def test_weight_one_is_conditional_sampling_and_the_fractions_meet_at_their_ends():
    plain, ground = continued(None)
    conditional, again = continued([History(1.0)])
    assert torch.equal(conditional, plain)
    assert ground.samples == again.samples  # and asks for nothing more
    vanilla, ground = continued([History(3.0)], schedule=ZERO_END)
    clean, _ = continued([History(1.0), History(2.0, time=0.0)], schedule=ZERO_END)
    assert torch.allclose(clean, vanilla, rtol=1e-9, atol=1e-9)
    absent, ground = continued([History(1.0), History(2.0, time=1.0)], schedule=ZERO_END)
    assert torch.allclose(absent, continued(None, schedule=ZERO_END)[0], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(vanilla, absent, atol=1e-2)


@pytest.mark.parametrize(("weight", "slope"), [(1.0, 0.8), (2.0, 1.195), (4.0, 1.445)])
def test_vanilla_guidance_leans_on_the_unit_before_as_reckoned(weight, slope):
    # two units of correlation 0.8, the second begun at z = 0: what it becomes is its slope times the first
    z = torch.zeros(1, 1, 2, dtype=torch.float64)
    z[..., 0] = 1.0
    absent = UnitDenoiser(ZERO_END, series(2))
    assert absent.covariance[0, 1] == pytest.approx(0.8)
    x, _ = continued([History(weight)], steps=400, units=2, given=1, z=z)
    assert x[0, 0, 0] == 1.0
    assert x[0, 0, 1].item() == pytest.approx(slope, abs=1e-3)


@pytest.mark.parametrize(
    ("histories", "estimates"),
    [
        ([History(1.0)], 1),
        ([History(2.5)], 2),
        ([History(1.0), History(0.5, time=0.3)], 3),
        ([History(2.0, units=(0,)), History(2.0, units=(-1,))], 3),
        ([History(0.5, units=(0,)), History(0.5, units=(-1,))], 2),
    ],
)
def test_calls_are_those_of_the_levels_times_the_estimates(histories, estimates):
    steps, units, delay = 6, 4, 2
    _, ground = continued(histories, steps, units + 2, 2, delay=delay)
    assert ground.calls == steps + (units - 1) * delay
    assert ground.samples == 3 * ground.calls * estimates


def test_temporal_guidance_sees_the_units_it_names():
    seen = []

    class Seen(UnitDenoiser):
        def __call__(self, z, t, cond):
            seen.append([part[0].tolist() for part in t.chunk(2)])
            return super().__call__(z, t, cond)

    halves = [History(0.5, units=(0,)), History(0.5, units=(-1, 7))]
    continued(halves, steps=4, units=4, given=2, ground=Seen(SCHEDULE, series(4)))
    assert seen[0] == [[0.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0]]
    assert History(1.0, units=(-1, 7)).among(["given", "noisy", "generated", "noisy"]) == [2]


def test_the_estimate_without_history_is_without_the_condition_too():
    labels = []

    class Told(UnitDenoiser):
        def __call__(self, z, t, cond):
            labels.append(cond.label.tolist())
            return super().__call__(z, t, cond)

    guided = HistoryGuidance(Told(SCHEDULE, series(2)), SCHEDULE, [History(2.0)])
    cond = Condition(label=torch.tensor([4, 5, 6]), units=("given", "noisy"))
    guided(noise(2), torch.tensor([[0.0, 0.5]] * 3), cond)
    assert labels == [[4, 5, 6, -1, -1, -1]]
    labels.clear()
    guided(noise(2), torch.tensor([[1.0, 0.5]] * 3), Condition(label=cond.label, units=("noisy", "noisy")))
    assert labels == [[4, 5, 6]]  # there is no history to lean on yet


@pytest.mark.parametrize("way", ["fresh", "scaled"])
def test_stabilisation_shows_finished_units_a_little_noisy_and_goes_to_none_at_zero(way):
    told = []

    class Told(UnitDenoiser):
        def __call__(self, z, t, cond):
            told.append((z[0, 0].clone(), t[0].tolist(), cond.units))
            return super().__call__(z, t, cond)

    def wrap(denoiser, time=0.02):
        return Stabilised(denoiser, SCHEDULE, time, way, torch.Generator().manual_seed(3))

    plain, _ = continued(None, delay=20)
    found, _ = continued(None, delay=20, wrap=wrap, ground=Told(SCHEDULE, series(5)))
    z, times, states = told[-1]
    assert states == ("given", "given", "generated", "generated", "noisy")
    shown = [0.0, 0.0, 0.02, 0.02] if way == "fresh" else [0.02] * 4
    assert times[:4] == pytest.approx(shown)
    alpha = SCHEDULE.alpha_sigma(torch.tensor(0.02).double())[0]
    if way == "scaled":
        assert torch.allclose(z[:2], alpha * found[0, 0, :2])  # no noise
    else:
        assert torch.equal(z[:2], found[0, 0, :2])
        assert not torch.allclose(z[2:4], alpha * found[0, 0, 2:4], atol=1e-3)
    nearly, _ = continued(None, delay=20, wrap=lambda d: wrap(d, 1e-9))
    assert torch.allclose(nearly, plain, atol=1e-3)
    assert not torch.allclose(found, plain, atol=1e-3)
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\)"):
        wrap(None, 0.0)
