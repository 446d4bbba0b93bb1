"""Lightning's Trainer options: one table says which are supported, and none is silently ignored.

Training reads one endless stream of batches and every run is kept so that it can go on. Options that count epochs, stop
the saving or want another way of sharing a model out would be taken by Lightning and change nothing, or break a resume;
they are refused with what to give instead.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from videodiff.config.signatures import as_number
from videodiff.usage import UsageError
from videodiff.words import shortened

STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")
"""Strategies by name; averages, checkpoints and exact resumes are built for these."""

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
"""Kinds of device by name."""


@dataclass(frozen=True)
class Rule:
    """What an option may be here.

    Args:
        holds: whether a value, as :func:`plain` gives it, is one that does what it says.
        instead: the rule and the way out, to stand after the option's name and value.
    """

    holds: Callable[[Any], bool]
    instead: str


def only(*values: Any) -> Callable[[Any], bool]:
    """Whether a value is one of these, of the same type (1 batch is not 1.0, the whole set)."""
    return lambda value: any(type(value) is type(choice) and value == choice for choice in values)


def is_count(value: Any) -> bool:
    """Whether a value is a whole number from 1 on."""
    return type(value) is int and value >= 1


def is_interval(value: Any) -> bool:
    """Whether a value is a number of batches (1.0 is a share of an epoch) or a time."""
    if isinstance(value, float):
        return value > 1 and value.is_integer()
    return is_count(value) or is_time(value)


def is_time(value: Any) -> bool:
    """Whether a value is a time above 0: DD:HH:MM:SS, or days, hours, minutes and seconds by name."""
    if isinstance(value, str):
        return re.fullmatch(r"\d+:\d\d:\d\d:\d\d", value) is not None and any(map(int, value.split(":")))
    if not isinstance(value, Mapping) or not set(value) <= {"weeks", "days", "hours", "minutes", "seconds"}:
        return False
    amounts = [plain(amount) for amount in value.values()]
    return all(type(a) in (int, float) and a >= 0 for a in amounts) and sum(amounts) > 0


def is_share_or_count(value: Any) -> bool:
    """Whether a value is a number of batches, or a share of all."""
    return value is None or (type(value) is int and value >= 0) or (type(value) is float and 0 <= value <= 1)


def is_devices(value: Any) -> bool:
    """Whether a value is a number of devices (-1 for all), auto, or a list of some, each once."""
    if isinstance(value, str):
        value = value.strip("[] ").split(",") if "," in value or "[" in value else value
    if isinstance(value, Sequence) and not isinstance(value, str):
        numbers = [plain(number.strip() if isinstance(number, str) else number) for number in value]
        whole = all(type(number) is int and number >= 0 for number in numbers)
        return whole and 0 < len(numbers) == len(set(numbers))
    return value == "auto" or is_count(value) or value == -1


def is_strategy(value: Any) -> bool:
    """Whether a strategy is none at all, DDP by its name or class, or a class of the user's own (named by --trust)."""
    if not isinstance(value, Mapping):
        return value in STRATEGIES
    path = str(value.get("class_path"))
    if not path.startswith(("pytorch_lightning.", "lightning")):
        return True
    return (
        path.endswith(".DDPStrategy")
        and (value.get("init_args") or {}).get("start_method", "popen") == "popen"
    )


def is_accelerator(value: Any) -> bool:
    """Whether a value is a kind of device by its name, or a class of the user's own (named by --trust)."""
    if isinstance(value, Mapping):
        return "class_path" in value
    return value is None or (isinstance(value, str) and value in ACCELERATORS)


