"""The ``videodiff`` command: looks at the first word, and loads no more than that word needs.

``--help``, ``--version``, ``models``, ``doctor`` and the short help of every verb answer without torch.
"""

from __future__ import annotations

import sys

from videodiff.cli import errors, help

VERBS = ("fit", "validate", "test", "predict")
COMMANDS = (*VERBS, "generate", "models", "info", "doctor")


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``videodiff``; by default those of the process.

    Returns:
        0 done, 1 failed, 2 usage or bad input, 130 or 143 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    verbose = any(word in ("-v", "--verbose") for word in words)
    try:
        return _dispatch([word for word in words if word not in ("-v", "--verbose")]) or errors.DONE
    except SystemExit as stop:
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
        hint = errors.did_you_mean(command, [*COMMANDS, "--help", "--version"])
        raise errors.UsageError(f"unknown {kind} {command[:80]!r}{hint}; see videodiff --help")
    return _run(command, rest)


def _run(command: str, rest: list[str]) -> int:
    if command in VERBS:
        if "-h" in rest or "--help" in rest:
            print(help.verb(command))
            return errors.DONE
        from videodiff.cli import training

        return training.run(command, rest)
    if command == "generate":
        from videodiff.cli import generate

        return generate.run(rest)
    if command == "models":
        from videodiff.cli import models

        return models.run(rest)
    if command == "info":
        from videodiff.cli import info

        return info.run(rest)
    from videodiff.cli import doctor

    return doctor.run(rest)
