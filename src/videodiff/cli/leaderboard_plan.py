"""What a leaderboard trains: systems from words, stages with their shares of the seconds, words of each training."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videodiff.cli.two_stages import shaping_words
from videodiff.config import check_texts, find_config
from videodiff.config.options import split_options
from videodiff.usage import UsageError

FIRST, MODEL = "first stage", "model"
PROBE_STEPS, WARM_STEPS = 11, 3  # steps that tell what one takes, and the first of them, which take longer
PROBE_TIME = "00:00:01:00"  # longest, where steps are slow
OPTION = re.compile(r"[a-z_]+(\.\w+)+=")
NAME = re.compile(r"[\w][\w.+-]*")
# What is the same for all: nothing but training is counted, and all of it is.
OURS = {
    "--trainer.max_steps": "-1",
    "--trainer.limit_val_batches": "0",
    "--samples.every_n_steps": "0",
    "--data.num_workers": "0",
    "--checkpoint.every_n_steps": "1000000000",
    "--checkpoint.every_minutes": "2",
}
SET_BY_US = (*OURS, "--seed_everything", "--budget.seconds", "--trainer.max_time")
# Scheduler -> its argument that counts the steps over which the rate falls.
FALLS = {
    "CosineAnnealingLR": "T_max",
    "LinearLR": "total_iters",
    "PolynomialLR": "total_iters",
    "OneCycleLR": "total_steps",
    "LearningRate": "total_steps",
}


@dataclass(frozen=True)
class Stage:
    """One training of a system.

    Args:
        title: ``first stage`` or ``model``.
        configs: names or files, merged in this order.
        options: words of the command line that change them.
        share: of the system's seconds.
        falls: option that counts the steps over which its rate falls to the end of training; None where the rate does
            not depend on the end.
    """

    title: str
    configs: tuple[str, ...]
    options: tuple[str, ...]
    share: float
    falls: str | None

    @property
    def key(self) -> str:
        """As a folder's name."""
        return self.title.replace(" ", "_")

    @property
    def config_words(self) -> list[str]:
        """Its configs on a command line."""
        return [word for name in self.configs for word in ("--config", name)]


@dataclass(frozen=True)
class System:
    """One line of a leaderboard.

    Args:
        name: in the table, and of its folder.
        configs: its own, then overlays.
        options: words of the command line for its model.
        stages: trainings, the model's the last.
        digest: of everything that shapes its trainings.
    """

    name: str
    configs: tuple[str, ...]
    options: tuple[str, ...]
    stages: tuple[Stage, ...]
    digest: str


@dataclass
class Job:
    """What is to be done in one call.

    Args:
        systems: to be trained.
        seeds: for each.
        at_a_time: trainings side by side.
        out: folder.
        trusted: modules from ``--trust``.
        command: as it was given.
    """

    systems: list[System]
    seeds: int
    at_a_time: int
    out: Path
    trusted: tuple[str, ...]
    command: str


def system_of(
    spec: str, overlays: Sequence[str], options: Sequence[str], share: float, trusted: Sequence[str] = ()
) -> System:
    """The system of ``[NAME=]CONFIG[,OVERLAY|KEY=VALUE...]``, its texts checked.

    Args:
        spec: as the command line has it; ``x=vdm_digits,model.prediction=x``.
        overlays: for every system, after its own.
        options: words for every system, before its own.
        share: of the seconds that a first stage gets.
        trusted: modules from ``--trust``.

    Raises:
        UsageError: for a mistake in any of it, or a system that cannot be trained within seconds of its own.
    """
    label, _, rest = spec.partition("=")
    if not rest or not NAME.fullmatch(label):  # no name: what stands before the first = is a config and a key
        label, rest = "", spec
    first, *more = rest.split(",")
    own = [word for word in more if not OPTION.match(word)]
    words = [*options, *(f"--{word}" for word in more if OPTION.match(word))]
    for name, _ in split_options(words):
        if name in SET_BY_US:
            raise UsageError(f"{name} is set by the leaderboard, the same for all systems; leave it out")
    configs = (first, *own, *overlays)
    for name in configs:
        find_config(name)
    name = label or "-".join([Path(first).stem, *(named(word) for word in more)])
    if not NAME.fullmatch(name):
        raise UsageError(f"{spec!r}: {name!r} is no name of a folder; begin with one: NAME={rest}")
    try:
        stages = stages_of(name, configs, words, share, trusted)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    told = [[stage.title, check_texts(stage.configs, "fit", stage.options, trusted)] for stage in stages]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return System(name, configs, tuple(words), stages, digest)


