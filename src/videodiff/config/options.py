"""Dotted command-line options (``--model.net.width 32``) as a change to a config."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from videodiff.config.check import CLASS_KEYS, DRAWS, SUFFIXES, root_hints
from videodiff.config.lookup import IMPORTED, SOURCE, Imported
from videodiff.config.merge import merge
from videodiff.config.parts import with_part
from videodiff.config.renamed import renamed_option
from videodiff.config.signatures import (
    Parameters,
    accepts,
    class_hint,
    element_hint,
    may_import,
    members,
)
from videodiff.plain import parse_yaml
from videodiff.say import say
from videodiff.usage import UsageError, did_you_mean, nearest

TAKES_VALUE = ("--config", "-c", "--trust", "--ckpt_path", "--out", "--name", "--print_completion")
FLAGS = ("--force", "--verbose", "-v", "--print_config")
"""Options that other code reads; they change no key of the config."""
ALIASES = ("--seed", "--help", "--verbose")
"""Options that are read before a command's own."""

Keys = tuple[str, ...]


def apply_options(
    argv: Sequence[str],
    verb: str,
    config: Mapping[str, Any],
    trusted: Sequence[str] = (),
    lookup: Imported = IMPORTED,
) -> tuple[dict[str, Any], dict[Keys, str]]:
    """The config with the options in it, and for each changed path the option as it was written.

    Raises:
        UsageError: for a word that is no option, an option without its value, or an unknown first word.
    """
    result = copy.deepcopy(dict(config))
    labels: dict[Keys, str] = {}
    hints, known = root_hints(verb, lookup), lookup.groups()
    for given, value in split_options(argv):
        option = renamed_option(given)
        if option != given:
            say(f"warning: {given} is now called {option}")
        parts = tuple(option[2:].rstrip("+").split("."))
        check_name(option, verb, [option for option in TAKES_VALUE if option[:2] == "--"], verb)
        labels[tuple(part for part in parts if part not in CLASS_KEYS and not part.isdecimal())] = option
        placing = _Placing(option, tuple(trusted), lookup)
        if parts[0] in known and len(parts) > 1:
            group = result.get(parts[0])
            group = result[parts[0]] = group if isinstance(group, dict) else {}
            hint = known[parts[0]].hints.get(parts[1])
            group[parts[1]] = placing.place(group.get(parts[1]), hint, parts[2:], value)
        else:
            result[parts[0]] = placing.place(result.get(parts[0]), hints[parts[0]], parts[1:], value)
    return result, labels


def check_name(option: str, verb: str, others: Sequence[str], command: str) -> None:
    """Refuse an option that changes no key of a verb's config, as far as that is known without the config.

    Args:
        option: as it is written, without its value.
        verb: whose config it would change.
        others: options that other code reads.
        command: what to call the command.

    Raises:
        UsageError: with the nearest right option.
    """
    others = [*others] if verb == DRAWS else [*others, *FLAGS, *ALIASES]
    if verb != DRAWS and option in (*TAKES_VALUE, *FLAGS):
        return
    hints, known = root_hints(verb, SOURCE), SOURCE.groups()
    first, _, below = option[2:].rstrip("+").partition(".")
    if first not in hints:
        near = nearest(f"--{first}", [*(f"--{key}" for key in hints), *others])
        places = (
            [] if below else [place for place in places_of(first, known) if place[2:].split(".")[0] in hints]
        )
        meant = places or ([f"{near}.{below}" if below else near] if near else [])
        hint = f"; did you mean {' or '.join(map(repr, meant))}?" if meant else ""
        raise UsageError(f"{command} has no option {option!r}{hint}; see videodiff {command} --help")
    key = below.partition(".")[0]
    if first in known and key and key not in known[first].hints and not known[first].is_open:
        hint = did_you_mean(key, known[first].names)
        raise UsageError(f"{option}: {first} has no option {key!r}{hint}")


def places_of(key: str, known: Mapping[str, Parameters]) -> list[str]:
    """Dotted options that end in a key that was given without its part: ``batch_size`` is ``--data.batch_size``."""
    classes = {"data": "videodiff.data.VideoDataModule", "model": "videodiff.models.DiffusionModule"}
    parts = {part: SOURCE.parameters(SOURCE.resolve(path)) for part, path in classes.items()} | dict(known)
    return [f"--{part}.{key}" for part, given in parts.items() if key in given.hints]


