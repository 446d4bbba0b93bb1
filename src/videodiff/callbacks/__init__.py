"""Lightning callbacks that watch, guard and save a run. The run folder is ``trainer.default_root_dir``."""

from videodiff.callbacks.budget import ComputeBudget
from videodiff.callbacks.checkpoint import RunCheckpoint
from videodiff.callbacks.ema import EMA
from videodiff.callbacks.nonfinite import NonFiniteGuard
from videodiff.callbacks.predictions import PredictionWriter
from videodiff.callbacks.preemption import StopOnSignal
from videodiff.callbacks.progress import Progress
from videodiff.callbacks.record import RunRecord
from videodiff.callbacks.sample_logger import SampleLogger
from videodiff.callbacks.throughput import Throughput
from videodiff.callbacks.trace import Trace
from videodiff.callbacks.watchdog import Watchdog

__all__ = [
    "EMA",
    "ComputeBudget",
    "NonFiniteGuard",
    "PredictionWriter",
    "Progress",
    "RunCheckpoint",
    "RunRecord",
    "SampleLogger",
    "StopOnSignal",
    "Throughput",
    "Trace",
    "Watchdog",
]

# Their sections in a config. Those of training change or save its state; the others only look on.
TRAINING = {
    "ema": EMA,
    "guard": NonFiniteGuard,
    "samples": SampleLogger,
    "throughput": Throughput,
    "budget": ComputeBudget,  # before saving, which holds its seconds
    "checkpoint": RunCheckpoint,
    "watchdog": Watchdog,
}
WATCHING = {"record": RunRecord, "progress": Progress, "signals": StopOnSignal}
