"""Rescaled guidance, the quantile of the dynamic threshold and min-SNR's cut: options of every model, in every door."""

import json
from itertools import product

import pytest
import torch

from videodiff.cli import main
from videodiff.conditioning import Request
from videodiff.config import read_configs
from videodiff.diffusion import (
    AncestralSampler,
    ClassifierFreeGuidance,
    Condition,
    CosineSchedule,
    DDIMSampler,
    DPMSolverPP2MSampler,
    NetworkDenoiser,
    ScaledLinearSchedule,
    Threshold,
)
from videodiff.diffusion.loss import loss_weight
from videodiff.models import LVDM, PVDM, VDM
from videodiff.networks import Autoencoder3D, TriplaneAutoencoder, TriplaneUNet, UNet3D

SMOKE = ["--config", "vdm_digits", "--config", "with/smoke"]


def model(kind, **options):
    """A small model with two classes whose output depends on all it is told."""
    torch.manual_seed(0)
    options = {"sampler": DDIMSampler(3), "condition_drop": 0.0, **options}
    small = {"channel_multipliers": (1, 2), "num_blocks": 1, "num_classes": 2}
    if kind == "VDM":
        net = UNet3D(resolution=8, num_frames=4, width=32, attention_resolutions=(4,), head_dim=16, **small)
        made = VDM(net, CosineSchedule(), **options)
    elif kind == "LVDM":
        stage = Autoencoder3D(8, 16, width=4, downsample=(2, 2, 2), latent_channels=4)
        net = UNet3D(
            channels=4, resolution=8, num_frames=4, width=16, attention_resolutions=(4,), heads=2, concat_channels=1,
            **small,
        )  # fmt: skip
        made = LVDM(net, CosineSchedule(), autoencoder=stage, prediction_share=0.5, **options)
    else:
        stage = TriplaneAutoencoder(
            4, 16, patch_size=4, width=16, depth=1, heads=2, head_dim=8, projection_depth=1
        )
        net = TriplaneUNet(4, 4, 4, width=32, attention_levels=(0,), heads=4, **small)
        made = PVDM(net, CosineSchedule(), autoencoder=stage, **options)
    for parameter in made.net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return made.eval()


def draw(made, scale):
    frames = 2 * made.video_shape[1] - made.plan.overlap  # the second window is given some of the first
    return made.generate_latent(1, frames, seed=1, request=Request(torch.tensor([1])), guidance_scale=scale)


@pytest.mark.parametrize("kind", ["VDM", "LVDM", "PVDM"])
def test_rescaled_guidance_shapes_every_window_and_nothing_without_guidance(kind, monkeypatch):
    shares = []
    init = ClassifierFreeGuidance.__init__

    def watched(self, *args, **kwargs):
        init(self, *args, **kwargs)
        shares.append(self.rescale)

    monkeypatch.setattr(ClassifierFreeGuidance, "__init__", watched)
    plain, rescaled = model(kind, threshold="none"), model(kind, threshold="none", guidance_rescale=0.7)
    assert not torch.equal(draw(plain, 3.0), draw(rescaled, 3.0))
    assert set(shares[len(shares) // 2 :]) == {0.7}
    assert set(shares[: len(shares) // 2]) == {0.0}
    assert torch.equal(draw(plain, 1.0), draw(rescaled, 1.0))


@pytest.mark.parametrize("kind", ["VDM", "LVDM", "PVDM"])
def test_the_quantile_is_that_of_the_dynamic_threshold(kind, monkeypatch):
    seen = []
    init = Threshold.__init__

    def watched(self, denoiser, mode="static", quantile=0.995):
        init(self, denoiser, mode, quantile)
        seen.append((mode, quantile))

    monkeypatch.setattr(Threshold, "__init__", watched)
    draw(model(kind, threshold="dynamic", threshold_quantile=0.5), 1.0)
    assert set(seen) == {("dynamic", 0.5)}


@pytest.mark.parametrize("kind", ["VDM", "LVDM", "PVDM"])
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_cuts_at_its_gamma(kind, gamma):
    plain, weighted = model(kind), model(kind, weighting="min_snr", min_snr_gamma=gamma)
    frames = 8 if kind != "VDM" else 4
    video = (
        torch.rand(8, 3, frames, *plain.video_shape[2:], generator=torch.Generator().manual_seed(1)) * 2 - 1
    )
    batch = {"video": video, "sample": torch.arange(8), "label": torch.zeros(8, dtype=torch.long)}
    t = plain.schedule.draw_times(plain.keys_of(batch, "val").uniforms("val", "time"))
    wanted = loss_weight(plain.schedule.log_snr(t), "v", "min_snr", gamma)
    snr = plain.schedule.log_snr(t).exp()
    torch.testing.assert_close(wanted, snr.clamp(max=gamma) / (snr + 1))
    torch.testing.assert_close(weighted.losses(batch, "val"), plain.losses(batch, "val") * wanted)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"guidance_scale": -1.0}, "guidance_scale must be at least 0 (1 is no guidance), got -1.0"),
        ({"threshold": "hard"}, "threshold must be static, dynamic or none, got 'hard'"),
        ({"prediction": "noise"}, "prediction must be one of eps, x, v, flow, got 'noise'"),
        ({"guidance_rescale": 1.5}, "guidance_rescale must lie in [0, 1], got 1.5"),
        ({"guidance_rescale": -0.1}, "guidance_rescale must lie in [0, 1], got -0.1"),
        (
            {"threshold": "dynamic", "threshold_quantile": 0.0},
            "threshold_quantile must lie in (0, 1], got 0.0",
        ),
        (
            {"threshold_quantile": 0.9},
            "threshold_quantile 0.9 is of threshold dynamic and has no effect on static",
        ),
        ({"weighting": "min_snr", "min_snr_gamma": 0.0}, "min_snr_gamma must be above 0 and finite, got 0.0"),
        (
            {"min_snr_gamma": 3.0},
            "min_snr_gamma 3.0 is of weightings min_snr and fused_snr and has no effect on simple",
        ),
    ],
)
def test_a_value_out_of_range_or_without_effect_is_refused_by_every_model(options, words):
    for kind in ("VDM", "LVDM", "PVDM"):
        with pytest.raises(ValueError) as refusal:
            model(kind, **options)
        assert str(refusal.value) == words


