"""Scheduler configs of diffusers: step by step against its documented formulas, and against it if it is there."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from published_files import ASSETS, needs_assets
from videodiff.config.trust import resolve
from videodiff.diffusion import (
    AncestralSampler,
    Condition,
    CosineSchedule,
    DDIMSampler,
    Denoiser,
    DiscreteCosineSchedule,
    DPMSolverPP2MSampler,
    HeunSampler,
    LinearSchedule,
    ScaledLinearSchedule,
    StraightSchedule,
    UniPCSampler,
)
from videodiff.diffusion.prediction import to_x
from videodiff.diffusion.scheduler_config import (
    from_scheduler_config,
    read_scheduler_config,
    to_scheduler_config,
    usage_note,
)
from videodiff.diffusion.scheduler_keys import (
    DEFAULTS_BY,
    FLOW_SCHEDULERS,
    READ,
    READ_BY,
    READ_FLOW,
    WITHOUT_EFFECT,
)

SHAPE = (2, 3, 4)
SCHEDULES = {
    "scaled_linear": ScaledLinearSchedule(1000, 0.0015, 0.0195),
    "linear": LinearSchedule(),
    "squaredcos_cap_v2": DiscreteCosineSchedule(),
    "trained": DiscreteCosineSchedule(max_beta=0.9999),
}
GRIDS = ["trailing", "pvdm", "leading", "ldm"]


def output(z, index):
    """Stands for a network: any function of z and the index."""
    return torch.tanh(1.3 * z + 0.001 * index) * 0.9 + 0.2 * z.flip(-1)


class Network(Denoiser):
    def __init__(self, schedule, prediction, clamped=False):
        self.schedule, self.prediction, self.clamped, self.seen = schedule, prediction, clamped, []

    def __call__(self, z, t, cond):
        return self.estimate(z, t, cond)[0]

    def estimate(self, z, t, cond):
        index = int(self.schedule.network_time(t)[0])
        self.seen.append((index, z.clone()))
        x = to_x(self.prediction, output(z, index), z, *self.schedule.alpha_sigma(t, z.ndim))
        return (x.clamp(-1, 1), x) if self.clamped else (x, x)


def drawn(schedule, sampler, prediction, clamped=False):
    """Our run: the index and z of every call of the network, and what came out."""
    net = Network(schedule, prediction, clamped)
    torch.manual_seed(0)
    start = torch.randn(SHAPE, dtype=torch.float64)
    torch.manual_seed(1)
    x = sampler.sample(net, schedule, start, Condition())
    return start, net.seen, x


# --- the documented formulas, written once more from the config alone ---------------------------------------------


def tables(config):
    """Cumulative products of alphas, as the documentation of diffusers defines each beta_schedule."""
    n, b0, b1 = config["num_train_timesteps"], config["beta_start"], config["beta_end"]
    if config["trained_betas"] is not None:
        betas = np.array(config["trained_betas"])
    elif config["beta_schedule"] == "scaled_linear":
        betas = np.linspace(b0**0.5, b1**0.5, n) ** 2
    elif config["beta_schedule"] == "linear":
        betas = np.linspace(b0, b1, n)
    else:
        bar = lambda u: np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2  # noqa: E731
        betas = np.array([min(1 - bar((i + 1) / n) / bar(i / n), 0.999) for i in range(n)])
    return np.cumprod(1 - betas)


def timesteps(config, steps):
    total = config["num_train_timesteps"]
    if config["timestep_spacing"] == "trailing":
        return np.round(np.arange(total, 0, -total / steps)).astype(int) - 1
    return (np.arange(steps) * (total // steps))[::-1] + config["steps_offset"]


def estimates(config, bar, z, t):
    """x and eps of the network's output at index t."""
    a, s = bar[t] ** 0.5, (1 - bar[t]) ** 0.5
    out = output(z, int(t))
    if config["prediction_type"] == "epsilon":
        return (z - s * out) / a, out
    if config["prediction_type"] == "sample":
        return out, (z - a * out) / s
    return a * z - s * out, a * out + s * z


def documented_ddim(config, steps, eta, z, recompute):
    bar, seen = tables(config), []
    final = 1.0 if config["set_alpha_to_one"] else bar[0]
    for t in timesteps(config, steps):
        seen.append((int(t), z.clone()))
        before = t - config["num_train_timesteps"] // steps
        at, ab = bar[t], bar[before] if before >= 0 else final
        x, eps = estimates(config, bar, z, t)
        if config["clip_sample"]:
            x = x.clamp(-1, 1)
            eps = (z - at**0.5 * x) / (1 - at) ** 0.5 if recompute else eps
        sd = eta * ((1 - ab) / (1 - at) * (1 - at / ab)) ** 0.5
        z = ab**0.5 * x + (1 - ab - sd**2) ** 0.5 * eps
        if eta > 0 and sd > 0:
            z = z + sd * torch.randn_like(z)
    return seen, z


