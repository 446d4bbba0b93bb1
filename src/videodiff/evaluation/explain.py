"""Explains why two protocols give different figures for the same clips, one switch at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

from videodiff.evaluation.observed import Observed
from videodiff.evaluation.protocol import FEATURE_SWITCHES, Protocol, differences
from videodiff.evaluation.score import FRECHET, bare_distance


@dataclass(frozen=True)
class Step:
    """One switch thrown: its values, the figure afterwards, and by how much that moved it.

    `change` is None, with the reason in `note`, where the switch cannot touch these clips.
    """

    switch: str
    before: Any
    after: Any
    value: float
    change: float | None
    note: str = ""


@dataclass(frozen=True)
class Explanation:
    """The way from protocol `start` to protocol `end`; the changes add up to the whole difference."""

    metric: str
    start: str
    end: str
    start_value: float
    end_value: float
    steps: tuple[Step, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "steps": [asdict(step) for step in self.steps]}

    def table(self) -> str:
        """Lines for a terminal."""
        rows = [
            (f"{self.metric}, switch by switch", "value", "change"),
            (self.start, f"{self.start_value:.6g}", ""),
        ]
        for step in self.steps:
            change = step.note if step.change is None else f"{step.change:+.4g}"
            rows.append((f"  {step.switch}: {step.before} -> {step.after}", f"{step.value:.6g}", change))
        total = self.end_value - self.start_value
        rows.append((self.end, f"{self.end_value:.6g}", f"{total:+.4g} in all"))
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        return "\n".join(f"{a.ljust(widths[0])}  {b.rjust(widths[1])}  {c}".rstrip() for a, b, c in rows)


def explain_difference(
    look: Callable[[Protocol], tuple[Observed, Observed]],
    start: Protocol,
    end: Protocol,
    without_effect: Collection[str] = (),
) -> Explanation:
    """Walk from one protocol to another, throwing one switch at a time.

    The contribution of a switch depends on those thrown before it; the order is that of the protocol's fields. Clips
    are looked at again only where a switch changes what the network sees.

    Args:
        look: gives the real and the generated side under a protocol.
        start: where to begin.
        end: where to arrive.
        without_effect: switches that cannot touch the clips at hand, such as the rounding of files that hold bytes.

    Raises:
        ValueError: if the protocols use different networks, whose distances have nothing in common.
    """
    if start.network != end.network:
        raise ValueError(
            f"{start.label} and {end.label} use different networks ({start.network}, {end.network}): their "
            "figures share no scale, so there is nothing to explain"
        )
    metric = FRECHET[start.network]
    num_real, num_generated = max(start.num_real, end.num_real), max(start.num_generated, end.num_generated)
    seen: dict[tuple[Any, ...], tuple[Observed, Observed]] = {}

    def figure(protocol: Protocol) -> float:
        key = tuple(getattr(protocol, s) for s in FEATURE_SWITCHES if s not in without_effect)
        if key not in seen:
            seen[key] = look(replace(protocol, num_real=num_real, num_generated=num_generated))
        return bare_distance(*seen[key], protocol)

    first = value = figure(start)
    protocol, steps = start, []
    for switch, before, after in differences(start, end):
        protocol = replace(protocol, **{switch: after})
        if switch in without_effect:
            steps.append(Step(switch, before, after, value, None, "does not touch these clips"))
        elif switch.startswith("inception"):
            steps.append(Step(switch, before, after, value, None, f"does not enter {metric}"))
        else:
            new = figure(protocol)
            steps.append(Step(switch, before, after, new, new - value))
            value = new
    return Explanation(metric, start.label, end.label, first, value, tuple(steps))