TIME = "a time above 0 is wanted: DD:HH:MM:SS, as in 00:12:00:00 for twelve hours"
SHARE = "a whole number of batches from 0 on, or a share from 0.0 to 1.0, is wanted"
NO_EPOCHS = "training reads one endless stream and has no epochs; bound it with trainer.max_steps or max_time"
LAUNCHED = {"MASTER_ADDR", "WORLD_SIZE", "SLURM_NTASKS", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE"}
"""One of these is set where a launcher has started several processes."""
WORKS = None

TRAINER: dict[str, Rule | None] = {
    # where and how it runs
    "accelerator": Rule(
        is_accelerator, f"{', '.join(ACCELERATORS)} or an accelerator's class_path is wanted"
    ),
    "devices": Rule(
        is_devices, "a number of devices from 1 on, -1 for all, auto, or a list of GPUs is wanted"
    ),
    "num_nodes": WORKS,
    "precision": WORKS,
    "plugins": WORKS,
    "sync_batchnorm": WORKS,
    "deterministic": WORKS,
    "benchmark": WORKS,
    "inference_mode": WORKS,
    "strategy": Rule(
        is_strategy,
        f"averages, checkpoints and exact resumes are built for {', '.join(STRATEGIES)} and DDPStrategy as "
        "class_path (start_method popen)",
    ),
    # Each process reads its own share whatever is given (GlobalBatches); Lightning's sampler would repeat clips.
    "use_distributed_sampler": WORKS,
    # how long
    "max_steps": WORKS,
    "min_steps": WORKS,
    "max_time": Rule(lambda value: value is None or is_time(value), TIME),
    "accumulate_grad_batches": WORKS,
    "max_epochs": Rule(only(None, -1), NO_EPOCHS),
    "min_epochs": Rule(only(None, 0), f"{NO_EPOCHS} (from below: trainer.min_steps)"),
    "reload_dataloaders_every_n_epochs": Rule(only(None, 0), NO_EPOCHS),
    "limit_train_batches": Rule(
        only(None, 1.0),
        "training reads one endless stream; for fewer clips give data.num_train_clips, for fewer steps "
        "trainer.max_steps",
    ),
    "overfit_batches": Rule(
        only(None, 0, 0.0),
        "training reads one endless stream of all clips; to see the same {clips} in every step give "
        "data.num_train_clips {count}",
    ),
    "fast_dev_run": Rule(
        only(None, 0, False),
        "every run is kept; for a first check give trainer.max_steps {steps}, trainer.val_check_interval {steps} and "
        "trainer.limit_val_batches {steps}, or --config with/smoke",
    ),
    # validation and the other loops
    "limit_val_batches": Rule(is_share_or_count, SHARE),
    "limit_test_batches": Rule(is_share_or_count, SHARE),
    "limit_predict_batches": Rule(is_share_or_count, SHARE),
    "num_sanity_val_steps": WORKS,
    "val_check_interval": Rule(
        is_interval,
        "batches between validations, 1 or above, or a time DD:HH:MM:SS, are wanted (no epoch ends, so no share "
        "of one; trainer.limit_val_batches 0 for no validation)",
    ),
    "check_val_every_n_epoch": Rule(only(None, 1), "there are no epochs; give trainer.val_check_interval"),
    # the update
    "gradient_clip_val": WORKS,
    "gradient_clip_algorithm": Rule(only(None, "norm", "value"), "norm or value is wanted"),
    "detect_anomaly": WORKS,
    # what is written
    "logger": WORKS,
    "log_every_n_steps": Rule(
        lambda value: value is None or (type(value) is int and value >= 0),
        "a number of steps, or 0 for never, is wanted",
    ),
    "callbacks": WORKS,
    "profiler": Rule(
        lambda value: value in (None, "simple", "advanced", "pytorch") or isinstance(value, Mapping),
        "simple, advanced, pytorch or a profiler's class_path is wanted",
    ),
    "enable_progress_bar": WORKS,
    "enable_model_summary": WORKS,
    "enable_autolog_hparams": WORKS,
    "enable_checkpointing": Rule(
        only(None, True),
        "every run saves, so that it can go on; save more rarely with checkpoint.every_n_steps and "
        "checkpoint.every_minutes",
    ),
    "default_root_dir": Rule(only(None), "a run's folder is named with --out DIR or --name NAME"),
    "barebones": Rule(
        only(None, False), "a run without its record and checkpoints is not built; leave it out"
    ),
    "model_registry": Rule(
        only(None), "checkpoints stay in the run; `videodiff export` pushes them to a hub"
    ),
}
"""Every argument of Lightning's Trainer: WORKS, or the rule that a value has to keep."""


def check_trainer(config: Mapping[str, Any]) -> None:
    """Refuse Trainer options that would have no effect, or an effect that is not built.

    Args:
        config: a whole config as its author wrote it, options included; its classes are checked already.

    Raises:
        UsageError: in one line, for the first such option, with what to give instead.
    """
    for name, value in (config.get("trainer") or {}).items():
        rule, value = TRAINER.get(str(name).rstrip("+")), plain(value)
        if rule is not None and not rule.holds(value):
            raise UsageError(
                f"trainer.{name} {shown(value)}: {way_out(rule.instead, value, config)}{unset(str(name), rule)}"
            )


def check_machine(config: Mapping[str, Any]) -> None:
    """Refuse devices that this machine does not have, and nodes that nobody has started.

    Raises:
        UsageError: in one line.
    """
    import torch

    trainer = config.get("trainer") or {}
    accelerator, devices = plain(trainer.get("accelerator")), plain(trainer.get("devices"))
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    missing = {"gpu": not (has_cuda or has_mps), "cuda": not has_cuda, "mps": not has_mps}
    if isinstance(accelerator, str) and missing.get(accelerator):
        raise UsageError(
            f"trainer.accelerator {accelerator}: torch finds no such device (videodiff doctor); give cpu or auto"
        )
    on_cpu = accelerator == "cpu" or (accelerator in (None, "auto") and not (has_cuda or has_mps))
    if on_cpu and (isinstance(devices, (list, tuple)) or (isinstance(devices, str) and devices != "auto")):
        raise UsageError(
            f"trainer.devices {devices}: a list chooses GPUs; on a CPU give the number of processes"
        )
    cores = os.cpu_count() or 1
    if on_cpu and is_count(devices) and devices > max(16, 4 * cores):
        raise UsageError(
            f"trainer.devices {devices}: too many processes for the {cores} cores of this machine"
        )
    nodes = plain(trainer.get("num_nodes"))
    if is_count(nodes) and nodes > 1 and not LAUNCHED & set(os.environ):
        raise UsageError(
            f"trainer.num_nodes {nodes}: the other nodes would be waited for in vain; start the command on each with "
            f"torchrun --nnodes {nodes} or srun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK"
        )


def unset(name: str, rule: Rule) -> str:
    """How to go on with a config that an option stands in and no other file takes out: Lightning's own default."""
    import pytorch_lightning as pl

    default = inspect.signature(pl.Trainer.__init__).parameters[name.rstrip("+")].default
    return f" (--trainer.{name.rstrip('+')} {shown(default)} is as without it)" if rule.holds(default) else ""


def plain(value: Any) -> Any:
    """A value as YAML means it: an option's text is ``null``, ``true``, a number or itself."""
    if not isinstance(value, str):
        return value
    words = {"null": None, "none": None, "~": None, "": None, "true": True, "false": False}
    if value.strip().lower() in words:
        return words[value.strip().lower()]
    number = as_number(value)
    return value if number is None else int(value) if value.lstrip("+-").isdecimal() else number


def shown(value: Any) -> str:
    """A value as it is named in an error."""
    if isinstance(value, Mapping):
        return str(value.get("class_path", "..."))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else shortened(value)


def way_out(text: str, value: Any, config: Mapping[str, Any]) -> str:
    """The rule with the numbers of this run in it."""
    batch = plain(((config.get("data") or {}).get("init_args") or {}).get("batch_size"))
    count = int(value) * batch if is_count(value) and is_count(batch) else None
    return text.format(
        clips="clips" if count is None else f"{count} clips",
        count="N" if count is None else count,
        steps=int(value) if is_count(value) or value is True else 1,
    )
