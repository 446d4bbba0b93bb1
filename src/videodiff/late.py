"""Packages whose names are imported when they are asked for: the command line asks for some before it loads torch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def imported_late(
    package: str, homes: Mapping[str, Sequence[str]], at_once: bool = False
) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package (PEP 562).

    Args:
        package: its ``__name__``.
        homes: module of the package -> the names that it defines.
        at_once: with the first name import all others too, for those who look for what the package holds.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        for wanted in home_of if at_once else (name,):
            found = getattr(importlib.import_module(f"{package}.{home_of[wanted]}"), wanted)
            setattr(sys.modules[package], wanted, found)
        return getattr(sys.modules[package], name)

    return find
