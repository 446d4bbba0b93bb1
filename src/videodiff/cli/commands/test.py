"""test: the loss of a trained model on the test clips, and its clips against real ones under a named protocol."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.cli import protocols, verbs
from videodiff.cli.trained import Look, Trained


def run(words: list[str]) -> int:
    """Parse and test; returns the exit code."""
    return verbs.run("test", words, lambda options, rest: Test(options, rest).act())


class Test(Look):
    """``validate`` on the test clips, and the model's clips judged beside it."""

    verb = "test"
    judge: Any = None

    @property
    def wants_loss(self) -> bool:
        return self.options.loss == "true"

    def check(self) -> None:
        protocols.check(self.options)

    def plan(self, run: Trained, config: dict[str, Any]) -> None:
        atomic.refuse_link(run.directory / "eval")

    def attach(self, cli: Any, run: Trained, out: Path, plan: dict[str, Any] | None, held: ExitStack) -> None:
        if not self.wants_loss:
            cli.trainer.limit_test_batches = (
                1  # the clips are judged when the loop ends, and it must have begun
            )
        folders = [out] if self.options.out is not None else [out, run.directory]
        self.judge = protocols.attach(self.options, cli, folders, run.checkpoint, run.content)

    def report(self, run: Trained, out: Path, result: Any) -> None:
        if self.judge is not None:
            protocols.tell(self.judge.result)
        super().report(run, out, result)
        protocols.print_beside(self.judge)
