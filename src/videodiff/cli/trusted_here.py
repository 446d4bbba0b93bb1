"""Makes modules of the current directory importable if ``--trust`` names them, and nothing else there.

An installed command does not look for modules where it is called, and should not: a file ``random.py`` lying there
would be run. So a finder that knows the trusted names alone comes last, after everything that is installed.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class TrustedHere:
    """Finds trusted modules, by their first name, in one directory."""

    def __init__(self, names: set[str], folder: str) -> None:
        self.names, self.folder = names, folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec; None for any that ``--trust`` has not named, and for what lies in a package."""
        if path is not None or name not in self.names:
            return None
        return importlib.machinery.PathFinder.find_spec(name, [self.folder], target)


def allow(words: Sequence[str]) -> None:
    """Make the modules that ``--trust`` names in a command line importable from here."""
    names = set()
    for at, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option == "--trust":
            value = value if equals else words[at + 1] if at + 1 < len(words) else ""
            names.add(value.partition(".")[0])
    names.discard("")
    folder = str(Path.cwd())
    known = any(isinstance(f, TrustedHere) and f.folder == folder and f.names >= names for f in sys.meta_path)
    if names and not known:
        sys.meta_path.append(TrustedHere(names, folder))
