"""Shortens jsonargparse's errors, sixty lines for a typo, to the innermost reason with its key."""

from __future__ import annotations

import re

KEY = re.compile(r"Parser key \"(?P<key>[^\"]+)\":?")
CLASS = re.compile(r"Problem with given class_path '(?P<path>[^']+)':?")
NOISE = re.compile(
    r"Does not validate against any of the Union subtypes|Subtypes: |Errors:$|Given value|^usage:|^tip:"
    r"|Expected a <class 'NoneType'>|Expected a path but |Not a valid subclass of |Subclass types expect one of"
    r"|a class path \(str\)|a dict with"
)
REWORDED = (
    (re.compile(r"Option '([^']+)' is not accepted"), r"has no option '\1'"),
    (re.compile(r"Expected a <class '([^']+)'>\. Got value: (.*)"), r"must be \1, got \2"),
    (re.compile(r"the following arguments are required: (.*)"), r"needs \1"),
    (re.compile(r"Import path (\S+) does not correspond to a subclass of (\S+)"), r"\1 is not a \2"),
    (re.compile(r"Expected a dot import path string: (.*)"), r"unknown class '\1'"),
    (re.compile(r"^unrecognized arguments: (.*)"), r"unknown option \1"),
    (re.compile(r"^Key \"?([^\"]+)\"? is required but not included.*"), r"needs \1"),
)


def explain(error: BaseException | str) -> str:
    """The innermost reason of a jsonargparse error, on one line, led by the full key it is about.

    Args:
        error: the exception, or the text that the parser would have printed.
    """
    text = str(error)
    keys: list[tuple[int, str]] = []  # (indent, key) of the reasons we are inside of
    best: tuple[int, str] | None = None  # deepest reason so far: (depth, line)
    first = ""
    for raw in text.splitlines():
        indent, line = _indent(raw)
        if not line:
            continue
        keys = [(at, key) for at, key in keys if at < indent]
        if match := KEY.match(line):
            keys.append((indent, match["key"]))
            line = line[match.end() :].strip(" :")
        elif match := CLASS.match(line):
            keys.append((indent, ""))
            line = line[match.end() :].strip(" :")
        first = first or line
        if line and not NOISE.search(line) and (best is None or indent > best[0]):
            best = (indent, _reworded(".".join(key for _, key in keys if key), line))
    return best[1] if best else _reworded("", first) or "the command line could not be understood"


def _indent(raw: str) -> tuple[int, str]:
    line = raw.strip()
    indent = len(raw) - len(raw.lstrip())
    if line.startswith("- "):
        line, indent = line[2:].strip(), indent + 2
    return indent, line.removeprefix("error: ").strip()


def _reworded(key: str, line: str) -> str:
    for pattern, words in REWORDED:
        line = pattern.sub(words, line)
    line = " ".join(line.split())
    return f"{key}: {line}" if key else line
