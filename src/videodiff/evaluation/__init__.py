"""From samples to numbers: protocols, measurements and results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videodiff.late import imported_late

if TYPE_CHECKING:
    from videodiff.evaluation.explain import explain_difference
    from videodiff.evaluation.protocol import PROTOCOLS, Protocol, get_protocol
    from videodiff.evaluation.results import Result, comparable, read_result
    from videodiff.evaluation.run import evaluate

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "Result",
    "comparable",
    "evaluate",
    "explain_difference",
    "get_protocol",
    "read_result",
]

# The command line asks for a protocol's name before it loads torch, so what is heavy is imported when it is asked for.
__getattr__ = imported_late(
    __name__,
    {
        "explain": ("explain_difference",),
        "protocol": ("PROTOCOLS", "Protocol", "get_protocol"),
        "results": ("Result", "comparable", "read_result"),
        "run": ("evaluate",),
    },
)
