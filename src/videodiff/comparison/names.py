"""The folder name of a comparison: its runs and steps, and how clips were generated and measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from videodiff.comparison.folder import made_with
from videodiff.evaluation.names import digest_of, path_word

MOST_RUNS = 3


def report_name(facts: Mapping[str, Any]) -> str:
    """``vdm-digits-step4000_pvdm-digits-step4000_evaluator_n64_ddim50_seed0_1f3a9c2e07``.

    Args:
        facts: ``protocol``, ``settings`` and ``data`` of the record, and ``runs``, each ``{"run", "step"}``.
    """
    settings, protocol = facts["settings"], facts["protocol"]
    words = []
    for run in facts["runs"][:MOST_RUNS]:
        step = "" if run["step"] is None else f"-step{run['step']}"
        words.append(f"{path_word(run['run'])}{step}")
    if len(facts["runs"]) > MOST_RUNS:
        words.append(f"and-{len(facts['runs']) - MOST_RUNS}-more")
    words.append(str(protocol["name"]) + ("" if settings["frames"] == 16 else f"-{settings['frames']}f"))
    words.append(f"n{settings['num_clips']}")
    words.append("-".join(settings["samplers"]) + "-".join(map(str, settings["steps"])))
    if settings.get("guidance") is not None:
        scales = settings["guidance"]
        scales = scales if isinstance(scales, list) else [scales]
        words.append("guidance" + "-".join(f"{scale:g}" for scale in scales))
    return "_".join([*words, f"seed{settings['seed']}", digest_of(made_with(facts))])
