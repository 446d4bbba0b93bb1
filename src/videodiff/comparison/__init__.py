"""Several runs side by side: the same real clips, seeds, samplers and protocol for each."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .record import Clips, Comparison, Draw, ModelClips, ModelRecord, Training
from .settings import Settings

if TYPE_CHECKING:
    from .compare import compare_runs
    from .results import write_results

# The records alone are light; what draws and measures is imported when it is asked for.
_HOMES = {"compare_runs": "compare", "write_results": "results"}
__all__ = [
    "Clips",
    "Comparison",
    "Draw",
    "ModelClips",
    "ModelRecord",
    "Settings",
    "Training",
    "compare_runs",
    "write_results",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
