"""The plan of a demo: which models, for how many steps, how many at a time, from the machine and the time given."""

from collections.abc import Sequence
from dataclasses import dataclass

MINUTES = 7.0  # of training, where nobody says otherwise
LONGEST = 3 * MINUTES  # what a slow machine takes before a model is left out
WORTH_SEEING = 0.5  # share of a stage's steps below which digits are blurs
MOST_THREADS = (
    4  # of a training: nets this small gain 1.4x from a second one, and less from every further one
)


@dataclass(frozen=True)
class Stage:
    """One training of the demo.

    Args:
        title: what is said while it runs.
        config: shipped name.
        steps: that the machine of the plan takes in its share of ``MINUTES``, a third of them for each model, one
            training at a time: two idle cores that take 4.5 steps of VDM a second (docs/results.md).
        share: of the time of its model.
        first_stage: config of the training whose autoencoder it needs.
    """

    title: str
    config: str
    steps: int
    share: float = 1.0
    first_stage: str | None = None

    @property
    def seconds(self) -> float:
        """What ``steps`` take on the machine of the plan."""
        return 60 * MINUTES * self.share / len(MODELS)


# In the order in which models are kept.
MODELS = {
    "vdm_digits": (Stage("VDM", "vdm_digits", 632),),
    "lvdm_digits": (
        Stage("LVDM, first stage", "lvdm_autoencoder_digits", 600, 0.4),
        Stage("LVDM, second stage", "lvdm_digits", 830, 0.6, "lvdm_autoencoder_digits"),
    ),
    "pvdm_digits": (
        Stage("PVDM, first stage", "pvdm_autoencoder_digits", 500, 0.4),
        Stage("PVDM, second stage", "pvdm_digits", 464, 0.6, "pvdm_autoencoder_digits"),
    ),
}
PROBE = MODELS["vdm_digits"][0]  # what the speed is measured with


def paper_name(model: str) -> str:
    """``VDM`` of ``vdm_digits``."""
    return model.partition("_")[0].upper()


@dataclass(frozen=True)
class Lanes:
    """How the cores are shared: trainings that run at a time, and threads of each.

    Two trainings with a thread each do more than one with two threads: 1.7 times the work of one thread against 1.4.
    """

    count: int = 1
    threads: int = 1

    @classmethod
    def of(cls, cores: int) -> "Lanes":
        """As many trainings as cores, at most one for each model; what is left over is threads."""
        count = max(min(cores, len(MODELS)), 1)
        return cls(count, max(min(cores // count, MOST_THREADS), 1))


def in_order(models: Sequence[str], lanes: int) -> list[Stage]:
    """The stages in the order in which a free lane takes the first one whose first stage is there.

    One lane takes model after model, so that one is finished early; several take what has most left behind it, so that
    they end at about the same time.
    """
    stages = [stage for name in models for stage in MODELS[name]]
    if lanes == 1:
        return stages
    left = {
        stage.config: sum(later.seconds for later in MODELS[name][i:])
        for name in models
        for i, stage in enumerate(MODELS[name])
    }
    return sorted(stages, key=lambda stage: -left[stage.config])


def makespan(models: Sequence[str], lanes: int) -> float:
    """Seconds until all stages of some models are trained, on a machine where each takes its own."""
    waiting, now = in_order(models, lanes), 0.0
    running: dict[str, float] = {}
    done: set[str | None] = {None}
    while waiting or running:
        for stage in [stage for stage in waiting if stage.first_stage in done][: lanes - len(running)]:
            waiting.remove(stage)
            running[stage.config] = now + stage.seconds
        first = min(running, key=lambda config: running[config])
        now = running.pop(first)
        done.add(first)
    return now


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Args:
        models: how many, the first ones of ``MODELS``.
        share: of each stage's steps.
        minutes: until all of them are trained.
        pace: seconds of this machine for one of the plan's, with as many trainings at a time.
        line: why it is not what was asked for, or empty.
    """

    models: int
    share: float
    minutes: float
    pace: float
    line: str = ""

    @property
    def names(self) -> list[str]:
        """Of the models."""
        return list(MODELS)[: self.models]

    def steps(self, stage: Stage) -> int:
        """Optimizer steps of a stage."""
        return max(round(self.share * stage.steps), 1)

    def seconds(self, stage: Stage) -> float:
        """That they take here."""
        return self.share * stage.seconds * self.pace

    def model_seconds(self, name: str) -> float:
        """Of all stages of a model."""
        return sum(self.seconds(stage) for stage in MODELS[name])


def plan(slowness: float, minutes: float | None = None, lanes: int = 1) -> Plan:
    """All models in ``MINUTES``; on a slow machine in more, up to ``LONGEST``, then fewer of them.

    Minutes that the user gives are kept to: what does not fit is left out, or, where nothing fits, said to be too
    little. All models get the same share of their steps, so the same time.

    Args:
        slowness: time that a step takes here, with as many trainings at a time, over that on the machine of the plan.
        minutes: of training, all models together; None = not given.
        lanes: trainings at a time.
    """
    names = list(MODELS)
    # minutes of all steps of the first models, from one model to all of them
    whole = [makespan(names[:count], lanes) / 60 * slowness for count in range(1, len(names) + 1)]
    limit = LONGEST if minutes is None else minutes
    wanted = MINUTES if minutes is None else minutes
    fitting = sum(WORTH_SEEING * each <= limit * (1 + 1e-9) for each in whole)  # what fits exactly, fits
    why = f"too busy or too slow for {wanted:g} minutes: a step takes {slowness:.1f} times that of the plan; "
    line = ""
    if fitting == len(names):
        total = max(wanted, WORTH_SEEING * whole[-1])
        line = f"{why}all models, in about {total:.0f} minutes" if total > wanted else ""
    elif minutes is None or fitting > 0:
        fitting = max(fitting, 1)
        total = max(limit, WORTH_SEEING * whole[fitting - 1])
        left = ", ".join(map(paper_name, names[:fitting]))
        line = f"{why}{left} alone, in about {total:.0f} minutes"
    else:
        fitting, total = len(names), minutes
        line = f"{why}digits will be blurs, leave --minutes out for as many as it takes"
    return Plan(fitting, total / whole[fitting - 1], total, slowness, line)
