"""PSNR and SSIM against closed forms, a direct sum and fixtures; LPIPS through a network of our own."""

import math

import pytest
import torch
from torch import nn

from eval_fixtures import eval_file, eval_recipe
from eval_weights import weights_file
from tiny_features import clips
from videodiff.metrics import PSNR, SSIM, LPIPSMetric, psnr, ssim
from videodiff.metrics.features import LPIPS

REAL, FAKE = clips(11, seed=1), clips(11, seed=2)


def test_psnr_of_a_constant_shift():
    grey = torch.full((2, 3, 16, 16, 3), 100, dtype=torch.uint8)
    value = psnr(grey, grey + 17)
    assert value.dtype == torch.float64
    assert value.tolist() == pytest.approx([20 * math.log10(255 / 17)] * 2, rel=1e-12)
    assert psnr(grey, grey + 17, "frame").tolist() == pytest.approx(value.tolist(), rel=1e-12)


def test_psnr_per_frame_is_never_less_than_per_clip():
    fake = REAL.clone()
    fake[:, 0] = 255 - fake[:, 0]
    fake[:, 1:] += 1
    per_clip, per_frame = psnr(REAL, fake), psnr(REAL, fake, "frame")
    assert (per_frame > per_clip).all()
    by_hand = (REAL[0].double() - fake[0].double()).square().flatten(1).mean(1)
    assert per_frame[0].item() == pytest.approx((10 * (255**2 / by_hand).log10()).mean().item(), rel=1e-12)


def test_identical_clips_are_infinite_with_a_warning_and_have_a_similarity_of_one():
    assert psnr(REAL, REAL).isinf().all()
    assert ssim(REAL, REAL).tolist() == pytest.approx([1.0] * len(REAL), abs=1e-12)
    metric = PSNR()
    metric.update(torch.cat([REAL[:2], REAL[:1]]), torch.cat([REAL[:2], FAKE[:1]]))
    with pytest.warns(UserWarning, match="2 of 3 reconstructions equal their clips"):
        assert metric.compute().isinf()


def test_float_clips_give_what_their_uint8_form_gives():
    as_model = [x.movedim(-1, 1).double() / 127.5 - 1 for x in (REAL, FAKE)]
    assert psnr(*as_model, value_range=(-1, 1)).tolist() == pytest.approx(psnr(REAL, FAKE).tolist(), rel=1e-9)
    assert ssim(*as_model, value_range=(-1, 1)).tolist() == pytest.approx(ssim(REAL, FAKE).tolist(), rel=1e-9)


def test_ssim_is_the_weighted_sum_over_each_window_inside_the_frame():
    x, y = (clip[0, 0, :13, :12, 1].double() / 255 for clip in (REAL, FAKE))
    line = torch.exp(-0.5 * (torch.arange(-5, 6).double() / 1.5) ** 2)
    window = torch.outer(line, line) / line.sum() ** 2
    values = []
    for row in range(3):
        for column in range(2):
            a, b = (image[row : row + 11, column : column + 11] for image in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            both = (window * (a - mean_a) * (b - mean_b)).sum()
            top = (2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4)
            values.append(top / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)))
    grey = [image[None, None, :, :, None].expand(1, 1, 13, 12, 3).movedim(-1, 1) for image in (x, y)]
    assert ssim(*grey, value_range=(0, 1)).item() == pytest.approx(
        torch.stack(values).mean().item(), rel=1e-10
    )


def test_fixture_values():
    recipe, expected = eval_recipe(), eval_file("expected.json")["recon"]
    x = recipe.synth(expected["clips"]["seed"], expected["clips"]["n"], t=expected["clips"]["t"])
    y = torch.from_numpy(recipe.degrade(x, expected["degrade_seed"]))
    x = torch.from_numpy(x)
    assert psnr(x, y).tolist() == pytest.approx(expected["psnr_per_clip"], abs=1e-9)
    assert psnr(x, y).mean().item() == pytest.approx(expected["psnr_clip_mean"], abs=1e-9)
    assert psnr(x, y, "frame").mean().item() == pytest.approx(expected["psnr_frame_mean"], abs=1e-9)
    assert ssim(x, y).mean().item() == pytest.approx(expected["ssim_gaussian"], abs=1e-7)
    assert abs(ssim(x, y).mean().item() - expected["ssim_reflect_border_torchmetrics"]) > 0.02


