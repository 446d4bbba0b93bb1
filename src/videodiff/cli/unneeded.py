"""Imports that no command needs."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class WithoutTransformers(importlib.abc.MetaPathFinder):
    """Keeps torchmetrics from importing transformers, where that is installed: a fifth of the time of a start.

    torchmetrics, which Lightning imports, takes it along for metrics of text that nothing here uses. It asks
    lightning_utilities whether the package is there; in the process of a command the answer is no. Whoever needs
    transformers imports it as ever.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds nothing; just before the import of torchmetrics it changes the answer, once."""
        if name == "torchmetrics":
            sys.meta_path.remove(self)
            from lightning_utilities.core.imports import RequirementCache

            found = RequirementCache.__bool__

            def is_there(self: RequirementCache) -> bool:
                return "transformers" not in str(self.requirement) and found(self)

            RequirementCache.__bool__ = is_there  # type: ignore[method-assign]  # there is no other way in
        return None


def skip_transformers() -> None:
    """For this process, once; without effect where torchmetrics is imported already."""
    if "torchmetrics" not in sys.modules and not any(
        isinstance(f, WithoutTransformers) for f in sys.meta_path
    ):
        sys.meta_path.insert(0, WithoutTransformers())
