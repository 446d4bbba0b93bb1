"""The part of ``videodiff test`` that generates clips and measures them under a protocol."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videodiff.cli.condition import conditions_of
from videodiff.plain import parse_yaml
from videodiff.usage import UsageError

NONE = "none"


def check(options: argparse.Namespace) -> None:
    """Protocol and counts, before anything is loaded."""
    from videodiff.evaluation.protocol import get_protocol

    if options.num_clips is not None and options.num_clips < 2:
        raise UsageError(f"--num_clips must be at least 2, got {options.num_clips}")
    if options.loss == "false" and options.protocol == NONE:
        raise UsageError("--loss false with --protocol none leaves nothing to measure")
    if options.against is not None and options.protocol == NONE:
        raise UsageError("--against needs a protocol, and --protocol none measures nothing")
    if conditions_of(options) and options.protocol == NONE:
        raise UsageError(
            f"--{next(iter(conditions_of(options)))} is of generated clips, and --protocol none generates none"
        )
    if options.clip_model is not None:
        from videodiff.text.folder import check_clip

        if options.protocol == NONE:
            raise UsageError("--clip_model needs a protocol, and --protocol none measures nothing")
        check_clip(options.clip_model)
    if options.protocol is None:
        return
    if "," in options.protocol:
        raise UsageError(
            f"--protocol {options.protocol}: test takes one; write clips with videodiff generate and compare protocols "
            "with videodiff evaluate"
        )
    if options.protocol != NONE:
        get_protocol(options.protocol)


def attach(
    options: argparse.Namespace, cli: Any, folders: Sequence[Path], checkpoint: Path, content: dict[str, Any]
) -> Any:
    """Give the trainer a :class:`~videodiff.evaluation.callback.VideoEvaluation`; None for ``--protocol none``."""
    if options.protocol == NONE:
        return None
    from videodiff.evaluation.callback import VideoEvaluation
    from videodiff.networks.frozen import state_sha256

    against = None
    if options.against is not None:
        from videodiff.evaluation.against import find_against

        against = find_against(options.against)
    seed = cli.config.seed_everything
    judge = VideoEvaluation(
        options.protocol,
        options.num_clips,
        folders,
        getattr(cli.datamodule, "eval_batch_size", None) or 16,
        0 if isinstance(seed, bool) else int(seed),
        options.inception,
        {
            "checkpoint": str(checkpoint),
            "step": content.get("global_step"),
            "ema": bool(content.get("ema")),
            "weights": state_sha256(content["state_dict"]).hex(),
            **({"runs": runs} if (runs := runs_of(content)) else {}),
            "config": generation_config(parse_yaml(cli.config_text(), "config")["model"]),
        },
        against=against,
        conditions=conditions_of(options),
        clip_model=options.clip_model,
    )
    cli.trainer.callbacks.append(judge)
    return judge


def runs_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of a pipeline and their steps; empty for a single run."""
    found = content.get("videodiff", {}).get("runs", [])
    return [{key: run[key] for key in ("run", "step", "weights")} for run in found]


def generation_config(section: dict[str, Any]) -> dict[str, Any]:
    """The model section of a config without what shapes training alone."""
    args = section.get("init_args") or {}
    kept = {k: v for k, v in args.items() if k not in ("optimizer", "lr_scheduler", "compile")}
    return {**section, "init_args": kept}


def tell(result: Any) -> None:
    """The numbers on stdout, what a reader must know on stderr."""
    if result is None:
        return
    for warning in result.warnings:
        print(f"videodiff: warning: {warning}", file=sys.stderr, flush=True)
    print(result.table())


def print_beside(judge: Any) -> None:
    """The numbers beside those of ``--against``.

    Raises:
        ValueError: if they turn out not to be of one measurement, or nothing was measured.
    """
    if judge is None or judge.against is None:
        return
    if judge.result is None:
        raise ValueError(f"--against {judge.against.spec}: nothing was measured here to compare with it")
    print(f"\n{judge.against.beside(judge.result)}")
