"""Schedules and samplers as ``scheduler_config.json`` of diffusers, both ways.

What is written draws the same steps there as here (DDIM: Song et al. 2021; DPM-Solver++ 2M: Lu et al. 2023). diffusers
keeps neither the number of steps nor eta in this file: they are arguments of its calls (:func:`usage_note`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videodiff import placeholder
from videodiff.diffusion.discrete_schedule import (
    DiscreteCosineSchedule,
    DiscreteSchedule,
    LinearSchedule,
    ScaledLinearSchedule,
)
from videodiff.diffusion.flow_scheduler_config import from_flow_config, to_flow_config
from videodiff.diffusion.sampler import Sampler
from videodiff.diffusion.samplers import (
    AncestralSampler,
    DDIMSampler,
    DPMSolverPP2MSampler,
    LearnedRangeSampler,
)
from videodiff.diffusion.schedule import NoiseSchedule
from videodiff.diffusion.scheduler_keys import FLOW_SCHEDULERS, READ_BY, check_keys
from videodiff.diffusion.straight_schedule import StraightSchedule
from videodiff.reading import read_mapping

Config = dict[str, Any]
PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "x": "sample"}
# our grid -> (timestep_spacing, steps_offset, set_alpha_to_one)
SPACINGS = {
    "trailing": ("trailing", 0, True),
    "pvdm": ("trailing", 0, True),
    "leading": ("leading", 0, True),
    "ldm": ("leading", 1, False),
}
MAX_BYTES = 1 << 20


# --- out ----------------------------------------------------------------------------------------------------------


def to_scheduler_config(
    schedule: NoiseSchedule, sampler: Sampler, prediction: str, threshold: str = "none"
) -> Config:
    """The config of the diffusers scheduler that takes the same steps.

    Args:
        schedule: a table of betas, or the straight one.
        sampler: DDIM, ancestral with gamma 0 (which is DDIM with eta 1), or DPM-Solver++ on the trailing grid; of the
            straight schedule DDIM with eta 0 or Heun on the grid solver.
        prediction: eps, v or x; of the straight schedule flow.
        threshold: none or static.

    Raises:
        ValueError: in one line, for what diffusers cannot do step for step.
    """
    if isinstance(schedule, StraightSchedule):
        return to_flow_config(schedule, sampler, prediction, threshold)
    if not isinstance(schedule, DiscreteSchedule):
        raise ValueError(f"{type(schedule).__name__} is continuous in time, diffusers' schedulers are tables")
    if threshold not in ("none", "static"):
        raise ValueError(f"threshold {threshold} has no equal there; none and static have")
    common = {
        "_diffusers_version": "0.30.0",
        "num_train_timesteps": schedule.num_train_steps,
        **betas_config(schedule),
        "prediction_type": predicted_there(prediction),
    }
    if isinstance(sampler, DPMSolverPP2MSampler):
        return {
            "_class_name": "DPMSolverMultistepScheduler",
            **common,
            **dpm_config(schedule, sampler, threshold),
        }
    if isinstance(sampler, AncestralSampler) and sampler.gamma != 0:
        raise ValueError(f"ancestral sampling there has gamma 0, got {sampler.gamma}")
    if isinstance(sampler, LearnedRangeSampler) or not isinstance(sampler, (DDIMSampler, AncestralSampler)):
        raise ValueError(
            f"{type(sampler).__name__} has no equal there; DDIM, ancestral and DPM-Solver++ have"
        )
    return {"_class_name": "DDIMScheduler", **common, **ddim_config(schedule, sampler, threshold)}


def predicted_there(prediction: str) -> str:
    """Their name of a prediction."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction {prediction} is theirs on the straight schedule only")
    return PREDICTIONS[prediction]


def betas_config(schedule: DiscreteSchedule) -> Config:
    """The betas by their name and two ends where diffusers computes the same, else one by one."""
    betas = betas_of(schedule)
    ends = {"beta_start": round(float(betas[0]), 9), "beta_end": round(float(betas[-1]), 9)}
    for name in ("scaled_linear", "linear", "squaredcos_cap_v2"):
        config = {**ends, "beta_schedule": name}
        try:
            same = torch.allclose(betas_of(schedule_of(config, len(betas))), betas, rtol=1e-6, atol=1e-10)
        except ValueError:
            continue
        if same:
            return {**config, "trained_betas": None}
    return {**ends, "beta_schedule": "linear", "trained_betas": betas.tolist()}