def documented_dpm(config, steps, z):
    """DPM-Solver++ 2M, midpoint, ending at sigma 0."""
    bar, seen, grid = tables(config), [], timesteps(config, steps)
    lam = lambda t: 0.5 * np.log(bar[t] / (1 - bar[t]))  # noqa: E731
    previous = None
    for k, t in enumerate(grid):
        seen.append((int(t), z.clone()))
        x, _ = estimates(config, bar, z, t)
        x = x.clamp(-1, 1) if config["thresholding"] else x
        if k == len(grid) - 1:
            return seen, x
        s = grid[k + 1]
        h, a, ratio = lam(s) - lam(t), bar[s] ** 0.5, ((1 - bar[s]) / (1 - bar[t])) ** 0.5
        z_next = ratio * z - a * np.expm1(-h) * x
        if previous is not None:
            r = (lam(t) - lam(grid[k - 1])) / h
            z_next = z_next - 0.5 * a * np.expm1(-h) * (x - previous) / r
        z, previous = z_next, x
    return seen, z


def same_steps(ours, theirs, atol=1e-6):
    assert [index for index, _ in ours] == [index for index, _ in theirs]
    for (_, a), (_, b) in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b.to(a), atol=atol, rtol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_ddim_takes_the_documented_steps(name, grid, eta):
    schedule = SCHEDULES[name]
    for prediction, threshold, recompute in (
        ("eps", "none", True),
        ("v", "static", True),
        ("eps", "static", False),
    ):
        sampler = DDIMSampler(20, eta, grid, recompute)
        config = to_scheduler_config(schedule, sampler, prediction, threshold)
        start, seen, x = drawn(schedule, sampler, prediction, threshold == "static")
        torch.manual_seed(1)
        theirs, end = documented_ddim(config, 20, eta, start, recompute)
        same_steps(seen, theirs, 1e-5)
        torch.testing.assert_close(x, end.to(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("steps", [2, 7, 10, 25])
@pytest.mark.parametrize("name", SCHEDULES)
def test_dpm_solver_takes_the_documented_steps(name, steps):
    schedule, sampler = SCHEDULES[name], DPMSolverPP2MSampler(steps, grid="trailing")
    for prediction, threshold in (("eps", "none"), ("v", "static")):
        config = to_scheduler_config(schedule, sampler, prediction, threshold)
        start, seen, x = drawn(schedule, sampler, prediction, threshold == "static")
        theirs, end = documented_dpm(config, steps, start)
        same_steps(seen, theirs, 1e-5)
        torch.testing.assert_close(x, end.to(x), atol=1e-5, rtol=1e-5)


def test_ancestral_is_ddim_with_eta_one():
    config = to_scheduler_config(SCHEDULES["linear"], AncestralSampler(20), "eps", "static")
    start, seen, _ = drawn(SCHEDULES["linear"], AncestralSampler(20), "eps", True)
    torch.manual_seed(1)
    same_steps(seen, documented_ddim(config, 20, 1.0, start, True)[0], 1e-5)
    assert usage_note(AncestralSampler(20), "static") == (
        "Call it with num_inference_steps=20, eta=1, use_clipped_model_output=True."
    )


@pytest.mark.parametrize(
    "sampler", [*(DDIMSampler(20, 0.5, g, False) for g in GRIDS), DPMSolverPP2MSampler(20, "trailing")]
)
@pytest.mark.parametrize("name", ["scaled_linear", "linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize(("prediction", "threshold"), [("eps", "none"), ("v", "static"), ("x", "static")])
def test_there_and_back(name, sampler, prediction, threshold, tmp_path):
    config = to_scheduler_config(SCHEDULES[name], sampler, prediction, threshold)
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config))
    back = read_scheduler_config(tmp_path, num_steps=20, eta=0.5)
    assert (back["prediction"], back["threshold"]) == (prediction, threshold)
    schedule, again = (
        resolve(back[p]["class_path"])(**back[p]["init_args"]) for p in ("schedule", "sampler")
    )
    torch.testing.assert_close(schedule.alpha_bar, SCHEDULES[name].alpha_bar, rtol=1e-6, atol=0)
    torch.testing.assert_close(again.times(schedule), sampler.times(SCHEDULES[name]))
    assert to_scheduler_config(schedule, again, prediction, threshold) == pytest.approx(config)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("kind", [DDIMSampler, HeunSampler])
def test_flow_matching_goes_there_and_back(kind, shift, tmp_path):
    path = StraightSchedule(shift, smallest_time=shift * 1e-3 / (1 + (shift - 1) * 1e-3))
    sampler = kind(10, grid="solver")
    config = to_scheduler_config(path, sampler, "flow")
    assert config["_class_name"].startswith("FlowMatch")
    assert usage_note(sampler, "none") == "Call it with num_inference_steps=10."
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config))
    back = read_scheduler_config(tmp_path, num_steps=10)
    assert (back["prediction"], back["threshold"]) == ("flow", "none")
    schedule, again = (
        resolve(back[p]["class_path"])(**back[p]["init_args"]) for p in ("schedule", "sampler")
    )
    assert type(again) is kind
    torch.testing.assert_close(again.times(schedule), sampler.times(path))

    # the documented grid: the smallest level is shifted, equal steps lead to it, and each is shifted again
    def shifted(t):
        return shift * t / (1 + (shift - 1) * t)

    documented = shifted(np.append(np.linspace(1, shifted(0.001), 10), 0.0))
    sigma = schedule.alpha_sigma(again.times(schedule).double())[1]
    np.testing.assert_allclose(sigma, documented, atol=1e-7)
    assert to_scheduler_config(schedule, again, "flow") == pytest.approx(config)


FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}


@pytest.mark.parametrize(
    ("schedule", "sampler", "prediction", "words"),
    [
        (StraightSchedule(), DDIMSampler(20), "flow", "ours on grid solver, got 'trailing'"),
        (
            StraightSchedule(3.0),
            DDIMSampler(20, grid="solver"),
            "flow",
            "ends at smallest_time 0.00299401 of ours",
        ),
        (StraightSchedule(), DDIMSampler(20, grid="solver"), "x", "there predicts flow, got prediction x"),
        (StraightSchedule(), DDIMSampler(20, 1.0, "solver"), "flow", "DDIM with eta 0"),
        (StraightSchedule(), UniPCSampler(20), "flow", "UniPCSampler has no equal there"),
        (
            LinearSchedule(),
            DDIMSampler(20),
            "flow",
            "prediction flow is theirs on the straight schedule only",
        ),
        (LinearSchedule(), HeunSampler(20), "v", "HeunSampler has no equal there"),
    ],
)
def test_what_of_flow_has_no_equal_there_is_said(schedule, sampler, prediction, words):
    with pytest.raises(ValueError, match=words):
        to_scheduler_config(schedule, sampler, prediction)


@pytest.mark.parametrize(
    ("schedule", "sampler", "threshold", "words"),
    [
        (CosineSchedule(), DDIMSampler(20), "none", "continuous in time"),
        (SCHEDULES["linear"], DDIMSampler(20, grid="linspace"), "none", "take trailing"),
        (SCHEDULES["linear"], DDIMSampler(30), "none", "divide 1000, got 30"),
        (SCHEDULES["linear"], DPMSolverPP2MSampler(20), "none", "grid trailing, got 'solver'"),
        (SCHEDULES["linear"], AncestralSampler(20, 0.3), "none", "gamma 0, got 0.3"),
        (SCHEDULES["linear"], DDIMSampler(20), "dynamic", "threshold dynamic"),
    ],
)
def test_what_has_no_equal_there_is_said(schedule, sampler, threshold, words):
    with pytest.raises(ValueError, match=words):
        to_scheduler_config(schedule, sampler, "eps", threshold)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"_class_name": "PNDMScheduler"},
            "DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEuler.* is wanted",
        ),
        ({"timestep_spacing": "linspace"}, "no grid of ours"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule must be one of"),
        ({"trained_betas": [0.1, 0.2]}, "a table of their own"),
        ({"clip_sample_range": 2.0}, "clip_sample_range must be 1"),
    ],
)
def test_what_has_no_equal_here_is_said(change, words):
    config = to_scheduler_config(SCHEDULES["linear"], DDIMSampler(20), "eps", "static")
    with pytest.raises(ValueError, match=words):
        from_scheduler_config({**config, **change})


DPM = {"_class_name": "DPMSolverMultistepScheduler", "timestep_spacing": "trailing"}
DDIM = {"_class_name": "DDIMScheduler", "timestep_spacing": "trailing"}


