"""Several runs side by side: the same real clips, seeds, samplers and protocol for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videodiff.late import imported_late

if TYPE_CHECKING:
    from .compare import compare_runs
    from .record import Clips, Comparison, Draw, ModelClips, ModelRecord, Training
    from .results import read_comparison, write_results
    from .settings import Settings

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

# The command line checks its options before it loads torch, so everything is imported when it is asked for.
__getattr__ = imported_late(
    __name__,
    {
        "compare": ("compare_runs",),
        "record": ("Clips", "Comparison", "Draw", "ModelClips", "ModelRecord", "Training"),
        "results": ("read_comparison", "write_results"),
        "settings": ("Settings",),
    },
)