def test_lpips_fixture_value():
    recipe, expected = eval_recipe(), eval_file("expected.json")["recon"]
    network = LPIPS("alex", weights=str(weights_file("lpips_alex.fp16.safetensors")))
    x = recipe.synth(expected["clips"]["seed"], expected["clips"]["n"], t=expected["clips"]["t"])
    metric = LPIPSMetric(network)
    metric.update(torch.from_numpy(x), torch.from_numpy(recipe.degrade(x, expected["degrade_seed"])))
    assert metric.name == "lpips_alex"
    assert metric.compute().item() == pytest.approx(expected["lpips_alex"], abs=2e-5)


class Distance(nn.Module):
    """Mean square of fixed random projections, in place of a perceptual network."""

    net = "tiny"

    def forward(self, x, y):
        weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0))
        return (nn.functional.conv2d(x, weight) - nn.functional.conv2d(y, weight)).square().flatten(1).mean(1)


@pytest.mark.parametrize("make", [PSNR, lambda: PSNR("frame"), SSIM, lambda: LPIPSMetric(Distance())])
def test_a_mean_over_clips_does_not_depend_on_the_batches(make):
    values = []
    for batch in (1, 3, 16):
        metric = make()
        for x, y in zip(REAL.split(batch), FAKE.split(batch), strict=True):
            metric.update(x, y)
        values.append(metric.compute().item())
    assert values == pytest.approx([values[0]] * 3, rel=1e-12)
    assert metric.per_clip().shape == (11,)
    assert metric.per_clip().mean().item() == values[-1]


def test_lpips_is_the_mean_over_frames_of_pixels_between_minus_one_and_one():
    metric = LPIPSMetric(Distance())
    metric.update(REAL, FAKE)
    x, y = (clip.flatten(0, 1).movedim(-1, 1).float() / 127.5 - 1 for clip in (REAL, FAKE))
    assert metric.compute().item() == pytest.approx(Distance()(x, y).double().mean().item(), rel=1e-6)
    assert metric.name == "lpips_tiny"
    assert list(metric.modules()) == [metric]


def test_repeated_clips_count_once():
    metric, index = PSNR(), torch.arange(11)
    metric.update(REAL, FAKE, index)
    metric.update(REAL[:4], FAKE[:4], index[:4])
    assert metric.compute().item() == pytest.approx(psnr(REAL, FAKE).mean().item(), rel=1e-12)


@pytest.mark.parametrize(
    ("real", "fake", "value_range", "error", "words"),
    [
        (REAL, FAKE[:3], None, ValueError, "one shape"),
        (REAL, FAKE.float(), None, ValueError, "one shape and kind"),
        (REAL.float(), FAKE.float(), None, ValueError, r"must have the shape \[B, 3, T, H, W\]"),
        (REAL.movedim(-1, 1).float(), FAKE.movedim(-1, 1).float(), None, ValueError, "need value_range"),
        (
            REAL.movedim(-1, 1).float(),
            FAKE.movedim(-1, 1).float(),
            (-1, 1),
            ValueError,
            "outside value_range",
        ),
        (REAL.long(), FAKE.long(), None, TypeError, "uint8 or float, got int64"),
        (
            REAL.movedim(-1, 1),
            FAKE.movedim(-1, 1),
            None,
            ValueError,
            r"must have the shape \[B, T, H, W, 3\]",
        ),
    ],
)
def test_wrong_pairs_are_refused_in_one_line(real, fake, value_range, error, words):
    for measure in (psnr, ssim):
        with pytest.raises(error, match=words):
            measure(real, fake, value_range=value_range)


def test_not_a_number_is_outside_every_range():
    broken = REAL.movedim(-1, 1).float() / 127.5 - 1
    broken[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="outside value_range"):
        psnr(broken, broken, value_range=(-1, 1))


def test_frames_below_a_window_and_metrics_without_clips_are_refused():
    with pytest.raises(ValueError, match="at least 11x11 pixels, got 10x16"):
        ssim(REAL[:, :, :10], FAKE[:, :, :10])
    with pytest.raises(ValueError, match="psnr_frame needs at least 1 clip, got 0"):
        PSNR("frame").compute()
    with pytest.raises(ValueError, match="reduce must be clip or frame"):
        PSNR("video")
    with pytest.raises(TypeError, match="must be uint8"):
        SSIM().update(REAL.float(), FAKE.float())