def split_options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of dotted option and value, without the options that other code reads."""
    words = iter(range(len(argv)))
    for at in words:
        name, equals, value = argv[at].partition("=")
        if name in FLAGS:
            continue
        if not name.startswith("--") and name not in TAKES_VALUE:
            raise UsageError(f"unexpected argument {argv[at][:80]!r}; options start with --")
        if not equals:
            following = argv[at + 1] if at + 1 < len(argv) else None
            if following is None or following.startswith("--"):
                raise UsageError(f"{name} needs a value")
            value = argv[next(words)]
        if name not in TAKES_VALUE:
            yield name, value


def is_text_alone(hint: Any) -> bool:
    """Whether a type takes text or nothing: a name that begins like a mapping is a name there."""
    kinds = get_args(hint) or (hint,)  # of a callable, whose arguments are a list, they do not go into a set
    return str in kinds and all(kind in (str, type(None)) for kind in kinds)


def is_list_first(hint: Any) -> bool:
    """Whether a class under this type stands for a list of one: its first alternative is a list of classes."""
    for part in members(hint):
        if class_hint(part) is not None:
            return False
        if class_hint(element_hint(part)) is not None:
            return True
    return False


class _Placing:
    """Puts the value of one option where it belongs, stepping through ``init_args`` unasked."""

    def __init__(self, option: str, trusted: tuple[str, ...], lookup: Imported) -> None:
        self.option, self.trusted, self.appends = option, trusted, option.endswith("+")
        self.lookup = lookup

    def place(self, node: Any, hint: Any, parts: Keys, value: str) -> Any:
        """The new value of ``node``, whose type is ``hint``, after ``parts`` below it became ``value``."""
        if not parts:
            return self.replace(node, hint, value)
        element = element_hint(hint)
        if (
            isinstance(node, list) and node and element is not None
        ):  # options go to the last, or to that of a number
            at = self.place_in_list(node, parts[0]) if parts[0].isdecimal() else len(node) - 1
            below = parts[1:] if parts[0].isdecimal() else parts
            return [*node[:at], self.place(node[at], element, below, value), *node[at + 1 :]]
        if class_hint(hint) is not None or (isinstance(node, dict) and "class_path" in node):
            return self.below_class(node, hint, parts, value)
        node = dict(node) if isinstance(node, Mapping) else {}
        node[parts[0]] = self.place(node.get(parts[0]), None, parts[1:], value)
        return node

    def place_in_list(self, node: list[Any], number: str) -> int:
        """The place in a list that a number, from 0 on, names.

        Raises:
            UsageError: beyond the end of it.
        """
        if int(number) >= len(node):
            raise UsageError(f"{self.option}: there are {len(node)}, numbered from 0, and no {number}")
        return int(number)

    def below_class(self, node: Any, hint: Any, parts: Keys, value: str) -> Any:
        if isinstance(node, str):
            node = {"class_path": node}
        node = dict(node) if isinstance(node, Mapping) else {}
        if parts[0] == "class_path":
            return self.replace(node, hint, value)
        key = parts[0] if parts[0] in CLASS_KEYS else "init_args"
        names = parts[1:] if parts[0] in CLASS_KEYS else parts
        if not names:
            return merge(node, {key: self.parsed(value)}, trusted=self.trusted, lookup=self.lookup)
        given = node.get(key)
        given = node[key] = dict(given) if isinstance(given, Mapping) else {}
        try:
            known = self.lookup.parameters(self.lookup.resolve(node.get("class_path"), self.trusted)).hints
        except ValueError:  # the check that follows says so, in better words
            known = {}
        given[names[0]] = self.place(given.get(names[0]), known.get(names[0]), names[1:], value)
        return node

    def replace(self, node: Any, hint: Any, value: str) -> Any:
        new = value if is_text_alone(hint) else self.parsed(value)
        names_class = isinstance(new, str) and may_import(hint) and not accepts(hint, new)
        if names_class and is_list_first(hint):
            new, names_class = [{"class_path": new}], False
        if self.appends and isinstance(node, list):
            return node + (new if isinstance(new, list) else [new])
        if names_class and class_hint(hint) is not None:
            new = self.part(node, hint, str(new))
        if isinstance(new, dict) and isinstance(node, dict):
            return merge(node, new, trusted=self.trusted, lookup=self.lookup)
        return new

    def part(self, node: Any, hint: Any, value: str) -> Any:
        """The part that a name stands for: that of a class, or what a YAML file says."""
        if not value.endswith(SUFFIXES):
            return {"class_path": value}
        return with_part(value, node, hint, Path(), (self.option,), self.trusted, self.lookup)

    def parsed(self, value: str) -> Any:
        """Text as it stands, unless it is a flow mapping or list."""
        return parse_yaml(value, self.option) if value.strip()[:1] in ("{", "[") else value
