"""Guidance towards a measurement: against the closed form of a linear one, and what must not depend on what."""

import pytest
import torch

from videodiff.diffusion import Condition, MeasurementGuidance, NetworkDenoiser, ScaledLinearSchedule

NONE = Condition()
T = torch.full((3,), 0.5)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def identity(z, t, cond):
    return z


def test_orthogonal_measurements_of_an_identity_are_met_in_one_step():
    z, target = normal(3, 2, 6), normal(3, 2, 2, seed=1)
    guided = MeasurementGuidance(identity, lambda x: x[..., :2], target)
    x = guided(z, T, NONE)
    torch.testing.assert_close(x[..., :2], target)
    torch.testing.assert_close(x[..., 2:], z[..., 2:])  # what nothing measures stays
    half = MeasurementGuidance(identity, lambda x: x[..., :2], target, weight=0.5)(z, T, NONE)
    torch.testing.assert_close(half, (x + z) / 2)


def test_a_linear_measurement_takes_the_cauchy_step_of_each_sample():
    a, net = normal(5, 6, seed=2), normal(6, 6, seed=3)
    z, target = normal(3, 6), normal(3, 5, seed=4)
    x = MeasurementGuidance(lambda z, *_: z @ net.T, lambda x: x @ a.T, target)(z, T, NONE)
    for row, start, y in zip(x, z @ net.T, target, strict=True):
        error = a @ start - y
        g = net.T @ (a.T @ error)  # through the network
        length = (a @ g) @ error / (a @ g).square().sum()
        torch.testing.assert_close(row, start - length * g, rtol=1e-6, atol=1e-8)
        # no other length along g is nearer, and what is left is at right angles to what was moved
        assert (a @ row - y).norm() < error.norm()
        assert abs(float((a @ row - y) @ (a @ g))) < 1e-6 * float(error.norm() * (a @ g).norm())


def test_what_is_not_measured_moves_along_where_the_network_ties_it():
    def mean(z, t, cond):
        return z.mean(-1, keepdim=True).expand_as(z)

    x = MeasurementGuidance(mean, lambda x: x[..., :1], torch.full((3, 1), 2.0).double())(
        normal(3, 4), T, NONE
    )
    torch.testing.assert_close(x, torch.full((3, 4), 2.0).double())


def test_a_sample_does_not_depend_on_the_others():
    def measure(x):
        return x.tanh()[..., :2]

    z, target = normal(3, 2, 6), normal(3, 2, 2, seed=1).tanh()
    together = MeasurementGuidance(identity, measure, target)(z, T, NONE)
    for k in range(3):
        alone = MeasurementGuidance(identity, measure, target[k : k + 1])(z[k : k + 1], T[:1], NONE)
        torch.testing.assert_close(alone[0], together[k])


def test_nothing_to_correct_changes_nothing():
    z = normal(3, 2, 6)
    for weight, target in [(0.0, normal(3, 2, 2)), (1.0, z[..., :2].clone())]:
        assert torch.equal(MeasurementGuidance(identity, lambda x: x[..., :2], target, weight)(z, T, NONE), z)
    blind = MeasurementGuidance(identity, lambda x: 0 * x, z + 1)
    assert torch.equal(blind(z, T, NONE), z)


def test_it_is_the_same_under_inference_mode_no_grad_and_autocast():
    net = torch.nn.Linear(6, 6)
    denoiser = NetworkDenoiser(
        _WithTime(net), ScaledLinearSchedule(1000, beta_start=0.0015, beta_end=0.0195), "x"
    )
    z, target = normal(3, 6).float(), normal(3, 2, seed=1).float()

    def guided():
        return MeasurementGuidance(denoiser, lambda x: x[:, :2], target)(z, T, NONE)

    plain = guided()
    for context in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
        with context:
            assert torch.equal(guided(), plain)
    assert all(parameter.grad is None for parameter in net.parameters())


class _WithTime(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, z, time, cond):
        return self.net(z)


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="at least 0"):
        MeasurementGuidance(identity, lambda x: x, normal(3, 2), weight)
