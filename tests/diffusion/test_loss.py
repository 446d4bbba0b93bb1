import pytest
import torch
from torch import nn

from closed_forms import ClosedFormNetwork, GaussianDenoiser
from videodiff.diffusion import (
    Condition,
    CosineSchedule,
    KnownUnits,
    ScaledLinearSchedule,
    StraightSchedule,
    diffusion_loss,
    loss_weight,
)

SCHEDULE = CosineSchedule()


def batch(std=0.5, num=4000):
    generator = torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, num, 2, 3, generator=generator)
    return std * x, eps, torch.rand(num, generator=generator)


def loss(net, schedule=SCHEDULE, **kwargs):
    return diffusion_loss(net, schedule, *batch(), Condition(), **kwargs)


def test_an_untrained_v_network_starts_at_the_closed_form_value():
    # output 0: E[alpha^2] + E[sigma^2] E[x^2] = 0.5 + 0.5 * 0.25 for times drawn uniformly
    assert loss(lambda z, *_: 0 * z).mean().item() == pytest.approx(0.625, abs=0.02)


@pytest.mark.parametrize("prediction", ["x", "eps", "v", "flow"])
def test_no_scaled_network_beats_the_closed_form_one(prediction):
    net = ClosedFormNetwork(GaussianDenoiser(SCHEDULE, 0.0, 0.5), prediction)
    best = loss(net, prediction=prediction).mean()
    for factor in (0.9, 1.1):
        assert best < loss(lambda *a, f=factor: f * net(*a), prediction=prediction).mean()


@pytest.mark.parametrize("schedule", [SCHEDULE, StraightSchedule(), StraightSchedule(shift=0.5)])
@pytest.mark.parametrize("weighting", ["truncated_snr", "min_snr", "flow"])
def test_a_weighting_means_the_same_for_every_prediction(weighting, schedule):
    closed_form = GaussianDenoiser(schedule, 0.05, 0.4)  # wrong on purpose: x has mean 0 and deviation 0.5
    losses = [
        loss(ClosedFormNetwork(closed_form, kind), schedule, prediction=kind, weighting=weighting)
        for kind in ("x", "eps", "v", "flow")
    ]
    middle = (batch()[2] > 0.05) & (batch()[2] < 0.95)  # nearer the ends fp32 division shows
    for other in losses[1:]:
        assert torch.allclose(other[middle], losses[0][middle], rtol=2e-3)


def test_the_flow_weight_of_x_is_the_loss_of_flow_up_to_a_bound():
    t = torch.tensor([0.001, 0.05, 0.2, 0.5, 1.0])
    log_snr = StraightSchedule().log_snr(t)
    assert loss_weight(log_snr, "x", "flow").tolist() == pytest.approx([400, 400, 25, 4, 1], rel=1e-5)
    assert loss_weight(log_snr, "flow", "flow")[1:].tolist() == pytest.approx([1, 1, 1, 1], rel=1e-5)
    # times alpha^2 / (alpha + sigma)^2 the loss of flow is that of eps: |eps error|^2 = SNR |x error|^2
    relation = [loss_weight(log_snr[1:4], "x", "truncated_snr") / loss_weight(log_snr[1:4], k, "truncated_snr")
                for k in ("eps", "flow")]  # fmt: skip
    assert (relation[0] / relation[1]).tolist() == pytest.approx(
        [(1 - u) ** 2 for u in (0.05, 0.2, 0.5)], rel=1e-5
    )


@pytest.mark.parametrize("weighting", ["simple", "truncated_snr", "min_snr", "flow"])
@pytest.mark.parametrize("prediction", ["x", "v", "flow"])
def test_a_loss_at_either_end_of_the_straight_path_is_a_number(prediction, weighting):
    x, eps, _ = batch(num=2)
    t = torch.tensor([0.0, 1.0])
    options = {"prediction": prediction, "weighting": weighting}
    found = diffusion_loss(lambda z, *_: z, StraightSchedule(), x, eps, t, Condition(), **options)
    assert found.isfinite().all()


def test_the_loss_is_fp32_and_its_gradient_reaches_a_bf16_network():
    class Net(nn.Linear):
        def forward(self, z, time, cond):
            return super().forward(z)

    net = Net(3, 3).bfloat16()
    value = loss(net)
    assert value.dtype == torch.float32
    assert value.shape == (4000,)
    value.mean().backward()
    assert net.weight.grad.abs().sum() > 0


def test_autocast_changes_the_network_only():
    def net(z, time, cond):
        assert z.dtype == torch.float32
        return (0.3 * z).bfloat16()

    plain = loss(net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(net), plain)


def test_the_loss_draws_no_randomness():
    before = torch.get_rng_state()
    diffusion_loss(lambda z, *_: z, ScaledLinearSchedule(), *batch(), Condition())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"prediction": "noise"}, "prediction must be one of eps, x, v, flow, got 'noise'"),
        (
            {"weighting": "snr"},
            "weighting must be simple, truncated_snr, min_snr, fused_snr or flow, got 'snr'",
        ),
        ({"norm": "huber"}, "norm must be l1 or l2, got 'huber'"),
        ({"clamp": True}, "only a prediction of x can be clamped in the loss, got prediction 'v'"),
    ],
)
def test_an_unknown_name_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        loss(lambda z, *_: z, **kwargs)


