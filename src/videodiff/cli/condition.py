"""Flags of the conditions: added to the parser of every command that generates, and read as a Request."""

from __future__ import annotations

import argparse
from typing import Any


def add_flags(parser: argparse.ArgumentParser, besides: str | None = None) -> None:
    """Give a parser a flag for every field of a request that has one, but for one that it has of its own."""
    from videodiff.conditioning import request

    for flag in (flag for flag in request.flags().values() if flag.name != besides):
        action = "extend" if flag.repeats else "store"
        parser.add_argument(
            f"--{flag.name}", action=action, type=flag.parse, metavar=flag.metavar, help=flag.help
        )


def conditions_of(args: argparse.Namespace) -> dict[str, Any]:
    """The conditions by the names of the flags: plain values, as they are recorded."""
    from videodiff.conditioning import request

    names = [flag.name for flag in request.flags().values()]
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def help_lines() -> str:
    """The flags as a part of a help text."""
    import textwrap

    from videodiff.conditioning import request

    lines = []
    for flag in request.flags().values():
        head = f"  --{flag.name} {flag.metavar}"
        first = f"{head:31s}" if len(head) < 30 else f"{head}\n{'':31s}"
        lines.append(first + textwrap.fill(flag.help, 89).replace("\n", f"\n{'':31s}"))
    return "\n".join(lines) + "\n"


def read_request(args: argparse.Namespace, model: Any) -> tuple[Any, int]:
    """The request for one video, and the length of the videos to generate; one line says how much of it is new.

    Raises:
        ValueError: where nothing would be new, positions and frames do not fit, or a file cannot be read.
    """
    from videodiff.conditioning.asked import request_of
    from videodiff.conditioning.source import kept_pixels
    from videodiff.say import say

    conditions = conditions_of(args)
    if args.condition_as == "low_resolution" and "condition" in conditions:
        conditions["low_resolution"] = conditions.pop("condition")
        conditions.pop("condition_frames", None)
    asked = request_of(conditions, model.generated)
    known, length = len(asked.positions), asked.num_frames or model.video_shape[1]
    keep = kept_pixels(asked)
    if keep is not None:
        say(
            f"{keep.float().mean().item():.0%} of the pixels of {args.init_video} stay, the others are generated"
        )
    if known:
        say(f"{known} of {length} frames given by {args.condition}, {length - known} new")
    return asked, length
