"""Several runs side by side: the same real clips, seeds, samplers and protocol for each."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compare import compare_runs
    from .record import Clips, Comparison, Draw, ModelClips, ModelRecord, Training
    from .results import read_comparison, write_results
    from .settings import Settings

# The command line checks its options before it loads torch, so everything is imported when it is asked for.
_HOMES = {
    "Clips": "record",
    "Comparison": "record",
    "Draw": "record",
    "ModelClips": "record",
    "ModelRecord": "record",
    "Settings": "settings",
    "Training": "record",
    "compare_runs": "compare",
    "read_comparison": "results",
    "write_results": "results",
}
__all__ = [
    "Clips",
    "Comparison",
    "Draw",
    "ModelClips",
    "ModelRecord",
    "Settings",
    "Training",
    "compare_runs",
    "read_comparison",
    "write_results",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
