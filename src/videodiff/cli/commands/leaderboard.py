"""leaderboard: systems trained for equal seconds of compute on several seeds, measured alike, in one table and page."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videodiff.cli.arguments import LightParser
from videodiff.cli.leaderboard_plan import Job, System, system_of
from videodiff.cores import cores
from videodiff.usage import UsageError
from videodiff.words import real, whole, writable

DEFAULTS: dict[str, Any] = {
    "first_stage_share": 0.4, "num_clips": 128, "sampler": "dpmpp", "steps": 20, "frames": None, "seed": 0,
    "protocol": None, "device": "cpu",
}  # fmt: skip
"""What is the same for all systems of a folder, where nobody says otherwise."""
EPILOG = """A SYSTEM is [NAME=]CONFIG[,OVERLAY or KEY=VALUE...]: what follows a comma holds for it alone,
--config OVERLAY and --KEY VALUE for all.

examples:
  videodiff leaderboard vdm_digits lvdm_digits pvdm_digits --seconds 300 --seeds 3
  videodiff leaderboard x=vdm_digits eps=vdm_digits,model.prediction=eps --seconds 300 --out runs/predictions
  videodiff leaderboard mine.yaml --out runs/predictions         # another system, beside those that are there
  videodiff leaderboard --out runs/predictions                   # go on after an interruption; the page anew
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``leaderboard``."""
    p = LightParser(
        "videodiff leaderboard",
        "fit",
        usage="videodiff leaderboard SYSTEM... --seconds N [--seeds K] [options]",
        description="Train systems for equal seconds of compute on several seeds, measure all alike, and write one\n"
        "table and page: OUT/index.html, leaderboard.{json,md,csv}. What is done is kept and not done again.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("systems", nargs="*", metavar="SYSTEM", help="shipped config or file, with changes of its own")
    add("--seconds", type=real(1e-3), metavar="N", help="CPU seconds of training, all stages of a system "
        "together (on a GPU: seconds that it holds the device)")  # fmt: skip
    add(
        "--seeds",
        type=whole(1, 1000),
        metavar="K",
        help="trainings of each system, seeds 0 to K - 1 (default 3)",
    )
    add(
        "--first_stage_share",
        type=real(0.01, 0.99),
        metavar="X",
        help="of the seconds, for a first stage (default 0.4)",
    )
    add("--num_clips", type=whole(2), metavar="N", help="clips measured of each training (default 128)")
    add("--sampler", choices=("ddim", "dpmpp", "ancestral"), help="for all (default dpmpp)")
    add("--steps", type=whole(), metavar="N", help="sampler steps (default 20)")
    add(
        "--frames", type=whole(), metavar="F", help="of each clip (default: the shortest that a system draws)"
    )
    add("--protocol", metavar="P", help="how to measure, as for compare (default: its choice)")
    add("--seed", type=whole(0), help="of noise and real clips of the evaluation (default 0)")
    add("--device", choices=("cpu", "cuda"), help="where to train and measure (default cpu)")
    add("--at_a_time", type=whole(1, 1024), metavar="N", help="trainings side by side, one thread each "
        "(default: one a core, at most 4; on a GPU one)")  # fmt: skip
    add(
        "-c",
        "--config",
        action="append",
        default=[],
        metavar="OVERLAY",
        help="overlay for every system, repeatable",
    )
    add("--trust", action="append", default=[], metavar="MODULE", help="also allow classes of this module")
    add("--out", type=writable, default=Path("runs/leaderboard"), metavar="DIR", help="folder of all of it (default "
        "runs/leaderboard)")  # fmt: skip
    return p


def run(argv: Sequence[str]) -> int:
    """Train, measure, tell; returns the exit code."""
    args, options = parser().parse_known_args(argv)
    from videodiff.comparison.leaderboard import read_leaderboard

    board = read_leaderboard(args.out)
    settings = settings_of(args, board)
    systems = systems_of(args, options, board, settings["first_stage_share"])
    known = max((len(entry.runs) for entry in board.entries), default=0) if board else 0
    at_a_time = args.at_a_time or (min(cores(), 4) if settings["device"] == "cpu" else 1)
    command = shlex.join(["videodiff", "leaderboard", *argv])
    job = Job(systems, args.seeds or known or 3, at_a_time, args.out, tuple(args.trust), command)
    from videodiff.cli import leaderboard_run

    return leaderboard_run.run(job, settings, board)


def settings_of(args: argparse.Namespace, board: Any) -> dict[str, Any]:
    """What is the same for all systems: that of the folder, or what is given, or the defaults.

    Args:
        args: of the command.
        board: the folder's record, None where there is none.

    Raises:
        UsageError: if both are there and differ.
    """
    given = {name: getattr(args, name) for name in ("seconds", *DEFAULTS)}
    if board is None:
        if given["seconds"] is None:
            raise UsageError(
                "leaderboard: --seconds must be given: of compute, for each training of each system"
            )
        return {**DEFAULTS, **{name: value for name, value in given.items() if value is not None}}
    for name, value in given.items():
        if value is not None and value != board.settings.get(name):
            raise UsageError(
                f"--{name} {value}: {args.out} holds a leaderboard with {board.settings.get(name)}; leave it out, or "
                "name another folder with --out"
            )
    return {name: board.settings.get(name) for name in given}


def systems_of(args: argparse.Namespace, options: Sequence[str], board: Any, share: float) -> list[System]:
    """The systems to be trained: those that are named, or all of the folder.

    Args:
        args: of the command.
        options: for every system.
        board: the folder's record, None where there is none.
        share: of the seconds that a first stage gets.

    Raises:
        UsageError: for a mistake in one, two of one name, or one that is there already and was another.
    """
    if not args.systems and board is None:
        raise UsageError("leaderboard needs a SYSTEM: a shipped config (see videodiff models) or a YAML file")
    if args.systems:
        systems = [system_of(spec, args.config, options, share, args.trust) for spec in args.systems]
    else:
        systems = [
            again(entry.name, entry.configs, entry.options, share, args.trust) for entry in board.entries
        ]
    names = [system.name for system in systems]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two systems are called {name}; name one of them: OTHER=CONFIG")
    for system in systems:
        entry = board and board.entry(system.name)
        if entry and entry.digest != system.digest:
            raise UsageError(
                f"{system.name} is in {args.out} already, trained with another config; call this one otherwise: "
                "OTHER=CONFIG"
            )
    return systems


def again(
    name: str, configs: Sequence[str], options: Sequence[str], share: float, trusted: Sequence[str]
) -> System:
    """A system of the folder, from what its record says."""
    first, *overlays = configs
    return system_of(f"{name}={first}", overlays, options, share, trusted)
