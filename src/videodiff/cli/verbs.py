"""What fit, validate, test and predict share: their options, and the environment that tells other ranks."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from videodiff.cli.arguments import LightParser, run_first
from videodiff.cli.condition import add_flags
from videodiff.cli.launch import RESUME_VARIABLE, RUN_VARIABLE
from videodiff.words import whole, writable


def run(verb: str, argv: list[str], act: Callable[[argparse.Namespace, list[str]], int]) -> int:
    """Parse a verb's own options, act on them and on the words that change the config; returns the exit code."""
    options, rest = own_options(verb).parse_known_args(argv if verb == "fit" else run_first(argv))
    inherited = RUN_VARIABLE in os.environ
    try:
        return act(options, rest)
    finally:
        if not inherited:
            for name in (RUN_VARIABLE, RESUME_VARIABLE):
                os.environ.pop(name, None)


def own_options(verb: str) -> argparse.ArgumentParser:
    """The options that are ours and not the LightningCLI's."""
    parser = LightParser(f"videodiff {verb}", verb, add_help=False)
    parser.add_argument("-c", "--config", action="append", default=[])
    parser.add_argument("--out", type=writable)
    parser.add_argument("--name")
    parser.add_argument("--ckpt_path")
    parser.add_argument("--trust", action="append", default=[])
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--print_config", nargs="?", const="")
    if verb == "fit":
        parser.add_argument("--init_from")
        parser.add_argument("--checkpoints", type=Path)
    if verb in ("test", "predict"):
        add_flags(parser)
    if verb == "predict":
        parser.add_argument("--given", type=whole())
    if verb == "test":
        parser.add_argument("--protocol")
        parser.add_argument("--num_clips", type=int)
        parser.add_argument("--inception", action="store_true")
        parser.add_argument("--clip_model")
        parser.add_argument("--against")
        parser.add_argument("--loss", choices=("true", "false"), default="true")
    return parser
