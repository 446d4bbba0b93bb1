"""predict: what a trained model makes of the predict clips, written to files."""

import json
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.cli import verbs
from videodiff.cli.condition import conditions_of
from videodiff.cli.trained import Look, Trained
from videodiff.say import rank
from videodiff.usage import UsageError

# Arguments of the data module that decide how fast clips come, not which.
HOW_DATA_COME = ("num_workers",)


def run(words: list[str]) -> int:
    """Parse and predict; returns the exit code."""
    return verbs.run("predict", words, lambda options, rest: Predict(options, rest).act())


class Predict(Look):
    """Writes reconstructions and continuations to files; resumes where it was interrupted."""

    verb = "predict"

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """What is asked of every clip."""
        asked, given = conditions_of(self.options), self.options.given
        return asked if given is None else {**asked, "condition_frames": f"0:{given}"}

    def check(self) -> None:
        if None not in (self.options.given, self.options.condition_frames):
            raise UsageError("--given N and --condition_frames 0:N say the same; give one of them")

    def plan(self, run: Trained, config: dict[str, Any]) -> dict[str, Any]:
        return plan_of(run.checkpoint, config, self.conditions)

    def is_begun(self, folder: Path, plan: dict[str, Any]) -> bool:
        from videodiff.callbacks.prediction_journal import PredictionJournal

        return PredictionJournal(folder).is_of(plan)

    def attach(self, cli: Any, run: Trained, out: Path, plan: dict[str, Any] | None, held: ExitStack) -> None:
        from videodiff.callbacks import PredictionWriter
        from videodiff.callbacks.prediction_journal import PredictionJournal
        from videodiff.checkpoints import RunLock

        tell(cli.model, self.conditions)
        if rank() == 0 and plan is not None:
            held.enter_context(RunLock(out))
            atomic.clear_parts(out)
            PredictionJournal(out).begin(plan)
        cli.trainer.callbacks.append(PredictionWriter(out))

    def report(self, run: Trained, out: Path, result: Any) -> None:
        print(f"predictions: {out}")


def tell(model: Any, conditions: dict[str, Any]) -> None:
    """Give a model what ``predict`` asks of every clip.

    Raises:
        ValueError: for a model that reconstructs clips, which are told nothing.
    """
    from videodiff.sampling.video_model import video_model

    if conditions:
        video_model(model, f"--{next(iter(conditions))}: the model").asked = conditions


def plan_of(checkpoint: Path, config: dict[str, Any], conditions: dict[str, Any]) -> dict[str, Any]:
    """Everything that decides what is predicted, as JSON holds it."""
    from videodiff.checkpoints.pipeline import identity
    from videodiff.conditioning.request import recorded

    data = dict(config.get("data") or {})
    data["init_args"] = {k: v for k, v in (data.get("init_args") or {}).items() if k not in HOW_DATA_COME}
    plan = {
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": identity(checkpoint),
        "model": config.get("model"),
        "data": data,
        "seed": config.get("seed_everything"),
        "precision": (config.get("trainer") or {}).get("precision"),
        **({"told": recorded(conditions)} if conditions else {}),
    }
    return json.loads(json.dumps(plan, default=str))