def test_a_clamped_estimate_beyond_the_range_costs_nothing_at_its_end_and_leads_back_elsewhere():
    x = torch.tensor([-1.0, -1.0, -1.0, 0.0]).view(4, 1)
    output = torch.tensor([-1.5, -0.5, 3.0, -1.5], requires_grad=True)
    t = torch.full((4,), 0.5)

    def clamped(is_clamped):
        def net(z, *_):
            return output.view(4, 1)

        return diffusion_loss(net, SCHEDULE, x, torch.zeros(4, 1), t, Condition(), "x", clamp=is_clamped)

    assert clamped(True).tolist() == [0.0, 0.25, 4.0, 1.0]
    assert clamped(False).tolist() == [0.25, 0.25, 16.0, 2.25]
    clamped(True).sum().backward()
    assert output.grad.tolist() == [0.0, 1.0, 4.0, -2.0]  # down to the least error from either side


def test_inside_the_range_a_clamped_loss_is_the_plain_one():
    x, eps, t = batch()
    for norm in ("l1", "l2"):
        losses = [
            diffusion_loss(
                lambda z, *_: z.tanh(), SCHEDULE, x, eps, t, Condition(), "x", norm=norm, clamp=clamp
            )
            for clamp in (False, True)
        ]
        assert torch.equal(*losses)


@pytest.mark.parametrize("weighting", ["simple", "truncated_snr", "min_snr"])
def test_the_loss_of_units_with_times_of_their_own_is_the_mean_of_theirs(weighting):
    generator = torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, 3, 4, 5, 2, 2, generator=generator)
    t = torch.rand(3, 5, generator=generator)

    def net(z, time, cond):  # each unit by itself, told its own time
        time = time.view(len(time), 1, -1, 1, 1) if time.ndim == 2 else time.view(-1, 1, 1, 1, 1)
        return torch.sin(z + time)

    options = dict(prediction="v", weighting=weighting)
    found = diffusion_loss(net, SCHEDULE, x, eps, t, Condition(), **options)
    units = [slice(unit, unit + 1) for unit in range(5)]
    alone = [
        diffusion_loss(net, SCHEDULE, x[:, :, u], eps[:, :, u], t[:, u][:, 0], Condition(), **options)
        for u in units
    ]
    assert torch.allclose(found, torch.stack(alone).mean(0), rtol=1e-5)
    known = KnownUnits(
        torch.tensor([True, False, False, False, True]).view(1, 1, -1, 1, 1), eps, torch.zeros(3)
    )
    given = diffusion_loss(net, SCHEDULE, x, eps, t, Condition(), known=known, **options)
    assert torch.allclose(given, torch.stack(alone[1:4]).mean(0), rtol=1e-5)  # units 0 and 4 are not learnt
    told = []
    diffusion_loss(
        lambda z, time, _: told.append(time) or 0 * z, SCHEDULE, x, eps, t, Condition(), known=known
    )
    assert torch.equal(told[0][:, [0, 4]], SCHEDULE.network_time(torch.zeros(3, 2)))
    assert torch.equal(told[0][:, 1:4], SCHEDULE.network_time(t)[:, 1:4])


def test_the_fused_weight_is_the_published_one():
    # buoyancy99/diffusion-forcing, algorithms/diffusion_forcing/models/diffusion.py, written out unit by unit
    schedule, gamma, decay = CosineSchedule(), 5.0, 0.96
    t = torch.rand(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    snr = schedule.log_snr(t).exp()

    def fused(before, own):
        return 1 - (1 - decay * before) * (1 - own)

    def told(row):  # what the units before say of each
        found, summed = [0.0], row[0]
        for own in row[1:]:
            found.append(summed)
            summed = decay * summed + (1 - decay) * own
        return found

    for is_causal in (True, False):
        found = {
            kind: loss_weight(schedule.log_snr(t), kind, "fused_snr", gamma, is_causal=is_causal)
            for kind in ("x", "eps", "v")
        }
        for b in range(3):
            clipped = (snr[b].clamp(max=gamma) / gamma).tolist()
            forward, backward = told(clipped), told(clipped[::-1])[::-1]
            for u in range(6):
                before = forward[u] if is_causal else (forward[u] + backward[u]) / 2
                weight = gamma * fused(before, clipped[u])
                full = gamma * fused(before, snr[b, u].item() / gamma)
                expected = {"x": weight, "eps": weight / full, "v": weight / (full + 1)}
                for kind, value in expected.items():
                    assert found[kind][b, u].item() == pytest.approx(value, rel=1e-10)
    alone = loss_weight(schedule.log_snr(t[:, :1]), "v", "fused_snr", gamma, is_causal=True)
    assert torch.allclose(alone, loss_weight(schedule.log_snr(t[:, :1]), "v", "min_snr", gamma))
    noise = loss_weight(torch.full((1, 3), -torch.inf), "eps", "fused_snr")
    assert noise.isfinite().all()
    with pytest.raises(ValueError, match="noise levels of their own"):
        loss_weight(schedule.log_snr(t[0]), "v", "fused_snr")
