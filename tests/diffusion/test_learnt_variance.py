"""The variance of a step that a network has learnt: what samplers make of it, and that the loss leaves it alone."""

import pytest
import torch
from torch import nn

from videodiff.diffusion import (
    AncestralSampler,
    ClassifierFreeGuidance,
    Condition,
    DDIMSampler,
    LangevinSampler,
    LearnedRangeSampler,
    LinearSchedule,
    NetworkDenoiser,
    Threshold,
    diffusion_loss,
)

SCHEDULE = LinearSchedule()
STD = 0.5


class Gaussian(nn.Module):
    """The exact eps of x ~ N(0, STD^2), and behind it a fraction of the log variance as ``v = 2 f - 1``.

    Args:
        num_steps: of the sampler, whose next time the true variance depends on.
        fraction: of all steps, or None for the true one.
    """

    def __init__(self, num_steps, fraction=None):
        super().__init__()
        times = SCHEDULE.times(num_steps, "linspace").double()
        self.after = {round(t * 1000): s for t, s in zip(times[:-1].tolist(), times[1:], strict=True)}
        self.fraction = fraction

    def forward(self, z, time, cond):
        t = (time[:1].double() + 1) / 1000
        alpha, sigma = SCHEDULE.alpha_sigma(t)
        x = z * alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
        eps = (z - alpha * x) / sigma
        fraction = self.fraction
        if fraction is None:
            q = SCHEDULE.posterior(t, self.after[round(t.item() * 1000)][None])
            total = q.variance + q.x**2 * STD**2 * sigma**2 / (alpha**2 * STD**2 + sigma**2)
            fraction = (total.log() - q.variance.log()) / (q.variance_upper.log() - q.variance.log())
            assert 0 <= fraction <= 1 or q.variance == 0
        return torch.cat([eps, torch.full_like(eps, 2 * float(fraction) - 1)], dim=1)


def drawn(sampler, net, size=20_000):
    noise = torch.randn(size, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    denoiser = ClassifierFreeGuidance(NetworkDenoiser(net, SCHEDULE, "eps"), 1.0)
    generator = torch.Generator().manual_seed(4)
    return sampler.sample(denoiser, SCHEDULE, noise, Condition(), generator)


@pytest.mark.parametrize("bound", [0, 1])
def test_fractions_of_0_and_1_are_the_two_variances_of_ancestral_sampling(bound):
    ours = drawn(LearnedRangeSampler(20), Gaussian(20, float(bound)), 50)
    theirs = drawn(AncestralSampler(20, gamma=bound, grid="linspace"), Gaussian(20, 0.3), 50)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_a_fraction_between_is_the_log_linear_mean():
    ours = drawn(LearnedRangeSampler(20), Gaussian(20, 0.3), 50)
    theirs = drawn(AncestralSampler(20, gamma=0.3, grid="linspace"), Gaussian(20, 0.3), 50)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_with_the_true_variance_a_few_steps_are_exact():
    # the standard error of a sampled variance is sqrt(2 / 20,000) = 1 %
    assert drawn(LearnedRangeSampler(8), Gaussian(8)).var().item() == pytest.approx(STD**2, rel=0.04)
    fixed = drawn(AncestralSampler(8, grid="linspace"), Gaussian(8)).var().item()
    assert abs(fixed / STD**2 - 1) > 0.1


def test_the_bounds_are_those_of_the_chain_of_the_steps_that_are_taken():
    plan = LearnedRangeSampler(250).plan(SCHEDULE)
    index = (plan.times * 1000).round().long() - 1
    assert index[[0, 1, -1]].tolist() == [999, 995, 0]
    alpha_bar = SCHEDULE.alpha_bar[index.flip(0)]
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    beta = 1 - alpha_bar / before  # betas computed anew for the kept steps
    posterior = beta * (1 - before) / (1 - alpha_bar)
    bounds = (2 * plan.log_bounds.flip(0)).exp()
    torch.testing.assert_close(bounds[:, 1], beta, rtol=1e-9, atol=0)
    torch.testing.assert_close(bounds[1:, 0], posterior[1:], rtol=1e-9, atol=0)


class Told(nn.Module):
    """eps and variance are the label."""

    def forward(self, z, time, cond):
        label = cond.label[:, None].to(z)
        return torch.cat([z * 0 + label, label.expand_as(z) / 10], dim=1)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(("scale", "label"), [(7.0, 5), (1.0, 5), (0.0, -1)])
def test_guidance_moves_the_prediction_and_keeps_the_variance_of_the_conditional_estimate(
    batched, scale, label
):
    denoiser = ClassifierFreeGuidance(NetworkDenoiser(Told(), SCHEDULE, "eps"), scale, batched)
    z, t = torch.zeros(2, 3), torch.full((2,), 0.5)
    for _ in range(2):  # the last call's, and nothing of one before
        x = denoiser(z, t, Condition(label=torch.full((2,), 5)))
    alpha, sigma = SCHEDULE.alpha_sigma(t, 2)
    torch.testing.assert_close(-x * alpha / sigma, torch.full((2, 3), -1 + scale * 6.0))
    torch.testing.assert_close(denoiser.fraction, torch.full((2, 3), (label / 10 + 1) / 2))
    assert torch.equal(Threshold(denoiser).fraction, denoiser.fraction)


def test_the_loss_is_of_the_prediction_alone():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(3, 6)

        def forward(self, z, time, cond):
            return self.out(z)

    torch.manual_seed(0)
    net, x, eps = Net(), torch.randn(4, 3), torch.randn(4, 3)
    t = torch.tensor([0.1, 0.4, 0.6, 0.9])
    loss = diffusion_loss(net, SCHEDULE, x, eps, t, Condition(), "eps")
    loss.sum().backward()
    half = nn.Linear(3, 3)
    half.weight.data, half.bias.data = net.out.weight.data[:3], net.out.bias.data[:3]
    alone = diffusion_loss(lambda z, time, cond: half(z), SCHEDULE, x, eps, t, Condition(), "eps")
    torch.testing.assert_close(loss, alone)
    assert net.out.weight.grad[:3].abs().min() > 0
    assert torch.equal(net.out.weight.grad[3:], torch.zeros(3, 3))


def test_a_network_that_has_learnt_no_variance_is_named_with_another_sampler():
    class Plain(nn.Module):
        def forward(self, z, time, cond):
            return z

    denoiser = NetworkDenoiser(Plain(), SCHEDULE, "eps")
    noise = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"needs a network that has learnt the variance .*AncestralSampler"):
        LearnedRangeSampler(5).sample(denoiser, SCHEDULE, noise, Condition())
    assert torch.isfinite(DDIMSampler(5).sample(denoiser, SCHEDULE, noise, Condition())).all()
    with pytest.raises(ValueError, match="got LearnedRangeSampler"):
        LangevinSampler(LearnedRangeSampler(5))