def betas_of(schedule: DiscreteSchedule) -> Tensor:
    """``1 - alpha_bar_i / alpha_bar_(i-1)``, fp64."""
    alpha_bar = schedule.alpha_bar
    before = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    return 1 - alpha_bar / before


def ddim_config(schedule: DiscreteSchedule, sampler: Sampler, threshold: str) -> Config:
    """The part that only DDIM has."""
    grid, steps, total = sampler.grid, sampler.num_steps, schedule.num_train_steps
    if grid not in SPACINGS:
        raise ValueError(
            f"DDIM there steps by T // N whatever the grid, which grid {grid!r} does not; take trailing"
        )
    if grid != "leading" and total % steps:
        raise ValueError(f"grid {grid!r} is theirs only if the steps divide {total}, got {steps}")
    spacing, offset, ends_clean = SPACINGS[grid]
    return {
        "timestep_spacing": spacing,
        "steps_offset": offset,
        "set_alpha_to_one": ends_clean,
        "clip_sample": threshold == "static",
        "clip_sample_range": 1.0,
        "thresholding": False,
        "rescale_betas_zero_snr": False,
    }


def dpm_config(schedule: DiscreteSchedule, sampler: DPMSolverPP2MSampler, threshold: str) -> Config:
    """The part that only DPM-Solver++ has."""
    if sampler.grid != "trailing":
        raise ValueError(f"DPM-Solver++ there is ours on grid trailing, got {sampler.grid!r}")
    if schedule.has_zero_terminal_snr():
        raise ValueError("DPM-Solver++ there cannot begin without any signal (zero terminal SNR)")
    return {
        "timestep_spacing": "trailing",
        "steps_offset": 0,
        "algorithm_type": "dpmsolver++",
        "solver_order": 2,
        "solver_type": "midpoint",
        "lower_order_final": True,
        "euler_at_final": False,
        "final_sigmas_type": "zero",
        "use_karras_sigmas": False,
        "thresholding": threshold == "static",  # with a largest value of 1 this is a clamp
        "dynamic_thresholding_ratio": 0.995,
        "sample_max_value": 1.0,
    }


def usage_note(sampler: Sampler, threshold: str) -> str:
    """What to say in calls of diffusers beside the config."""
    words = [f"num_inference_steps={sampler.num_steps}"]
    if sampler.grid != "solver" and not isinstance(sampler, DPMSolverPP2MSampler):
        words.append(f"eta={getattr(sampler, 'eta', 1.0):g}")
        if threshold == "static" and sampler.recompute_eps:
            words.append("use_clipped_model_output=True")
    return f"Call it with {', '.join(words)}."


# --- in -----------------------------------------------------------------------------------------------------------


def from_scheduler_config(
    config: Mapping[str, Any], num_steps: int | None = None, eta: float = 0.0
) -> Config:
    """Schedule, sampler, prediction and threshold of a diffusers config, as a model section names them.

    Args:
        config: of a DDIMScheduler, a DPMSolverMultistepScheduler, a FlowMatchEulerDiscreteScheduler or a
            FlowMatchHeunDiscreteScheduler.
        num_steps: sampler steps; by default 50 of DDIM and flow matching, 25 of DPM-Solver++ and of Heun.
        eta: of DDIM.

    Raises:
        ValueError: in one line, for another scheduler, a setting that no sampler of ours has, or a key that nobody
            knows (:mod:`videodiff.diffusion.scheduler_keys`).
    """
    name = config.get("_class_name")
    if name in FLOW_SCHEDULERS:
        return from_flow_config(config, num_steps)
    prediction = next(
        (ours for ours, theirs in PREDICTIONS.items() if theirs == config.get("prediction_type", "epsilon")),
        None,
    )
    if name not in ("DDIMScheduler", "DPMSolverMultistepScheduler") or prediction is None:
        raise ValueError(
            f"a scheduler config of {', '.join(READ_BY)} is wanted, got {name} predicting "
            f"{config.get('prediction_type')}"
        )
    check_keys(config)
    read = read_ddim if name == "DDIMScheduler" else read_dpm
    sampler, clamped = read(config, num_steps, eta)
    return {
        "schedule": schedule_part(config),
        "sampler": sampler,
        "prediction": prediction,
        "threshold": "static" if clamped else "none",
    }


