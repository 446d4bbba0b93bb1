"""The maths of diffusion: schedules, losses, denoisers, guidance and samplers. Imports only torch."""

from videodiff.diffusion.condition import Condition
from videodiff.diffusion.denoiser import Denoiser, NetworkDenoiser, call_network
from videodiff.diffusion.discrete_schedule import (
    DiscreteCosineSchedule,
    DiscreteSchedule,
    LinearSchedule,
    ScaledLinearSchedule,
)
from videodiff.diffusion.edm_schedule import EDMSchedule
from videodiff.diffusion.flow_sde import FlowSDESampler
from videodiff.diffusion.guidance import (
    ClassifierFreeGuidance,
    KnownFrames,
    LowResolution,
    ReconstructionGuidance,
    Replacement,
    Threshold,
    downsample,
)
from videodiff.diffusion.heun import EDMSampler, HeunSampler
from videodiff.diffusion.history import History, HistoryGuidance, Stabilised, check_stabilisation
from videodiff.diffusion.loss import (
    Errors,
    KnownUnits,
    Weighting,
    diffusion_errors,
    diffusion_loss,
    loss_weight,
)
from videodiff.diffusion.masking import GivenUnits
from videodiff.diffusion.measurement import MeasurementGuidance
from videodiff.diffusion.noise import Generator, normal_like
from videodiff.diffusion.prediction import (
    Prediction,
    check_end,
    clamp_through,
    eps_of_velocity,
    prediction_target,
    to_eps,
    to_x,
    velocity,
    x_of_velocity,
)
from videodiff.diffusion.sampler import Sampler
from videodiff.diffusion.samplers import (
    AncestralSampler,
    DDIMSampler,
    DPMSolverPP2MSampler,
    LangevinSampler,
    LearnedRangeSampler,
)
from videodiff.diffusion.schedule import CosineSchedule, NoiseSchedule, Posterior
from videodiff.diffusion.step_table import Coefficients, Plan
from videodiff.diffusion.straight_schedule import StraightSchedule
from videodiff.diffusion.times import (
    LogitNormalTimes,
    LogNormalTimes,
    ModeTimes,
    ShiftedTimes,
    TrainingTimes,
)
from videodiff.diffusion.unipc import UniPCSampler
from videodiff.diffusion.unit_levels import pyramid, sample_units, trapezoid
from videodiff.diffusion.windows import Window, autoregressive, cover, interpolation

__all__ = [
    "AncestralSampler",
    "ClassifierFreeGuidance",
    "Coefficients",
    "Condition",
    "CosineSchedule",
    "DDIMSampler",
    "DPMSolverPP2MSampler",
    "Denoiser",
    "DiscreteCosineSchedule",
    "DiscreteSchedule",
    "EDMSampler",
    "EDMSchedule",
    "Errors",
    "FlowSDESampler",
    "Generator",
    "GivenUnits",
    "HeunSampler",
    "History",
    "HistoryGuidance",
    "KnownFrames",
    "KnownUnits",
    "LangevinSampler",
    "LearnedRangeSampler",
    "LinearSchedule",
    "LogNormalTimes",
    "LogitNormalTimes",
    "LowResolution",
    "MeasurementGuidance",
    "ModeTimes",
    "NetworkDenoiser",
    "NoiseSchedule",
    "Plan",
    "Posterior",
    "Prediction",
    "ReconstructionGuidance",
    "Replacement",
    "Sampler",
    "ScaledLinearSchedule",
    "ShiftedTimes",
    "Stabilised",
    "StraightSchedule",
    "Threshold",
    "TrainingTimes",
    "UniPCSampler",
    "Weighting",
    "Window",
    "autoregressive",
    "call_network",
    "check_end",
    "check_stabilisation",
    "clamp_through",
    "cover",
    "diffusion_errors",
    "diffusion_loss",
    "downsample",
    "eps_of_velocity",
    "interpolation",
    "loss_weight",
    "normal_like",
    "prediction_target",
    "pyramid",
    "sample_units",
    "to_eps",
    "to_x",
    "trapezoid",
    "velocity",
    "x_of_velocity",
]
