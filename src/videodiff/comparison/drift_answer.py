"""Who gets worse from the first window of long videos to the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from videodiff.comparison.answer import Answer
from videodiff.comparison.best import is_better, penalty_interval
from videodiff.comparison.record import Comparison
from videodiff.comparison.tables import number
from videodiff.comparison.wording import capital, listed, plural
from videodiff.metrics.directory import DISTANCES, WORDS, metric_info
from videodiff.say import counted

ALONG = (*DISTANCES, "digit_identity", "cloud_horizon", "digit_speed_in_range", "cloud_drift_in_range")


def long_video(comparison: Comparison) -> Answer | None:
    """From the first window of long videos to the last: who gets worse, as far as so few videos tell."""
    ends = {
        model.name: (model.drift[0], model.drift[-1]) for model in comparison.models if len(model.drift) > 1
    }
    if not ends:
        return None
    metric = next((name for name in ALONG if any(judged(pair, name) for pair in ends.values())), None)
    first, last = next(iter(ends.values()))
    place = "frames {} to {}".format(*last["frames"])
    if metric is None:
        return Answer("Long video", f"Up to {place}: too few videos for intervals, so nothing can be told.")
    info, groups = metric_info(metric), dict[str, list[str]]()
    for name, pair in ends.items():
        if judged(pair, metric):
            early, late = (window["metrics"][metric] for window in pair)
            worse, better = is_better(early, late, info.better), is_better(late, early, info.better)
            says = (
                "gets worse" if worse else "gets better" if better else "shows no change beyond the intervals"
            )
            values = (number(entry["value"], 3) for entry in (early, late))
            groups.setdefault(says, []).append(f"{name} ({' to '.join(values)})")
        else:
            groups.setdefault("has no intervals", []).append(name)
    clauses = [f"{listed(names)} {plural(says, len(names))}" for says, names in groups.items()]
    count = first["metrics"][metric].get("count") if metric in first["metrics"] else None
    videos = f", {counted(count, 'video')} of each model" if count else ""
    head = f"{info.label} ({WORDS[info.better]}) in {'frames {} to {}'.format(*first['frames'])} and in {place}{videos}"
    return Answer("Long video", f"{capital(head)}: {'; '.join(clauses)}.")


def judged(pair: Sequence[Mapping[str, Any]], metric: str) -> bool:
    """Whether a metric has intervals in both windows."""
    way = metric_info(metric).better
    return all(penalty_interval(window["metrics"].get(metric), way) is not None for window in pair)
