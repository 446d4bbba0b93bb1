"""From samples to numbers: protocols, measurements and results."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videodiff.evaluation.explain import explain_difference
    from videodiff.evaluation.protocol import PROTOCOLS, Protocol, get_protocol
    from videodiff.evaluation.results import Result, comparable, read_result
    from videodiff.evaluation.run import evaluate

# The command line asks for a protocol's name before it loads torch, so what is heavy is imported when it is asked for.
_HOMES = {
    "PROTOCOLS": "protocol",
    "Protocol": "protocol",
    "Result": "results",
    "comparable": "results",
    "evaluate": "run",
    "explain_difference": "explain",
    "get_protocol": "protocol",
    "read_result": "results",
}
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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
