"""The straight schedule with Euler's and Heun's method as diffusers' two flow matching schedulers, both ways.

diffusers shifts the smallest noise level, and then its grid down to it once more; ``smallest_time`` of the straight
schedule says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from videodiff.diffusion.heun import HeunSampler
from videodiff.diffusion.sampler import Sampler
from videodiff.diffusion.samplers import DDIMSampler
from videodiff.diffusion.scheduler_keys import check_keys
from videodiff.diffusion.straight_schedule import StraightSchedule

NUM_TRAIN_STEPS = 1000  # what a network is told at t = 1, and one over the smallest time
SAMPLERS: dict[str, type[Sampler]] = {
    "FlowMatchEulerDiscreteScheduler": DDIMSampler,
    "FlowMatchHeunDiscreteScheduler": HeunSampler,
}


def smallest_time_there(shift: float) -> float:
    """The smallest time of the grid before its shift."""
    return shift / (NUM_TRAIN_STEPS + shift - 1.0)


def to_flow_config(
    schedule: StraightSchedule, sampler: Sampler, prediction: str, threshold: str
) -> dict[str, Any]:
    """The config of the scheduler that takes the same steps.

    Raises:
        ValueError: in one line, for what diffusers cannot do step for step.
    """
    if prediction != "flow":
        raise ValueError(f"flow matching there predicts flow, got prediction {prediction}")
    if threshold != "none":
        raise ValueError(f"flow matching there has no threshold, got {threshold}")
    name = next((name for name, kind in SAMPLERS.items() if type(sampler) is kind), None)
    if name is None or getattr(sampler, "eta", 0.0) != 0:
        raise ValueError(
            f"{type(sampler).__name__} has no equal there on the straight schedule; DDIM with eta 0 (Euler's method) "
            "and Heun have"
        )
    if sampler.grid != "solver":
        raise ValueError(f"flow matching there is ours on grid solver, got {sampler.grid!r}")
    smallest = smallest_time_there(schedule.shift)
    if not math.isclose(schedule.smallest_time, smallest, rel_tol=1e-4):
        raise ValueError(
            f"diffusers shifts the smallest time twice: with shift {schedule.shift:g} its grid ends at smallest_time "
            f"{smallest:.6g} of ours, got {schedule.smallest_time:g}"
        )
    return {
        "_class_name": name,
        "_diffusers_version": "0.30.0",
        "num_train_timesteps": NUM_TRAIN_STEPS,
        "shift": schedule.shift,
    }


def from_flow_config(config: Mapping[str, Any], num_steps: int | None) -> dict[str, Any]:
    """Schedule, sampler, prediction and threshold of such a config, as a model section names them.

    Raises:
        ValueError: in one line, for a setting that no sampler of ours has, or a key that nobody knows.
    """
    check_keys(config)
    total, shift = config.get("num_train_timesteps", NUM_TRAIN_STEPS), float(config.get("shift", 1.0))
    if total != NUM_TRAIN_STEPS:
        raise ValueError(
            f"num_train_timesteps of flow matching must be {NUM_TRAIN_STEPS}, the time that our networks are told at "
            f"t = 1, got {total}"
        )
    sampler = SAMPLERS[config["_class_name"]]
    steps = num_steps or (50 if sampler is DDIMSampler else 25)
    return {
        "schedule": {
            "class_path": f"videodiff.diffusion.{StraightSchedule.__name__}",
            "init_args": {"shift": shift, "smallest_time": smallest_time_there(shift)},
        },
        "sampler": {
            "class_path": f"videodiff.diffusion.{sampler.__name__}",
            "init_args": {"num_steps": steps, "grid": "solver"},
        },
        "prediction": "flow",
        "threshold": "none",
    }
