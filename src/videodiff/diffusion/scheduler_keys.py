"""The keys of diffusers' scheduler configs: which are read, which must have their default, which have no effect.

The defaults are those of the constructors of ``DDIMScheduler``, ``DPMSolverMultistepScheduler`` and the two schedulers
of flow matching (diffusers 0.42). A key that is none of these is refused whatever it says: a config that asks for steps
we do not take must not be followed half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# fmt: off
READ = {
    "_class_name", "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "timestep_spacing", "thresholding", "rescale_betas_zero_snr",
}
"""Keys that the readers of a table of betas look at."""

READ_FLOW = {"_class_name", "num_train_timesteps"}
FLOW_SCHEDULERS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")

READ_BY = {
    "DDIMScheduler": {"clip_sample", "clip_sample_range", "set_alpha_to_one", "steps_offset"},
    "DPMSolverMultistepScheduler": {
        "algorithm_type", "solver_order", "solver_type", "final_sigmas_type", "use_karras_sigmas", "lower_order_final",
        "sample_max_value",
    },
    "FlowMatchEulerDiscreteScheduler": {"shift"},
    "FlowMatchHeunDiscreteScheduler": {"shift"},
}
"""Keys that one of them looks at."""

WITHOUT_EFFECT = {
    # of the file, of PNDM in configs that a project took over from it, and of a threshold that DDIM must not have here
    "DDIMScheduler": {
        "_diffusers_version", "_use_default_values", "skip_prk_steps", "variance_type", "dynamic_thresholding_ratio",
        "sample_max_value",
    },
    # the same, the quantile of a threshold whose largest value is 1, and what only DDIM or another spacing has
    "DPMSolverMultistepScheduler": {
        "_diffusers_version", "_use_default_values", "skip_prk_steps", "dynamic_thresholding_ratio", "steps_offset",
        "clip_sample", "clip_sample_range", "set_alpha_to_one",
    },
    # of the file, and of the shift that depends on the size, which must be off
    "FlowMatchEulerDiscreteScheduler": {
        "_diffusers_version", "_use_default_values", "base_shift", "max_shift", "base_image_seq_len",
        "max_image_seq_len", "time_shift_type",
    },
    "FlowMatchHeunDiscreteScheduler": {"_diffusers_version", "_use_default_values"},
}
"""Keys that change no step of what is read."""
# fmt: on

DEFAULTS = {
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_lu_lambdas": False,
    "use_flow_sigmas": False,
    "flow_shift": 1.0,
    "euler_at_final": False,
    "lambda_min_clipped": float("-inf"),
    "variance_type": None,
    "use_dynamic_shifting": False,
    "time_shift_type": "exponential",
}
"""Keys of DPM-Solver++ that change its steps, at the value with which they do not."""

FLOW_DEFAULTS = {
    "use_dynamic_shifting": False,
    "invert_sigmas": False,
    "shift_terminal": None,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "stochastic_sampling": False,
}
"""The same of flow matching by Euler's method."""

DEFAULTS_BY: dict[str, Mapping[str, Any]] = {
    "DDIMScheduler": {},
    "DPMSolverMultistepScheduler": DEFAULTS,
    "FlowMatchEulerDiscreteScheduler": FLOW_DEFAULTS,
    "FlowMatchHeunDiscreteScheduler": {},
}


def check_keys(config: Mapping[str, Any]) -> None:
    """Refuse a key that would change the steps and is not read, and one that nobody here knows.

    Args:
        config: of one of the schedulers in ``READ_BY``.

    Raises:
        ValueError: in one line, naming the first such key and its value.
    """
    name = config["_class_name"]
    known = (READ_FLOW if name in FLOW_SCHEDULERS else READ) | READ_BY[name] | WITHOUT_EFFECT[name]
    defaults = DEFAULTS_BY[name]
    for key, value in config.items():
        if key in known or (key in defaults and same(value, defaults[key])):
            continue
        if key in defaults:
            raise ValueError(f"{name} with {key} {value} has no equal here; {defaults[key]} has")
        raise ValueError(
            f"{name}: unknown key {key} ({value}); take it out of the file if it changes no step of the sampler"
        )


def same(value: Any, default: Any) -> bool:
    """Whether a value is the default; null is one, as diffusers writes minus infinity so at times."""
    return value == default or (value is None and not isinstance(default, (bool, str)))
