"""completion: a script for the shell, and the words that it asks for: those that may come next.

The script knows nothing of commands and options. It calls ``videodiff completion --words ...``, which reads them from
the parsers that run, without torch.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from videodiff.cli.arguments import LightParser
from videodiff.config import shipped_configs
from videodiff.usage import UsageError

SHELLS = ("bash", "zsh", "fish")
PROTOCOL_FILE = Path(__file__).resolve().parents[2] / "evaluation" / "protocol.py"
CONFIG_OPTIONS = ("--config", "-c")
RUN_OPTIONS = ("--ckpt_path", "--init_from", "--interpolator")
POSITIONAL_RUNS = ("compare", "export")

BASH = """# videodiff: put this line into ~/.bashrc:  eval "$(videodiff completion bash)"
_videodiff() {
    local IFS=$'\\n'
    COMPREPLY=($("${COMP_WORDS[0]}" completion --words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o bashdefault -o default -F _videodiff videodiff
"""
ZSH = """#compdef videodiff
# put this line into ~/.zshrc, after compinit:  eval "$(videodiff completion zsh)"
_videodiff() {
    local -a found
    found=(${(f)"$("${words[1]}" completion --words "${(@)words[2,$CURRENT]}" 2>/dev/null)"})
    if (( ${#found} )); then compadd -a found; else _files; fi
}
compdef _videodiff videodiff
"""
FISH = """# put this line into ~/.config/fish/config.fish:  videodiff completion fish | source
function __videodiff_words
    set -l line (commandline -opc) (commandline -ct)
    $line[1] completion --words $line[2..] 2>/dev/null
end
complete -c videodiff -a '(__videodiff_words)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def parser() -> argparse.ArgumentParser:
    """The options of ``completion``."""
    p = LightParser(
        "videodiff completion",
        description="Print a script that completes commands, options, configs, runs and protocols.",
    )
    p.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")
    return p


def run(argv: Sequence[str]) -> int:
    """Print the script, or, after ``--words``, what may stand in place of the last word; returns the exit code."""
    if argv and argv[0] == "--words":
        print("\n".join(candidates(list(argv[1:]))))
        return 0
    sys.stdout.write(SCRIPTS[parser().parse_args(argv).shell])
    return 0


def candidates(words: list[str]) -> list[str]:
    """What the last word, as far as it is typed, may become; ``words`` are those after ``videodiff``."""
    from videodiff.cli import COMMANDS

    typed = words[-1] if words else ""
    if len(words) < 2:
        found: Sequence[str] = [*COMMANDS, "--help", "--version", "--verbose"]
    elif words[0] not in COMMANDS:
        found = ()
    else:
        found = after(words[0], words[1:-1], typed)
    return [word for word in found if word.startswith(typed)]


def after(command: str, before: Sequence[str], typed: str) -> Sequence[str]:
    """Words that may follow ``before`` in a command: values of the option they end with, options, or arguments."""
    actions = {option: action for action in actions_of(command) for option in action.option_strings}
    last = before[-1] if before else ""
    values = values_of(last, actions.get(last)) if last.startswith("-") else None
    if values is not None:
        return values
    if typed.startswith("-"):
        return [*actions, *documented(command, actions)]
    if command == "info":
        return [*shipped_configs()]
    if command in POSITIONAL_RUNS:
        return runs()
    choices = (action.choices for action in actions_of(command) if not action.option_strings)
    return [str(choice) for group in choices if group for choice in group]


def values_of(option: str, action: argparse.Action | None) -> Sequence[str] | None:
    """What an option may be given; nothing of ours (a file, a number) is an empty list, no value at all is None."""
    if option in CONFIG_OPTIONS:
        return [*shipped_configs()]
    if option in RUN_OPTIONS:
        return runs()
    if option == "--protocol":
        return protocols()
    if option == "--card":
        from videodiff.cost.accelerators import CARDS

        return [*CARDS]
    if action is None:  # a dotted option, which always takes a value
        return [] if "." in option else None
    if action.nargs == 0:
        return None
    return [str(choice) for choice in action.choices or ()]


class _SeenError(Exception):
    """Carries a command's parser out of its ``run``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def actions_of(command: str) -> list[argparse.Action]:
    """The arguments that a command's own parser takes; its ``run`` is left where it would parse."""
    from videodiff import cli

    if command in cli.VERBS:
        from videodiff.cli.verbs import own_options

        return own_options(command)._actions

    def stop(self: argparse.ArgumentParser, *args: object, **kwargs: object) -> NoReturn:
        raise _SeenError(self)

    methods = ("parse_args", "parse_known_args", "parse_intermixed_args")
    before = {name: vars(LightParser)[name] for name in methods if name in vars(LightParser)}
    try:
        for name in methods:
            setattr(LightParser, name, stop)
        cli._run(command, [])
    except _SeenError as seen:
        return seen.parser._actions
    except UsageError:
        return []
    finally:
        for name in methods:
            delattr(LightParser, name)  # argparse's own again
        for name, method in before.items():
            setattr(LightParser, name, method)
    return []


def documented(command: str, known: Sequence[str] | dict[str, argparse.Action]) -> list[str]:
    """Dotted options, and others that Lightning's parser takes, as far as a command's help names them."""
    from videodiff import cli
    from videodiff.cli import help

    if command == "generate":
        from videodiff.cli.commands import generate

        text = generate.EPILOG
    elif command in cli.VERBS:
        text = help.verb(command)
    else:
        return []
    found = re.findall(r"(?<!\S)--[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*", text)
    return [option for option in dict.fromkeys(found) if option not in known]


def protocols() -> list[str]:
    """Names of the evaluation protocols, read from the source of their table."""
    source = ast.parse(PROTOCOL_FILE.read_text(encoding="utf-8"))
    tables = [
        node.value
        for node in source.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "PROTOCOLS" and node.value
    ]
    calls = [node for table in tables for node in ast.walk(table) if isinstance(node, ast.Call)]
    return [
        str(ast.literal_eval(call.args[0]))
        for call in sorted(calls, key=lambda call: call.lineno)
        if ast.unparse(call.func) == "Protocol"
    ]


def runs(root: Path = Path("runs")) -> list[str]:
    """Run folders ``runs/<name>`` and ``runs/<name>/<n>`` of the current directory, and the shipped models."""
    from videodiff.checkpoints.shipped import shipped_names

    names = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    found = []
    for name in names:
        numbers = sorted(
            (p for p in name.iterdir() if p.is_dir() and p.name.isdecimal()), key=lambda p: int(p.name)
        )
        found += [name, *numbers]
    return [*(path.as_posix() for path in found), *shipped_names()]
