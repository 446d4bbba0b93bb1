"""validate: the loss of a trained model on the validation clips."""

from videodiff.cli import verbs
from videodiff.cli.trained import Look


def run(words: list[str]) -> int:
    """Parse and validate; returns the exit code."""
    return verbs.run("validate", words, lambda options, rest: Look(options, rest).act())
