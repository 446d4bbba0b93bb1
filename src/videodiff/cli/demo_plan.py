"""The plan of a demo: which models, for how many steps, from the speed of the machine and the time given."""

from dataclasses import dataclass

MINUTES = 7.0  # of training, where nobody says otherwise
LONGEST = 3 * MINUTES  # what a slow machine takes before a model is left out
WORTH_SEEING = 0.5  # share of a stage's steps below which digits are blurs


@dataclass(frozen=True)
class Stage:
    """One training of the demo.

    Args:
        title: what is said while it runs.
        config: shipped name.
        steps: that the machine of the plan takes in its share of ``MINUTES``, a third of them for each model: two idle
            cores that take 4.5 steps of VDM a second (docs/results.md).
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


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Args:
        models: how many, the first ones of ``MODELS``.
        share: of each stage's steps.
        minutes: that they will take.
        line: why it is not what was asked for, or empty.
    """

    models: int
    share: float
    minutes: float
    line: str = ""

    def steps(self, stage: Stage) -> int:
        """Optimizer steps of a stage."""
        return max(round(self.share * stage.steps), 1)


def plan(slowness: float, minutes: float | None = None) -> Plan:
    """All models in ``MINUTES``; on a slow machine in more, up to ``LONGEST``, then fewer of them.

    Minutes that the user gives are kept to: what does not fit is left out, or, where nothing fits, said to be too
    little. All models get the same share of their steps, so the same time.

    Args:
        slowness: time that a step takes here, over that on the machine of the plan.
        minutes: of training, all models together; None = not given.
    """
    one = MINUTES * slowness / len(MODELS)  # minutes of all steps of a model
    least = WORTH_SEEING * one
    limit = LONGEST if minutes is None else minutes
    wanted = MINUTES if minutes is None else minutes
    fitting = min(int(limit / least + 1e-9), len(MODELS))  # what fits exactly, fits
    why = f"too busy or too slow for {wanted:g} minutes: a step takes {slowness:.1f} times that of the plan; "
    if fitting == len(MODELS):
        total = max(wanted, len(MODELS) * least)
        line = f"{why}all models, in about {total:.0f} minutes" if total > wanted else ""
    elif minutes is None or fitting > 0:
        fitting = max(fitting, 1)
        total = max(limit, least)
        names = ", ".join(name.partition("_")[0].upper() for name in list(MODELS)[:fitting])
        line = f"{why}{names} alone, in about {total:.0f} minutes"
    else:
        fitting, total = len(MODELS), minutes
        line = f"{why}digits will be blurs, leave --minutes out for as many as it takes"
    return Plan(fitting, total / (fitting * one), total, line)
