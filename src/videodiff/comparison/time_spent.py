"""How long a video takes, and what the weights took."""

from __future__ import annotations

from videodiff.comparison.answer import Answer
from videodiff.comparison.record import Comparison
from videodiff.comparison.tables import number, seconds
from videodiff.comparison.wording import large, listed

ALIKE = 1.1  # ratio of two measured times up to which they are called alike
FAIR = 1.25  # ratio of two budgets of training from which a reader is told


def speed(comparison: Comparison) -> Answer | None:
    """Who makes a video fastest, on the machine that measured it."""
    taken = {
        model.name: value
        for model in comparison.models
        for draw in model.draws[:1]
        if (value := draw.timing.get("seconds_per_video"))
    }
    if not taken:
        return None
    first, *others = sorted(taken, key=lambda name: taken[name])
    if not others:
        return Answer(
            "Speed", f"A video of {first} takes {seconds(taken[first])} on this machine.", timed=True
        )
    alike = [name for name in others if taken[name] <= ALIKE * taken[first]]
    slower = [name for name in others if name not in alike]
    times = [
        f"{number(taken[name] / taken[first], 2)} times as long ({seconds(taken[name])})" for name in slower
    ]
    said = f"{listed([first, *alike])} {'take' if alike else 'takes'} {seconds(taken[first])} a video on this machine"
    said += ", alike within 10 %" if alike else ""
    said += "".join(f"; {name} {text}" for name, text in zip(slower, times, strict=True))
    return Answer("Speed", f"{said}. A time has no interval.", None if alike else first, timed=True)


def training(comparison: Comparison) -> Answer | None:
    """What the weights took, first stages included: figures of unequal budgets are of budgets, too."""
    spent, untold = dict[str, float](), list[str]()
    for model in comparison.models:
        stage = ((model.first_stage or {}).get("training") or {}).get("seconds")
        parts = [value for value in (model.training.seconds, stage) if value]
        if parts:
            spent[model.name] = sum(parts)
            if model.first_stage and not stage:
                untold.append(model.name)
    if not spent:
        return None
    sizes = {model.name: sum(model.parameters.values()) for model in comparison.models}
    those = [
        f"{name} {seconds(value)}" + (f" ({large(sizes[name])} parameters)" if sizes[name] else "")
        for name, value in spent.items()
    ]
    said = f"{listed(those)}, first stages included"
    said += f" but for that of {listed(untold)}, of which no time is recorded" if untold else ""
    ratio = max(spent.values()) / min(spent.values())
    if ratio > FAIR:
        said += f". The longest is {number(ratio, 2)} times the shortest, which the figures above do not allow for"
    return Answer("Training", f"{said}.")