def named(word: str) -> str:
    """What an overlay or option adds to the name of a system: ``prediction_x`` of ``model.prediction=x``."""
    if OPTION.match(word):
        key, _, value = word.partition("=")
        return re.sub(r"[^\w.+-]+", "_", f"{key.rpartition('.')[2]}_{value}")
    return Path(word).stem


def stages_of(
    name: str, configs: Sequence[str], options: Sequence[str], share: float, trusted: Sequence[str]
) -> tuple[Stage, ...]:
    """The trainings of a system; of one with a first stage the first takes a share of the seconds."""
    config = check_texts(configs, "fit", options, trusted)
    if (config.get("data") or {}).get("init_args", {}).get("latents"):
        raise UsageError(
            "data.latents are of a first stage that took other seconds; leave it out, and encoding is part of training"
        )
    checkpoint, own = first_stage_of(config)
    if checkpoint is None:
        return (Stage(MODEL, tuple(configs), tuple(options), 1.0, falls_over(config)),)
    if own is None:
        raise UsageError(
            f"its first stage {checkpoint!r} names no config to train it with; give one: "
            "--model.autoencoder.config CONFIG"
        )
    words = shaping_words(own, configs, options, trusted)
    shaped = [own, *(words[at + 1] for at, word in enumerate(words) if word == "--config")]
    others = [f"{option}={value}" for option, value in split_options(words)]
    below = check_texts(shaped, "fit", others, trusted)
    return (
        Stage(FIRST, tuple(shaped), tuple(others), share, falls_over(below)),
        Stage(MODEL, tuple(configs), tuple(options), 1 - share, falls_over(config)),
    )


def first_stage_of(config: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The run that a model names as its first stage, and the config that trains it; None where there is none."""
    from videodiff.checkpoints.first_stage_command import config_of_name

    model = config.get("model")
    stage = (model.get("init_args") or {}).get("autoencoder") if isinstance(model, Mapping) else None
    if not isinstance(stage, Mapping) or str(stage.get("class_path")).rpartition(".")[2] != "FirstStage":
        return None, None
    given = stage.get("init_args") or {}
    checkpoint = str(given.get("checkpoint"))
    return checkpoint, given.get("config") or config_of_name(checkpoint)


def falls_over(config: Mapping[str, Any]) -> str | None:
    """The option that counts the steps over which a config's rate falls to the end of its training."""
    scheduler = ((config.get("model") or {}).get("init_args") or {}).get("lr_scheduler")
    if not isinstance(scheduler, Mapping):
        return None
    kind, given = str(scheduler.get("class_path")).rpartition(".")[2], scheduler.get("init_args") or {}
    if kind not in FALLS:
        return None
    if kind == "LinearLR" and given.get("end_factor", 1.0) >= given.get("start_factor", 1 / 3):
        return None  # a warm-up, which is as long in a training of any length
    if kind == "LearningRate" and given.get("shape", "constant") == "constant":
        return None
    return f"--model.lr_scheduler.{FALLS[kind]}"


def fit_words(
    stage: Stage,
    folder: Path,
    seed: int,
    seconds: float,
    first_stage: Path | None = None,
    steps: int | None = None,
) -> list[str]:
    """The words of one training.

    Args:
        stage: which.
        folder: of its run; one that is there goes on.
        seed: of the training.
        seconds: of compute.
        first_stage: run of the stage before.
        steps: that the seconds are expected to hold, over which a rate that falls falls.
    """
    words = ["fit", *stage.config_words, "--out", str(folder), *stage.options]
    words += [word for pair in OURS.items() for word in pair]
    words += ["--seed_everything", str(seed), "--budget.seconds", f"{seconds:.6g}"]
    if first_stage is not None:
        words += ["--model.autoencoder.checkpoint", str(first_stage)]
    if stage.falls is not None and steps is not None:
        words += [stage.falls, str(max(steps, 1))]
    return words


def probe_words(stage: Stage, folder: Path, first_stage: Path | None) -> list[str]:
    """The words of a few steps that tell what a step takes."""
    words = fit_words(stage, folder, 0, 1e9, first_stage, PROBE_STEPS)
    words[words.index("--trainer.max_steps") + 1] = str(PROBE_STEPS)
    return [*words, "--trainer.log_every_n_steps", "1", "--trainer.max_time", PROBE_TIME]


def to_probe(system: System) -> list[Stage]:
    """The stages whose speed must be known beforehand, and those that these need."""
    last = max((at for at, stage in enumerate(system.stages) if stage.falls is not None), default=-1)
    return list(system.stages[: last + 1])
