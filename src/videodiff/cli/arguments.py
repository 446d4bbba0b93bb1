"""The parser of our own light commands: one-line errors with the nearest option, exit code 2."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from videodiff.cli.errors import UsageError, did_you_mean


class LightParser(argparse.ArgumentParser):
    """argparse, but it raises UsageError instead of printing its usage."""

    def __init__(self, prog: str, **kwargs: object) -> None:
        super().__init__(prog, allow_abbrev=False, **kwargs)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print, with the nearest option."""
        hint = ""
        if match := re.match(r"unrecognized arguments: (\S+)", message):
            options = [option for action in self._actions for option in action.option_strings]
            word = match[1].partition("=")[0]
            message = f"no option {word!r}"
            hint = did_you_mean(word, options)
        raise UsageError(f"{self.prog.removeprefix('videodiff ')}: {message}{hint}")
