"""The parser of our own commands: one-line errors, exit code 2, and a misspelt option is named before all else."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from videodiff.usage import UsageError, did_you_mean, nearest

NUMBER = re.compile(r"-\.?\d")
KINDS = {"int": "a whole number", "float": "a number"}


def run_first(words: Sequence[str]) -> list[str]:
    """The words of a command that takes one run: ``generate RUN`` means ``generate --ckpt_path RUN``."""
    return ["--ckpt_path", *words] if words and not words[0].startswith("-") else [*words]


def run_without_option(words: Sequence[str]) -> list[str]:
    """The words of a command whose run has no option: ``export --ckpt_path RUN`` means ``export RUN``."""
    option = "--ckpt_path"
    return [word.removeprefix(f"{option}=") for word in words if word != option]


class LightParser(argparse.ArgumentParser):
    """argparse, but it raises UsageError instead of printing its usage.

    Options are looked at before anything else is: without this, a misspelt ``--config`` is a missing one.

    Args:
        prog: ``videodiff`` and the command.
        verb: whose config single options may change too (``--trainer.max_steps 5``); by default there are none.
    """

    def __init__(self, prog: str, verb: str | None = None, **kwargs: Any) -> None:
        super().__init__(prog, allow_abbrev=False, **kwargs)
        self.verb = verb

    def parse_known_args(  # type: ignore[override]  # one signature stands for the three of the base
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """As the base, after every option has been found to exist.

        Raises:
            UsageError: for the first that does not, with the nearest one.
        """
        if args is not None:
            self.check_options(args)
        return super().parse_known_args(args, namespace)

    def check_options(self, words: Sequence[str]) -> None:
        """Refuse the first word that is written like an option and is none."""
        queue = list(words)
        while queue and queue[0] != "--":
            word = queue.pop(0)
            name, equals, _ = word.partition("=")
            if word[:1] != "-" or word == "-" or " " in name or NUMBER.match(word):
                continue
            own = self._option_string_actions.get(name)
            if own is None and not word.startswith("--"):
                own, equals = self.short(name), "its value stands in the same word"
            if own is None and self.verb is not None and word.startswith("--"):
                from videodiff.config.options import FLAGS, check_name

                check_name(name, self.verb, self.options(), self.command)
                takes_value = name not in FLAGS
            elif own is None:
                self.error(self.unknown(name))
            else:
                takes_value = own.nargs not in (0, "?", "*")
            if takes_value and not equals and queue and not queue[0].startswith("--"):
                if own is not None and queue[0][:1] == "-" and not NUMBER.match(queue[0]):
                    self.error(
                        f"{name} needs a value; one that begins with a dash is written {name}={queue[0]}"
                    )
                queue.pop(0)

    def short(self, word: str) -> argparse.Action | None:
        """The option of one letter that a word begins with (``-cFILE``), if no long one is meant (``-config``)."""
        action = self._option_string_actions.get(word[:2])
        plain = re.fullmatch(r"-[a-z_]{3,}", word) is not None
        return None if plain and nearest(f"-{word}", self.options(), cutoff=0.75) else action

    @property
    def command(self) -> str:
        """The words of the command after ``videodiff``."""
        return self.prog.removeprefix("videodiff ")

    def options(self) -> list[str]:
        """Every option of the parser itself, long ones first."""
        return sorted(self._option_string_actions, key=lambda option: not option.startswith("--"))

    def unknown(self, name: str) -> str:
        """The error line for a word that looks like an option but is none."""
        hint = did_you_mean(name if name.startswith("--") else f"-{name}", self.options())
        if Path(name).exists():
            hint = f"; the file of that name is written ./{name}"
        return f"no option {name!r}{hint}; see {self.prog} --help"

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print, in our words."""
        if match := re.match(r"unrecognized arguments: (.+)", message):
            message = f"unexpected argument {match[1].split()[0]!r}"
        elif match := re.match(r"the following arguments are required: (.+)", message):
            message = f"{match[1]} must be given; see {self.prog} --help"
        elif match := re.match(r"argument (.+?): expected (one|at least one) argument", message):
            message = (
                f"{match[1]} needs a value (one that begins with a dash: {match[1].split('/')[-1]}=VALUE)"
            )
        elif match := re.match(r"argument (.+?): (must .+)", message):
            message = f"{match[1]} {match[2]}"
        elif match := re.match(r"argument (.+?): invalid (int|float) value: (.+)", message):
            message = f"{match[1]} must be {KINDS[match[2]]}, got {match[3]}"
        elif match := re.match(r"argument (.+?): invalid choice: (.+?) \(choose from (.+)\)$", message):
            choices = [choice.strip(" '") for choice in match[3].split(",")]
            hint = did_you_mean(match[2].strip("'"), choices)
            message = f"{match[1]} must be one of {', '.join(choices)}, got {match[2]}{hint}"
        raise UsageError(f"{self.command}: {message}")