@pytest.mark.parametrize(
    ("config", "change"),
    [
        (DPM, {"use_beta_sigmas": True}),
        (DPM, {"use_exponential_sigmas": True}),
        (DPM, {"use_lu_lambdas": True}),
        (DPM, {"use_karras_sigmas": True}),
        (DPM, {"use_flow_sigmas": True}),
        (DPM, {"flow_shift": 3.0}),
        (DPM, {"euler_at_final": True}),
        (DPM, {"lambda_min_clipped": -5.1}),
        (DPM, {"variance_type": "learned_range"}),
        (DPM, {"use_dynamic_shifting": True}),
        (DPM, {"solver_order": 3}),
        (DPM, {"snr_shift_scale": 3.0}),
        (DDIM, {"snr_shift_scale": 3.0}),
        (FLOW, {"use_dynamic_shifting": True}),
        (FLOW, {"shift_terminal": 0.02}),
        (FLOW, {"stochastic_sampling": True}),
        (FLOW, {"num_train_timesteps": 500}),
        (FLOW, {"beta_schedule": "linear"}),
        (DDIM, {"use_karras_sigmas": True}),
        (DDIM, {"sigma_schedule": None}),
    ],
)
def test_a_key_that_changes_the_steps_or_that_nobody_knows_is_refused_by_its_name(config, change):
    from_scheduler_config(config)
    ((key, value),) = change.items()
    with pytest.raises(ValueError, match=f"{key} .*{value}") as refusal:
        from_scheduler_config({**config, **change})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("config", "change"),
    [
        (
            DPM,
            {"euler_at_final": False, "use_lu_lambdas": False, "flow_shift": 1.0, "use_flow_sigmas": False},
        ),
        (DPM, {"lambda_min_clipped": float("-inf"), "variance_type": None, "flow_shift": 1}),
        (DPM, {"clip_sample": True, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1}),
        (
            DDIM,
            {
                "skip_prk_steps": True,
                "_diffusers_version": "0.35.1",
                "_use_default_values": ["trained_betas"],
            },
        ),
        (DDIM, {"sample_max_value": 4.0, "dynamic_thresholding_ratio": 0.9}),
        (FLOW, {"use_dynamic_shifting": False, "base_shift": 0.5, "max_shift": 1.15, "shift_terminal": None}),
    ],
)
def test_a_key_without_effect_changes_nothing(config, change):
    assert from_scheduler_config({**config, **change}) == from_scheduler_config(config)


def test_every_argument_of_diffusers_schedulers_is_known():
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    for name in READ_BY:
        known = READ_FLOW if name in FLOW_SCHEDULERS else READ
        known = known | READ_BY[name] | WITHOUT_EFFECT[name] | DEFAULTS_BY[name].keys()
        assert set(inspect.signature(getattr(diffusers, name)).parameters) <= known


def test_diffusers_takes_the_same_steps():
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    samplers = [DDIMSampler(20, eta, grid, False) for grid in GRIDS for eta in (0.0, 1.0)]
    for schedule in SCHEDULES.values():
        for sampler in (*samplers, DPMSolverPP2MSampler(20, "trailing")):
            for threshold in ("none", "static"):
                compare(diffusers, schedule, sampler, threshold)


def compare(diffusers, schedule, sampler, threshold):
    config = to_scheduler_config(schedule, sampler, "v", threshold)
    theirs = getattr(diffusers, config["_class_name"]).from_config(config)
    theirs.set_timesteps(20)
    z, seen, x = drawn(schedule, sampler, "v", threshold == "static")
    torch.manual_seed(1)
    steps, eta = [], getattr(sampler, "eta", 0.0)
    last = len(theirs.timesteps) - (
        0 if sampler.grid == "ldm" else 1
    )  # no noise is drawn for a step to clean data
    for k, t in enumerate(theirs.timesteps):
        steps.append((int(t), z.clone()))
        noise = torch.randn_like(z) if k < last else torch.zeros_like(z)
        more = {"eta": eta, "variance_noise": noise} if eta > 0 else {}
        z = theirs.step(output(z, int(t)), t, z, **more).prev_sample
    same_steps(seen, steps, 2e-3)  # their tables are fp32, ours fp64
    torch.testing.assert_close(x, z.to(x), atol=2e-3, rtol=1e-3)


@needs_assets
def test_the_folder_of_a_published_scheduler_draws_at_its_time_steps():
    systems = Path(ASSETS) / "fixtures" / "systems"
    found = read_scheduler_config(systems / "folders" / "scheduler", num_steps=4)
    assert read_scheduler_config(systems / "folders", num_steps=4) == found  # a pipeline
    schedule, sampler = (
        resolve(found[part]["class_path"])(**found[part]["init_args"]) for part in ("schedule", "sampler")
    )
    assert (found["prediction"], found["threshold"]) == ("eps", "none")
    assert (schedule.alpha_bar[0].item(), schedule.alpha_bar[-1].item()) == pytest.approx(
        (0.99915, 0.0046601)
    )
    times = [index for index, _ in drawn(schedule, sampler, found["prediction"])[1]]
    assert times == np.load(systems / "folder_outputs.npz")["ddim_timesteps_4"].tolist()
