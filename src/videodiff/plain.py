"""Plain data from text of unknown origin: YAML and JSON, bounded in size, depth and time.

A text of a few hundred bytes can take minutes: aliases and merge keys write themselves out, numbers in base sixty are
summed in quadratic time, brackets are opened without end. Whoever parses a file that came with a config, a checkpoint
or a data set asks here, so that all refuse the same.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Any

import yaml

from videodiff import reasons

try:
    from yaml.cyaml import CParser
except ImportError:  # PyYAML was built without libyaml
    CParser = None

MAX_CHARACTERS = 1 << 18
MAX_NODES = 10_000
MAX_DEPTH = 60
MAX_NUMBER = 400  # characters
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
MERGE = "tag:yaml.org,2002:merge"
DATE, TEXT = "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:str"


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text: plain data only, no key twice, bounded in size, depth and expansion of aliases.

    Args:
        text: the document; an empty one is None.
        where: what to call it in an error.

    Raises:
        ValueError: in one line with the number of the text's line, for anything else.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"{where}: more than {MAX_CHARACTERS} characters; a config has a few thousand")
    try:
        root = compose(text)
        if root is None:
            return None
        measure(root)
        return PlainLoader("").construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ValueError(f"{where}{line}: {_reason(error)}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not YAML ({reasons.reason(error)})") from error
    except RecursionError as error:
        raise ValueError(f"{where}: nested too deeply") from error
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {reasons.reason(error)}") from error


def compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML text, counted while they are made.

    libyaml's parser takes a tenth of the time of the one in Python. What it refuses is read once more by the other,
    which takes names with bytes that are no text and says more plainly what is wrong.
    """
    if CParser is not None:
        with suppress(yaml.YAMLError, ValueError, RecursionError):
            return yaml.compose(text, Loader=FastLoader)
    return yaml.compose(text, Loader=PlainLoader)


def may_grow(text: str) -> bool:
    """Whether another reader of YAML could take long over a text: by a look at it, without parsing."""
    return "<<" in text or any(len(line) > MAX_NUMBER for line in text.splitlines())


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, as ``json.loads`` gives it.

    Raises:
        ValueError: if it is none; also if it is nested too deeply, which ends the parser otherwise.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


class CountingComposer(yaml.composer.Composer):
    """Composer that refuses too many nodes and nodes nested too deeply while they are made."""

    num_nodes = depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """As the base, until there are too many or one is nested too deeply."""
        self.num_nodes += 1
        self.depth += 1
        if self.num_nodes > MAX_NODES:
            raise refusal(f"more than {MAX_NODES} values", self.peek_event().start_mark)
        if self.depth > MAX_DEPTH:
            raise refusal(f"nested more than {MAX_DEPTH} deep", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node.tag == DATE:  # such as a folder is named by; plain data has none
            node.tag = TEXT
        if node.tag in NUMBERS and len(node.value) > MAX_NUMBER:
            raise refusal(f"a number of {len(node.value)} characters", node.start_mark)
        return node


class PlainLoader(CountingComposer, yaml.SafeLoader):
    """SafeLoader that counts while it reads, and refuses a key given twice."""

    def __init__(self, stream: Any) -> None:
        yaml.SafeLoader.__init__(self, stream)
        self.flattened: set[int] = set()

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Hashable, Any]:
        """As the base, after looking for doubles (merge keys may be overridden, so they do not count)."""
        seen: dict[Any, int] = {}
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == MERGE or not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen and id(node) not in self.flattened:
                problem = f"key {key_node.value!r} stands twice (first in line {seen[key_node.value]})"
                raise refusal(problem, key_node.start_mark)
            seen[key_node.value] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """As the base, remembering the mappings into which a merge key has brought overridden keys."""
        if any(key.tag == MERGE for key, _ in node.value):
            self.flattened.add(id(node))
        super().flatten_mapping(node)


if CParser is not None:

    class FastLoader(CountingComposer, CParser, yaml.resolver.Resolver):
        """libyaml's parser below the same composer; it makes nodes alone."""

        def __init__(self, stream: Any) -> None:
            CParser.__init__(self, stream)
            CountingComposer.__init__(self)
            yaml.resolver.Resolver.__init__(self)


def measure(root: yaml.Node) -> None:
    """Refuse a document that grows beyond the limits when its aliases are written out.

    Raises:
        yaml.MarkedYAMLError: with the place.
    """
    measured: dict[int, tuple[int, int]] = {}  # node -> (values, depth) below and with it

    def measure_one(node: yaml.Node, inside: frozenset[int]) -> tuple[int, int]:
        if id(node) in inside:
            raise refusal("an alias contains itself", node.start_mark)
        if id(node) not in measured:
            parts: Sequence[yaml.Node] = ()
            if isinstance(node, yaml.MappingNode):
                parts = [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                parts = node.value
            below = [measure_one(part, inside | {id(node)}) for part in parts]
            measured[id(node)] = (
                1 + sum(n for n, _ in below),
                1 + max((depth for _, depth in below), default=0),
            )
        if measured[id(node)][1] > MAX_DEPTH:
            raise refusal(f"nested more than {MAX_DEPTH} deep", node.start_mark)
        return measured[id(node)]

    if measure_one(root, frozenset())[0] > MAX_NODES:
        raise refusal(f"more than {MAX_NODES} values once its aliases are written out", root.start_mark)


def refusal(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    """An error at a place of the text."""
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def _reason(error: yaml.MarkedYAMLError) -> str:
    reason = " ".join((error.problem or "not YAML").split())
    if "could not determine a constructor" in reason:
        tag = reason.rpartition("tag ")[2]
        return f"a config holds plain data only, not the tag {tag}"
    return reason
