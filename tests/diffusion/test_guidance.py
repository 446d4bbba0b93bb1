import pytest
import torch
from torch import nn

from closed_forms import CorrelatedDenoiser, GaussianDenoiser, MixtureDenoiser
from videodiff.diffusion import (
    AncestralSampler,
    ClassifierFreeGuidance,
    Condition,
    CosineSchedule,
    DDIMSampler,
    Denoiser,
    DPMSolverPP2MSampler,
    KnownFrames,
    LangevinSampler,
    LowResolution,
    NetworkDenoiser,
    ReconstructionGuidance,
    Replacement,
    Threshold,
    downsample,
)

SCHEDULE = CosineSchedule()
NONE = Condition()
FIRST = torch.tensor([True, False])


class LabelDenoiser(Denoiser):
    """Depends on the label, counts its calls."""

    def __init__(self):
        self.batches = []

    def __call__(self, z, t, cond):
        self.batches.append(len(z))
        return torch.tanh(z) + 0.1 * cond.label.view(-1, *[1] * (z.ndim - 1))


class VideoNet(nn.Module):
    """A small network that mixes frames."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(2, 2, 3, padding=1)

    def forward(self, z, time, cond):
        return self.conv(z).tanh()


def video_net():
    torch.manual_seed(0)
    return VideoNet().eval()


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def test_one_batch_of_both_is_two_batches_and_scale_1_and_0_need_one():
    z, t, cond = noise(3, 2, 4), torch.full((3,), 0.5), Condition(label=torch.tensor([0, 1, 2]))
    plain = LabelDenoiser()
    results = [ClassifierFreeGuidance(plain, 2.5, batched=batched)(z, t, cond) for batched in (True, False)]
    assert torch.allclose(*results)
    assert plain.batches == [6, 3, 3]
    plain.batches.clear()
    assert torch.equal(ClassifierFreeGuidance(plain, 1.0)(z, t, cond), plain(z, t, cond))
    assert torch.equal(ClassifierFreeGuidance(plain, 0.0)(z, t, cond), plain(z, t, cond.null()))
    assert plain.batches == [3] * 4


def test_guidance_without_a_condition_is_the_denoiser_itself():
    z, t = noise(3, 1), torch.full((3,), 0.5)
    denoiser = GaussianDenoiser(SCHEDULE, 0.1, 0.5)
    assert torch.equal(ClassifierFreeGuidance(denoiser, 5.0)(z, t, NONE), denoiser(z, t, NONE))


def test_rescaled_guidance_has_the_deviation_of_the_conditional_estimate():
    class Two(Denoiser):
        def __call__(self, z, t, cond):
            return torch.where(cond.label.view(-1, 1) < 0, 0.1 * z, z)

    z, t, cond = noise(2, 100), torch.full((2,), 0.5), Condition(label=torch.tensor([0, 1]))
    x = ClassifierFreeGuidance(Two(), 4.0, rescale=1.0)(z, t, cond)
    assert torch.allclose(x.std(1), z.std(1), rtol=1e-5)


class TwoClasses(Denoiser):
    """Classes 0 and 1 are N(-mean, std^2) and N(mean, std^2); what no class (-1) means is given."""

    def __init__(self, mean, std, null):
        self.classes = [GaussianDenoiser(SCHEDULE, where, std) for where in (-mean, mean)]
        self.null = null

    def __call__(self, z, t, cond):
        label = cond.label.view(-1, 1)
        of_class = torch.where(label == 1, self.classes[1](z, t, NONE), self.classes[0](z, t, NONE))
        return torch.where(label < 0, self.null(z, t, NONE), of_class)


def guided_moments(denoiser, scale, points=501):
    """Mean and standard deviation of samples of class 1: the flow is deterministic, so quantiles of noise will do."""
    ranks = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    cond = Condition(label=torch.ones(points, dtype=torch.long))
    z = torch.special.ndtri(ranks)[:, None]
    x = DPMSolverPP2MSampler(100).sample(ClassifierFreeGuidance(denoiser, scale), SCHEDULE, z, cond)
    return x.mean().item(), x.std().item()


SCALES = (0.0, 1.0, 2.0, 4.0)


def test_guidance_moves_samples_from_the_other_class_and_narrows_them():
    """What the papers trade, fidelity against diversity, on two classes that overlap."""
    mean, std = 0.5, 0.4
    both = MixtureDenoiser(SCHEDULE, (0.5, 0.5), (-mean, mean), (std, std))
    means, stds = zip(*(guided_moments(TwoClasses(mean, std, both), scale) for scale in SCALES), strict=True)
    assert means[:2] == pytest.approx((0, mean), abs=2e-3)  # unconditional: both classes; scale 1: the one
    assert stds[:2] == pytest.approx(((mean**2 + std**2) ** 0.5, std), rel=0.02)
    assert list(means) == sorted(means)
    assert list(stds) == sorted(stds, reverse=True)
    assert means[-1] > 1.3 * mean
    assert stds[-1] < 0.7 * std


def test_what_guidance_makes_of_gaussians_has_a_closed_form():
    """A class N(m, s^2) against a null N(0, S^2), S^2 = s^2 + m^2: the flow is linear.

    With u = sigma / alpha it is dx / du = u (w (x - m) / (s^2 + u^2) + (1 - w) x / (S^2 + u^2)), so the standard
    deviation is s^w S^(1-w), and the mean w times that times the integral of (1 - q^2)^(-1 - w/2) from 0 to m / S.
    """
    mean, std = 0.5, 0.4
    whole = (mean**2 + std**2) ** 0.5
    model = TwoClasses(mean, std, GaussianDenoiser(SCHEDULE, 0.0, whole))
    q = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000 * (mean / whole)
    for scale in SCALES:
        deviation = std**scale * whole ** (1 - scale)
        area = ((1 - q**2) ** (-1 - scale / 2)).mean().item() * mean / whole
        assert guided_moments(model, scale) == pytest.approx((scale * deviation * area, deviation), rel=0.02)


def test_static_threshold_cuts_and_dynamic_threshold_divides():
    z, t = 3 * noise(4, 2, 50), torch.ones(4)
    inner = GaussianDenoiser(CosineSchedule(), 0.0, 1e3)
    t = torch.full((4,), 0.001)
    x = inner(z, t, NONE)
    assert torch.equal(Threshold(inner)(z, t, NONE), x.clamp(-1, 1))
    for quantile in (0.5, 0.995, 1.0):
        limit = torch.quantile(x.abs().flatten(1), quantile, dim=1).clamp(min=1).view(-1, 1, 1)
        expected = x.clamp(-limit, limit) / limit
        assert torch.allclose(Threshold(inner, "dynamic", quantile)(z, t, NONE), expected, atol=1e-6)


def test_replacement_keeps_the_known_frames_and_leaves_the_others_to_the_model():
    known = noise(4, 2, 2, 3, seed=1)
    denoiser = Replacement(GaussianDenoiser(SCHEDULE, 0.0, 0.5), SCHEDULE, known, FIRST, source())
    x = DDIMSampler(10).sample(denoiser, SCHEDULE, noise(4, 2, 2, 3), NONE)
    plain = DDIMSampler(10).sample(GaussianDenoiser(SCHEDULE, 0.0, 0.5), SCHEDULE, noise(4, 2, 2, 3), NONE)
    assert torch.equal(x[:, :, 0], known[:, :, 0])
    assert torch.allclose(x[:, :, 1], plain[:, :, 1])  # frames are independent in this model


@pytest.mark.parametrize(
    "sampler", [AncestralSampler(10), DDIMSampler(10), LangevinSampler(AncestralSampler(10))]
)
def test_weight_0_is_replacement(sampler):
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    inner, known = CorrelatedDenoiser(SCHEDULE, covariance), noise(4, 2, 2, 3, seed=1)
    guided = ReconstructionGuidance(inner, SCHEDULE, [KnownFrames(known, FIRST, 0.0)], source(5))
    replaced = Replacement(inner, SCHEDULE, known, FIRST, source(5))
    results = [sampler.sample(d, SCHEDULE, noise(4, 2, 2, 3), NONE, source(6)) for d in (guided, replaced)]
    assert torch.equal(*results)


def test_the_gradient_with_any_weight_runs_the_same_noise_as_replacement():
    inner, known = CorrelatedDenoiser(SCHEDULE, torch.eye(2)), noise(4, 2, 2, 3, seed=1)
    guided = ReconstructionGuidance(inner, SCHEDULE, [KnownFrames(known, FIRST, 1e-6)], source(5))
    replaced = Replacement(inner, SCHEDULE, known, FIRST, source(5))
    t = torch.full((4,), 0.5)
    assert torch.allclose(guided(noise(4, 2, 2, 3), t, NONE), replaced(noise(4, 2, 2, 3), t, NONE), atol=1e-5)


def test_the_known_frame_pulls_the_other_towards_it():
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
    inner, known = CorrelatedDenoiser(SCHEDULE, covariance), torch.full((2000, 1, 2), 1.5)
    means = []
    for weight in (0.0, 0.5, 2.0):
        guided = ReconstructionGuidance(inner, SCHEDULE, [KnownFrames(known, FIRST, weight)], source(5))
        x = AncestralSampler(100).sample(guided, SCHEDULE, noise(2000, 1, 2), NONE, source(6))
        assert (x[:, :, 0] == 1.5).all()
        means.append(x[:, :, 1].mean().item())
    exact = 0.9 * 1.5
    assert means[0] < means[1] < means[2]
    assert abs(means[2] - exact) < abs(means[0] - exact)


def test_samples_are_guided_each_on_its_own():
    net = NetworkDenoiser(video_net(), SCHEDULE, "v")
    z, known, t = noise(3, 2, 4, 6, 6), noise(3, 2, 4, 6, 6, seed=1), torch.tensor([0.2, 0.5, 0.9])
    mask = torch.tensor([True, True, False, False])

    def guided(rows, seeds):
        generators = [source(seed) for seed in seeds]
        low = LowResolution(downsample(known[rows], (3, 3)), 3.0, torch.tensor([False, False, False, True]))
        denoiser = ReconstructionGuidance(
            net, SCHEDULE, [KnownFrames(known[rows], mask, 5.0), low], generators
        )
        return denoiser(z[rows], t[rows], NONE)

    together = guided(slice(0, 3), [0, 1, 2])
    alone = torch.cat([guided(slice(i, i + 1), [i]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_low_resolution_guidance_brings_the_small_video_closer():
    net = CorrelatedDenoiser(SCHEDULE, torch.eye(4) + 0.5)
    target = downsample(noise(2, 2, 4, 8, 8, seed=3).clamp(-1, 1), (4, 4))
    z, t = noise(2, 2, 4, 8, 8), torch.full((2,), 0.5)
    guided = ReconstructionGuidance(net, SCHEDULE, [LowResolution(target, 0.2)])
    distances = [(downsample(d(z, t, NONE), (4, 4)) - target).square().sum() for d in (guided, net)]
    assert distances[0] < distances[1]


def test_guidance_is_the_same_under_inference_mode_no_grad_and_autocast():
    net = NetworkDenoiser(video_net(), SCHEDULE, "v")
    z, known, t = noise(2, 2, 4, 6, 6), noise(2, 2, 4, 6, 6, seed=1), torch.full((2,), 0.5)
    mask = torch.tensor([True, False, False, False])

    def guided():
        observations = [
            KnownFrames(known * 1, mask & True, 5.0),
            LowResolution(downsample(known, (3, 3)), 1.0),
        ]
        cond = Condition(vector=torch.ones(2, 1))
        inner = ClassifierFreeGuidance(net, 2.0)
        denoiser = Threshold(ReconstructionGuidance(inner, SCHEDULE, observations, source()))
        x = denoiser(z * 1, t * 1, cond)
        assert not x.requires_grad
        return x

    plain = guided()
    with torch.inference_mode():
        assert torch.equal(guided(), plain)
    with torch.no_grad():
        assert torch.equal(guided(), plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(guided(), plain)
    assert all(parameter.grad is None for parameter in net.net.parameters())


def test_weights_made_in_inference_mode_are_refused_in_words():
    with torch.inference_mode():
        net = NetworkDenoiser(video_net(), SCHEDULE, "v")
        known = KnownFrames(noise(1, 2, 2, 4, 4), FIRST, 1.0)
        guided = ReconstructionGuidance(net, SCHEDULE, [known], source())
        with pytest.raises(RuntimeError, match=r"outside torch\.inference_mode"):
            guided(noise(1, 2, 2, 4, 4), torch.full((1,), 0.5), NONE)


def test_a_denoiser_that_cuts_the_gradient_is_refused_in_words():
    guided = ReconstructionGuidance(
        lambda z, t, c: z.detach(), SCHEDULE, [KnownFrames(noise(1, 1, 2), FIRST, 1.0)], source()
    )
    with pytest.raises(RuntimeError, match="none reaches z"):
        guided(noise(1, 1, 2), torch.full((1,), 0.5), NONE)


def test_downsampling_by_two_keeps_constants_and_means():
    video = noise(2, 3, 4, 8, 8)
    small = downsample(video, (4, 4))
    assert small.shape == (2, 3, 4, 4, 4)
    assert torch.allclose(
        downsample(torch.full((1, 1, 2, 8, 8), 0.3), (2, 2)), torch.full((1, 1, 2, 2, 2), 0.3)
    )
    frame = nn.functional.interpolate(video[1, :, 2][None], size=(4, 4), mode="bilinear", antialias=True)[0]
    assert torch.allclose(small[1, :, 2], frame)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassifierFreeGuidance(LabelDenoiser(), -1.0), "scale must be at least 0"),
        (lambda: ClassifierFreeGuidance(LabelDenoiser(), 2.0, rescale=2.0), "rescale must lie in"),
        (lambda: Threshold(LabelDenoiser(), "soft"), "mode must be static or dynamic, got 'soft'"),
        (lambda: Threshold(LabelDenoiser(), "dynamic", 0.0), "quantile must lie in"),
        (lambda: ReconstructionGuidance(LabelDenoiser(), SCHEDULE, []), "at least one observation"),
        (
            lambda: ReconstructionGuidance(
                LabelDenoiser(), SCHEDULE, [KnownFrames(torch.zeros(1, 1, 2), FIRST, -1.0)]
            ),
            "weight of an observation must be at least 0",
        ),
        (
            lambda: Replacement(LabelDenoiser(), SCHEDULE, torch.zeros(1, 1, 3, 2, 2), FIRST),
            r"mask must be \[T\] or broadcast to the known frames \[1, 1, 3, 2, 2\]",
        ),
        (
            lambda: ReconstructionGuidance(
                LabelDenoiser(), SCHEDULE, [LowResolution(torch.zeros(1, 1, 3, 2, 2), 1.0, FIRST)]
            ),
            "frames must be a mask over 3 frames",
        ),
    ],
)
def test_a_wrong_argument_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
