"""The ``videodiff`` command: dispatches on the first word, and loads no more than that word needs.

``--help``, ``--version``, ``models``, ``doctor`` and the short help of every verb answer without torch.
"""

from __future__ import annotations

import importlib
import sys

from videodiff import stopping, usage
from videodiff.cli import errors, help, streams, unneeded, waiting

VERBS = ("fit", "validate", "test", "predict")
COMMANDS = (
    *VERBS,
    "generate",
    "evaluate",
    "compare",
    "leaderboard",
    "prepare",
    "encode",
    "import",
    "export",
    "models",
    "info",
    "doctor",
    "demo",
    "new-model",
    "completion",
)
MEANT = {
    "train": "fit",
    "training": "fit",
    "resume": "fit",
    "sample": "generate",
    "eval": "evaluate",
    "reconstruct": "predict",
    "download": "prepare",
    "config": "info",
    "configs": "models",
    "list": "models",
}
"""What other programs call a command -> what it is called here."""
FILES = {"import": "import_published", "new-model": "new_model"}
"""Files in ``commands/`` of the commands whose name cannot be a module's."""


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``videodiff``; by default those of the process.

    Returns:
        0 done, 1 failed, 2 usage or bad input, 130 or 143 interrupted.
    """
    waiting.choose()
    unneeded.skip_transformers()
    words = list(sys.argv[1:] if argv is None else argv)
    verbose = any(word in ("-v", "--verbose") for word in words)
    with streams.lasting() as (out, _), stopping.raised(), errors.threads_reported(verbose):
        code = _report(words, verbose)
        out.flush()
        if code == errors.DONE and (lost := streams.unwritten(out)) is not None:
            code = errors.report(RuntimeError(lost))
    return code


def _report(words: list[str], verbose: bool) -> int:
    """Dispatch, and turn whatever comes back into a line and an exit code."""
    try:
        return _dispatch([word for word in words if word not in ("-v", "--verbose")]) or errors.DONE
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning makes exit code 1 of it
            return errors.report(stop.__context__, verbose)
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or errors.DONE
        return errors.report(RuntimeError(str(stop.code)), verbose)
    except (Exception, KeyboardInterrupt) as error:
        return errors.report(error, verbose)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(help.MAIN)
        return errors.DONE
    command, rest = words[0], words[1:]
    if command in ("--version", "-V"):
        from videodiff import __version__

        print(f"videodiff {__version__}")
        return errors.DONE
    if command not in COMMANDS:
        kind = "option" if command.startswith("-") else "command"
        meant = MEANT.get(command)
        hint = (
            f"; did you mean {meant!r}?"
            if meant
            else usage.did_you_mean(command, [*COMMANDS, "--help", "--version"])
        )
        raise usage.UsageError(f"unknown {kind} {command[:80]!r}{hint}; see videodiff --help")
    if any(word.partition("=")[0] == "--trust" for word in rest):
        from videodiff.cli import trusted_here

        trusted_here.allow(rest)
    return _run(command, rest)


def _run(command: str, rest: list[str]) -> int:
    if command in VERBS:
        if "-h" in rest or "--help" in rest:
            print(help.verb(command))
            return errors.DONE
        if any(word == "--help=all" or word.partition("=")[0].endswith(".help") for word in rest):
            return help.full(command, rest)
        rest = [
            "--seed_everything" + word.removeprefix("--seed") if _is_seed(word) else word for word in rest
        ]
    module = importlib.import_module(f"videodiff.cli.commands.{FILES.get(command, command)}")
    return int(module.run(rest))


def _is_seed(word: str) -> bool:
    return word == "--seed" or word.startswith("--seed=")