SCHEDULES = (CosineSchedule(), ScaledLinearSchedule(20), ScaledLinearSchedule(20, zero_terminal_snr=True))
SAMPLERS = (AncestralSampler, DDIMSampler, DPMSolverPP2MSampler)


@pytest.mark.parametrize("prediction", ["eps", "x", "v"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=["cosine", "table", "table to pure noise"])
def test_what_sampling_refuses_is_refused_before_the_first_step(schedule, prediction):
    net = model("VDM").net

    def draw(made):
        denoiser = NetworkDenoiser(lambda z, time, cond: 0.1 * z, schedule, prediction)
        x = made.sample(denoiser, schedule, torch.randn(1, 1, 4), Condition())
        assert torch.isfinite(x).all()

    def begin(made):
        VDM(net, schedule, made, prediction=prediction).check_samplers()

    for kind, grid, steps in product(SAMPLERS, ("trailing", "leading", "ldm", "solver"), (4, 25)):
        said = []
        for work in (draw, begin):
            try:
                work(kind(steps, grid=grid))
                said.append(None)
            except ValueError as error:
                said.append(str(error))
        assert said[0] == said[1], (kind, grid, steps)


@pytest.mark.parametrize("config", ["vdm_digits", "lvdm_digits", "pvdm_digits"])
def test_they_are_options_of_every_config(config):
    words = [
        "--model.guidance_rescale",
        "0.7",
        "--model.threshold",
        "dynamic",
        "--model.threshold_quantile",
        "0.9",
    ]
    words += ["--model.weighting", "min_snr", "--model.min_snr_gamma", "3"]
    options = read_configs([config], "fit", words)["model"]["init_args"]
    assert {key: options[key] for key in ("guidance_rescale", "threshold_quantile", "min_snr_gamma")} == {
        "guidance_rescale": "0.7", "threshold_quantile": "0.9", "min_snr_gamma": "3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.guidance_rescale", "1.5"], "--model.guidance_rescale must be from 0 to 1, got 1.5"),
        (
            ["--model.threshold_quantile", "0"],
            "--model.threshold_quantile must be above 0 and at most 1, got 0",
        ),
        (
            ["--model.prediction", "eps", "--model.schedule", "ScaledLinearSchedule"]
            + ["--model.schedule.zero_terminal_snr", "true"],
            "prediction 'eps' cannot be used where alpha is 0 at t = 1",
        ),
        (
            ["--model.sampler.grid", "ldm"],
            "grid of CosineSchedule must be one of trailing, linspace, solver, got 'ldm'",
        ),
        (["--model.min_snr_gamma", "-1"], "--model.min_snr_gamma must be above 0, got -1"),
        (
            ["--model.min_snr_gamma", "3"],
            "min_snr_gamma 3.0 is of weightings min_snr and fused_snr and has no effect on simple",
        ),
    ],
)
def test_the_command_line_refuses_them_in_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMOKE, *words]) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_generate_takes_a_rescale_in_place_of_the_models_and_writes_it_down(tmp_path, capsys):
    run = str(tmp_path / "run")
    assert (
        main(
            ["fit", *SMOKE, "--model.threshold", "dynamic", "--trainer.limit_val_batches", "0", "--out", run]
        )
        == 0
    )
    words = [
        "generate",
        "--ckpt_path",
        run,
        "--num_samples",
        "1",
        "--steps",
        "2",
        "--guidance",
        "3",
        "--class_id",
        "1",
    ]
    assert main([*words, "--guidance_rescale", "0.7", "--out", str(tmp_path / "drawn"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert {key: record[key] for key in ("guidance_rescale", "threshold", "threshold_quantile")} == {
        "guidance_rescale": 0.7, "threshold": "dynamic", "threshold_quantile": 0.995,
    }  # fmt: skip
    assert main([*words, "--guidance_rescale", "7"]) == 2
    assert "--guidance_rescale must be at most 1, got 7.0" in capsys.readouterr().err