def read_scheduler_config(path: str | os.PathLike, **options: Any) -> Config:
    """As :func:`from_scheduler_config`, from ``scheduler_config.json``, its folder, or that of a pipeline.

    Raises:
        FileNotFoundError: without the file.
        ValueError: for a file that is no JSON mapping, and as there.
    """
    path = Path(path)
    if path.is_dir():
        path = (path / "scheduler" if (path / "scheduler").is_dir() else path) / "scheduler_config.json"
    if not path.is_file():
        raise FileNotFoundError(f"no scheduler config {path}")
    placeholder.refuse(path)
    return from_scheduler_config(read_mapping(path, max_bytes=MAX_BYTES), **options)


def schedule_part(config: Mapping[str, Any]) -> Config:
    """The schedule as a class and its arguments.

    Raises:
        ValueError: for betas given one by one, or a schedule of another name.
    """
    if config.get("trained_betas") is not None:
        raise ValueError("trained_betas are a table of their own; a config names a schedule by its two ends")
    names = {
        "scaled_linear": ScaledLinearSchedule,
        "linear": LinearSchedule,
        "squaredcos_cap_v2": DiscreteCosineSchedule,
    }
    kind = names.get(str(config.get("beta_schedule", "linear")))
    if kind is None:
        raise ValueError(
            f"beta_schedule must be one of {', '.join(names)}, got {config.get('beta_schedule')}"
        )
    args: Config = {
        "num_train_steps": int(config.get("num_train_timesteps", 1000)),
        "zero_terminal_snr": bool(config.get("rescale_betas_zero_snr", False)),
    }
    if kind is not DiscreteCosineSchedule:
        args |= {
            "beta_start": float(config.get("beta_start", 1e-4)),
            "beta_end": float(config.get("beta_end", 0.02)),
        }
    return {"class_path": f"videodiff.diffusion.{kind.__name__}", "init_args": args}


def schedule_of(config: Mapping[str, Any], num_train_steps: int) -> DiscreteSchedule:
    """The schedule itself."""
    part = schedule_part({"num_train_timesteps": num_train_steps, **config})
    kinds = (ScaledLinearSchedule, LinearSchedule, DiscreteCosineSchedule)
    kind = next(k for k in kinds if part["class_path"].endswith("." + k.__name__))
    return kind(**part["init_args"])


def read_ddim(config: Mapping[str, Any], num_steps: int | None, eta: float) -> tuple[Config, bool]:
    """The DDIM sampler of a config, and whether x is clamped."""
    spacing = (
        config.get("timestep_spacing", "leading"),
        int(config.get("steps_offset", 0)),
        bool(config.get("set_alpha_to_one", True)),
    )
    grid = next((grid for grid, theirs in SPACINGS.items() if theirs == spacing), None)
    if grid is None:
        raise ValueError(
            f"no grid of ours has timestep_spacing {spacing[0]}, steps_offset {spacing[1]} and "
            f"set_alpha_to_one {spacing[2]}"
        )
    if config.get("thresholding"):
        raise ValueError("thresholding of DDIM is not read; clip_sample is")
    clamped = bool(config.get("clip_sample", True))
    if clamped and float(config.get("clip_sample_range", 1.0)) != 1:
        raise ValueError(f"clip_sample_range must be 1, got {config['clip_sample_range']}")
    args = {"num_steps": num_steps or 50, "eta": eta, "grid": grid, "recompute_eps": False}
    return {"class_path": "videodiff.diffusion.DDIMSampler", "init_args": args}, clamped


def read_dpm(config: Mapping[str, Any], num_steps: int | None, eta: float) -> tuple[Config, bool]:
    """The DPM-Solver++ sampler of a config, and whether x is clamped."""
    wanted = {
        "timestep_spacing": ("trailing", "linspace"),
        "algorithm_type": ("dpmsolver++", "dpmsolver++"),
        "solver_order": (2, 2),
        "solver_type": ("midpoint", "midpoint"),
        "final_sigmas_type": ("zero", "zero"),
        "use_karras_sigmas": (False, False),
        "lower_order_final": (True, True),
    }
    for name, (value, default) in wanted.items():
        if config.get(name, default) != value:
            raise ValueError(
                f"DPM-Solver++ with {name} {config.get(name, default)} has no equal here; {value} has"
            )
    clamped = bool(config.get("thresholding", False))
    if clamped and float(config.get("sample_max_value", 1.0)) != 1:
        raise ValueError(f"sample_max_value must be 1 with thresholding, got {config['sample_max_value']}")
    args = {"num_steps": num_steps or 25, "grid": "trailing"}
    return {"class_path": "videodiff.diffusion.DPMSolverPP2MSampler", "init_args": args}, clamped
