"""Golden numbers and laws of the diffusion formulas, as plain functions of the package under test.

``test_formulas.py`` runs them on the package; ``test_planted_errors.py`` runs them on copies with an error
planted, each of which must fail one of them. Numbers without a source are evaluations of the papers' formulas in
double precision.
"""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch

T, S = torch.tensor([0.6], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
Z, X, V, EPS = 1.0, 0.3, 0.3557335615, 1.0181092116  # one point at t = 0.6 of the cosine schedule


def _f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def cosine_schedule(d: ModuleType) -> None:
    t = _f64(0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
    schedule = d.CosineSchedule()
    alpha, sigma = schedule.alpha_sigma(t)
    log_snr = [20, 12.8554704, 3.68498999, 1.76261877, 0, -1.76261877, -3.68498999, -20]
    alphas = [
        0.999999999,
        0.999998694,
        0.987682658,
        0.923870845,
        0.707106781,
        0.382704404,
        0.156470338,
        4.53999297e-05,
    ]
    assert schedule.log_snr(t).tolist() == pytest.approx(log_snr, rel=1e-8, abs=1e-9)
    assert alpha.tolist() == pytest.approx(alphas, rel=1e-8)
    sigmas = [4.53999297e-05, 0.00161610475, *alphas[-2:1:-1], 0.999999999]
    assert sigma.tolist() == pytest.approx(sigmas, rel=1e-8)
    assert d.CosineSchedule(-10, 10).log_snr(_f64(0.25)).item() == pytest.approx(1.7438, abs=5e-5)


def network_time(d: ModuleType) -> None:
    t = torch.linspace(0, 1, 11)
    assert torch.allclose(d.CosineSchedule().network_time(t), 1000 * t, atol=0.04)
    index = d.LinearSchedule().network_time(torch.tensor([0.001, 0.5, 1.0]))
    assert index.tolist() == [0, 499, 999]


def discrete_schedules(d: ModuleType) -> None:
    presets = {
        d.ScaledLinearSchedule(1000, 0.0015, 0.0155): (
            0.00666792,
            0.9985,
            0.535476,
            0.150070,
            0.0173945,
            6.68665e-4,
        ),
        d.ScaledLinearSchedule(1000, 0.0015, 0.0195): (
            0.00796318,
            0.9985,
            0.508424,
            0.114922,
            0.00833414,
            1.42304e-4,
        ),
        d.ScaledLinearSchedule(1000, 0.00085, 0.012): (
            0.00481495,
            0.99915,
            0.673793,
            0.276333,
            0.0561698,
            4.66010e-3,
        ),
        d.LinearSchedule(): (0.0100600, 0.9999, 0.521423, 0.0777966, 0.00330016, 4.03583e-5),
    }
    for schedule, (beta_500, *values) in presets.items():
        alpha_bar = schedule.alpha_bar
        assert alpha_bar[[0, 250, 500, 750, 999]].tolist() == pytest.approx(values, rel=5e-6)
        assert 1 - (alpha_bar[500] / alpha_bar[499]).item() == pytest.approx(beta_500, rel=5e-6)
    final = [schedule.log_snr(torch.ones(1)).item() for schedule in presets]
    assert final == pytest.approx([-7.310, -8.857, -5.364, -10.118], abs=6e-4)
    cosine = d.DiscreteCosineSchedule().alpha_bar
    assert cosine[[250, 500, 750]].tolist() == pytest.approx([0.845888, 0.492285, 0.143179], rel=5e-6)
    assert 1 - cosine[0].item() == pytest.approx(4.12842e-5, rel=5e-6)
    assert 1 - (cosine[500] / cosine[499]).item() == pytest.approx(3.15569e-3, rel=5e-6)
    assert 1 - (cosine[999] / cosine[998]).item() == pytest.approx(0.999, rel=5e-6)


def zero_terminal_snr(d: ModuleType) -> None:
    for beta_end, beta, value in ((0.0155, 0.00714229, 0.137741), (0.0195, 0.00825181, 0.109577)):
        alpha_bar = d.ScaledLinearSchedule(1000, 0.0015, beta_end, zero_terminal_snr=True).alpha_bar
        assert alpha_bar[500].item() == pytest.approx(value, rel=5e-6)
        assert 1 - (alpha_bar[500] / alpha_bar[499]).item() == pytest.approx(beta, rel=5e-6)
        assert alpha_bar[0].item() == pytest.approx(0.9985)
        assert alpha_bar[-1].item() == 0


def predictions(d: ModuleType) -> None:
    alpha, sigma = d.CosineSchedule().alpha_sigma(T)
    targets = {"x": X, "eps": EPS, "v": V, "flow": EPS - X}
    for kind, value in targets.items():
        assert d.prediction_target(kind, _f64(X), _f64(EPS), alpha, sigma).item() == pytest.approx(
            value, abs=1e-9
        )
        assert d.to_x(kind, _f64(value), _f64(Z), alpha, sigma).item() == pytest.approx(X, abs=1e-9)
        assert d.to_eps(kind, _f64(value), _f64(Z), alpha, sigma).item() == pytest.approx(EPS, abs=1e-9)
    z = d.CosineSchedule().add_noise(_f64(X), _f64(EPS), T)
    assert z.item() == pytest.approx(Z, abs=1e-9)
    # on the straight path at t = 0.6: z = 0.4 x + 0.6 eps, alpha^2 + sigma^2 = 0.52
    alpha, sigma = d.StraightSchedule().alpha_sigma(T)
    for kind, value in {"v": 0.4 * 2 - 0.6 * 0.5, "flow": 2 - 0.5}.items():
        assert d.prediction_target(kind, _f64(0.5), _f64(2), alpha, sigma).item() == pytest.approx(value)
        assert d.to_x(kind, _f64(value), _f64(1.4), alpha, sigma).item() == pytest.approx(0.5)
        assert d.to_eps(kind, _f64(value), _f64(1.4), alpha, sigma).item() == pytest.approx(2)


def loss_weights(d: ModuleType) -> None:
    log_snr = _f64(0.1, 5, 50).log()
    golden = {"x": [0.1, 5, 5], "eps": [1, 1, 0.1], "v": [0.1 / 1.1, 5 / 6, 5 / 51]}
    truncated = {"x": [1, 5, 50], "eps": [10, 1, 1], "v": [1 / 1.1, 5 / 6, 50 / 51]}
    for kind in golden:
        assert d.loss_weight(log_snr, kind, "min_snr").tolist() == pytest.approx(golden[kind])
        assert d.loss_weight(log_snr, kind, "truncated_snr").tolist() == pytest.approx(truncated[kind])
        assert d.loss_weight(log_snr, kind, "simple").tolist() == [1, 1, 1]
        for weighting in ("min_snr", "truncated_snr"):
            assert d.loss_weight(_f64(-math.inf), kind, weighting).item() == 1
    flow = d.loss_weight(
        log_snr, "flow", "min_snr"
    ).tolist()  # |flow error|^2 = (1 + sqrt(SNR))^2 |x error|^2
    assert flow == pytest.approx([min(snr, 5) / (1 + snr**0.5) ** 2 for snr in (0.1, 5, 50)])
    assert d.loss_weight(_f64(0), "v", "min_snr", 5.0, 0.5).item() == pytest.approx(1)


def losses(d: ModuleType) -> None:
    schedule, generator = d.CosineSchedule(), torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, 3, 1, 4, 5, 5, generator=generator)
    t = torch.tensor([0.2, 0.6, 0.9])
    alpha, sigma = schedule.alpha_sigma(t, 5)
    targets = {"x": x, "eps": eps, "v": alpha * eps - sigma * x, "flow": eps - x}
    for kind, target in targets.items():
        for norm, power in (("l2", 2), ("l1", 1)):
            loss = d.diffusion_loss(lambda z, *_: 0 * z, schedule, x, eps, t, d.Condition(), kind, norm=norm)
            assert torch.allclose(loss, target.abs().pow(power).mean((1, 2, 3, 4)))


def posterior(d: ModuleType) -> None:
    """Ho et al. 2020, eq. 6 and 7, from the betas."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha_bar = (1 - betas).cumprod(0)
    i = torch.tensor([1, 10, 500, 999])
    beta, now, before = betas[i], alpha_bar[i], alpha_bar[i - 1]
    q = d.LinearSchedule().posterior((i + 1).double() / 1000, i.double() / 1000)
    assert torch.allclose(q.variance_upper, beta, rtol=1e-10)
    assert torch.allclose(q.variance, (1 - before) / (1 - now) * beta, rtol=1e-10)
    assert torch.allclose(q.x, before.sqrt() * beta / (1 - now), rtol=1e-10)
    assert torch.allclose(q.z, (1 - beta).sqrt() * (1 - before) / (1 - now), rtol=1e-10)


def ancestral_step(d: ModuleType) -> None:
    variances = {0: 0.2360578980, 0.1: 0.2425004178, 0.3: 0.2559177460, 1: 0.3089997232}
    for gamma, variance in variances.items():
        step = d.AncestralSampler(10, gamma).coefficients(d.CosineSchedule(), T, S)
        assert (step.z * Z + step.x * X).item() == pytest.approx(0.7351886535, abs=1e-10)
        assert step.noise.item() ** 2 == pytest.approx(variance, abs=1e-10)


def ddim_step(d: ModuleType) -> None:
    golden = {0: (0.9320439619, 0), 0.5: (0.8882251820, 0.2429289495), 1: (0.7351886535, 0.4858578990)}
    for eta, (mean, noise) in golden.items():
        step = d.DDIMSampler(10, eta).coefficients(d.CosineSchedule(), T, S)
        assert (step.x * X + step.eps * EPS).item() == pytest.approx(mean, abs=1e-9)
        assert step.noise.item() == pytest.approx(noise, abs=1e-10)


def dpm_steps(d: ModuleType) -> None:
    sampler, schedule = d.DPMSolverPP2MSampler(10), d.CosineSchedule()
    first = sampler.coefficients(schedule, T, S)
    assert (first.z * Z + first.x * X).item() == pytest.approx(0.9320439619, abs=1e-9)
    t = _f64(0.7, 0.6, 0.5, 0.4)
    second = sampler.coefficients(schedule, t, t - 0.1)
    value = second.z[1] * Z + second.x[1] * X + second.previous[1] * 0.2
    assert value.item() == pytest.approx(0.9407483414, abs=1e-9)
    assert second.previous[0].item() == 0
    assert second.previous[3].item() == 0


def langevin_step(d: ModuleType) -> None:
    step = d.LangevinSampler(d.AncestralSampler(10), delta=0.1).coefficients(d.CosineSchedule(), S, S)
    assert (step.z * 1 + step.x * X + step.eps * 0.4 + step.noise * 0.25).item() == pytest.approx(
        1.0417595638, abs=1e-10
    )


def eps_of_x(d: ModuleType) -> None:
    """In the table of a run eps is (z - alpha x) / sigma: z = 1, x = 0.3 gives the golden step again."""
    schedule = d.CosineSchedule()
    for recompute in (True, False):
        plan = d.DDIMSampler(10, recompute_eps=recompute).plan(schedule)
        z, x, raw, _, _ = plan.table[4]  # from t = 0.6 to 0.5
        assert (z * Z + (x + raw) * X).item() == pytest.approx(0.9320439619, abs=1e-7)
        assert (raw == 0).item() == recompute


def classifier_free_guidance(d: ModuleType) -> None:
    def denoiser(z, t, cond):
        return z + 10 * (cond.label + 1).view(-1, 1)

    z, t, cond = torch.zeros(2, 1), torch.ones(2), d.Condition(label=torch.tensor([0, 1]))
    for batched in (True, False):
        x = d.ClassifierFreeGuidance(denoiser, 3.0, batched=batched)(z, t, cond)
        assert x.flatten().tolist() == [30, 60]


def reconstruction_guidance(d: ModuleType) -> None:
    """On a Gaussian the guided estimate is E[x_b | z_b, x_a] if the weight says what x_hat_a leaves open."""
    schedule, rho = d.CosineSchedule(), 0.8
    alpha, sigma = (value.item() for value in schedule.alpha_sigma(S))
    covariance = _f64(1, rho, rho, 1).view(2, 2)
    inverse = torch.linalg.inv(alpha**2 * covariance + sigma**2 * torch.eye(2).double())
    gain = alpha * covariance @ inverse
    left_open = (1 - alpha * gain[0] @ covariance[:, 0]).item()  # Var(x_a | z)

    def denoiser(z, t, cond):
        return torch.einsum("st,bct->bcs", gain, z)

    x_a, z = 0.7, _f64(0.1, -0.4).view(1, 1, 2).repeat(3, 2, 1)
    known = d.KnownFrames(
        torch.full_like(z, x_a), torch.tensor([True, False]), sigma**2 / (alpha**2 * left_open)
    )
    guided = d.ReconstructionGuidance(denoiser, schedule, [known], torch.Generator().manual_seed(0))
    x = guided(z, S.repeat(3), d.Condition())
    rest = 1 - rho**2
    exact = rho * x_a + alpha * rest / (alpha**2 * rest + sigma**2) * (-0.4 - alpha * rho * x_a)
    assert torch.allclose(x[..., 1], torch.full_like(x[..., 1], exact), atol=1e-6)
    assert (x[..., 0] == x_a).all()


def low_resolution_guidance(d: ModuleType) -> None:
    """For x_hat = z the gradient of the sum is -2 w down^T (a - down z); half of it, times alpha, is added."""
    schedule = d.CosineSchedule()
    z = torch.randn(2, 1, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    a = torch.ones(2, 1, 2, 2, 2, dtype=torch.float64)
    basis = torch.eye(16, dtype=torch.float64).view(16, 1, 1, 4, 4)
    down = d.downsample(basis, (2, 2)).reshape(16, 4)
    x = d.ReconstructionGuidance(lambda z, *_: z, schedule, [d.LowResolution(a, 1.5)])(
        z, S.repeat(2), d.Condition()
    )
    error = a.reshape(2, 1, 2, 4) - z.reshape(2, 1, 2, 16) @ down
    expected = z + schedule.alpha_sigma(S)[0].item() * 1.5 * (error @ down.T).view_as(z)
    assert torch.allclose(x, expected)


def measurement_guidance(d: ModuleType) -> None:
    """For x_hat = B z and A x measured, the best step along g = B^T A^T (A x - y) is <A g, A x - y> / |A g|^2."""
    source = torch.Generator().manual_seed(2)
    a, b, z, y = (torch.randn(*s, generator=source).double() for s in ((3, 5), (5, 5), (2, 5), (2, 3)))
    x = d.MeasurementGuidance(lambda z, *_: z @ b.T, lambda x: x @ a.T, y)(z, S.repeat(2), d.Condition())
    error = z @ b.T @ a.T - y
    g = error @ a @ b
    length = ((g @ a.T) * error).sum(1, keepdim=True) / (g @ a.T).square().sum(1, keepdim=True)
    assert torch.allclose(x, z @ b.T - length * g, atol=1e-6)


def dynamic_threshold(d: ModuleType) -> None:
    x = torch.linspace(-4, 4, 2001).repeat(2, 1) * torch.tensor([[1.0], [0.1]])
    limit = torch.quantile(x[0].abs(), 0.9)
    out = d.Threshold(lambda z, *_: z, "dynamic", 0.9)(x, torch.ones(2), d.Condition())
    assert torch.allclose(out[0], x[0].clamp(-limit, limit) / limit)
    assert torch.equal(out[1], x[1])


def grids(d: ModuleType) -> None:
    schedule = d.ScaledLinearSchedule()

    def indices(num_steps, grid):
        return [round(1000 * t) - 1 for t in schedule.times(num_steps, grid).tolist()]

    assert indices(100, "pvdm") == [*range(999, 0, -10), -1]
    assert indices(400, "pvdm")[:4] == [999, 996, 994, 991]
    assert indices(400, "pvdm")[-3:] == [4, 1, -1]
    assert indices(50, "ldm") == [*range(981, 0, -20), 0]
    assert len(indices(400, "ldm")) == 501
    assert indices(50, "trailing") == [*range(999, 0, -20), -1]
    assert indices(50, "leading") == [*range(980, -1, -20), -1]
    assert indices(4, "linspace") == [999, 666, 333, 0, -1]
    assert d.CosineSchedule().times(4).tolist() == [1, 0.75, 0.5, 0.25, 0]


CHECKS = {
    function.__name__: function
    for function in (
        cosine_schedule,
        network_time,
        discrete_schedules,
        zero_terminal_snr,
        predictions,
        loss_weights,
        losses,
        posterior,
        ancestral_step,
        ddim_step,
        dpm_steps,
        langevin_step,
        eps_of_x,
        classifier_free_guidance,
        reconstruction_guidance,
        low_resolution_guidance,
        measurement_guidance,
        dynamic_threshold,
        grids,
    )
}
