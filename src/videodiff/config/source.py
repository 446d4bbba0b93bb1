"""Classes as the text of their files has them: names, bases and arguments, without importing anything.

Importing torch and Lightning takes seconds, and a misspelt key can be told from the texts alone. Every class that a
config may name is mirrored by an empty one with the same name, bases and annotations. What a text does not say for
certain (a base built at run time, a type that is not written out) is left open, so that nothing right is refused.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import importlib.util
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videodiff.config.signatures import END_OF_CHAIN, Parameters, members

TOPS = ("videodiff", "torch.optim", "torch.nn", "pytorch_lightning", "lightning_fabric", "torchmetrics")
"""Packages whose texts are read."""

SCOPES = (ast.If, ast.Try, ast.With)


class Unsaid:
    """Stands for a type that the text does not say."""


@dataclass(frozen=True)
class Home:
    """Where a name is defined: ``node`` of ``module``."""

    module: str
    node: ast.AST


class Module:
    """The names that the text of a module defines or imports, in order.

    Args:
        name: dotted.
        file: its text.
    """

    def __init__(self, name: str, file: Path) -> None:
        self.name, self.is_package = name, file.name == "__init__.py"
        self.defined: dict[str, ast.AST] = {}
        self.imported: dict[str, tuple[str, str]] = {}  # name -> module and name there; no name: the module
        self.stars: list[str] = []
        self.is_open = False  # it may hold names that its text does not show
        for node in _statements(ast.parse(file.read_text(encoding="utf-8")).body):
            self._take(node)

    def _take(self, node: ast.stmt) -> None:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            self.defined[node.name] = node
            self.is_open |= node.name == "__getattr__"
        elif isinstance(node, ast.ImportFrom):
            home = self._absolute(node)
            for alias in node.names:
                if alias.name == "*":
                    self.stars.append(home)
                else:
                    self.imported[alias.asname or alias.name] = (home, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                self.imported[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0],
                    "",
                )
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    self._assign(target.id, node.value)

    def _assign(self, name: str, value: ast.expr) -> None:
        is_late = isinstance(value, ast.Call) and ast.unparse(value.func).endswith("imported_late")
        if name == "__getattr__" and is_late and isinstance(value, ast.Call):
            try:
                homes = ast.literal_eval(value.args[1])
            except (ValueError, IndexError):
                self.is_open = True
                return
            for home, names in homes.items():
                self.imported |= {late: (f"{self.name}.{home}", late) for late in names}
        elif name == "__getattr__":
            self.is_open = True
        else:
            self.defined[name] = value

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        up = node.level - (1 if self.is_package else 0)
        base = parts[: len(parts) - up] if up else parts
        return ".".join([*base, *([node.module] if node.module else [])])


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, SCOPES):
            yield from _statements(node.body)
            for handler in getattr(node, "handlers", ()):
                yield from _statements(handler.body)
            yield from _statements(getattr(node, "orelse", []))
        else:
            yield node


@functools.cache
def folder_of(package: str) -> Path | None:
    """The folder of an installed package, not imported."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) if places else None


@functools.cache
def module(name: str) -> Module | None:
    """The text of a module; None where there is none that can be read."""
    if not any(name == top or name.startswith(f"{top}.") for top in TOPS):
        return None
    top, *rest = name.split(".")
    folder = folder_of(top)
    if folder is None:
        return None
    path = folder.joinpath(*rest)
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            try:
                return Module(name, file)
            except (SyntaxError, ValueError, OSError):
                return None
    return None


@functools.cache
def find(module_name: str, name: str) -> Home | None:
    """Where a name of a module is defined; None where its text does not say."""
    seen: set[tuple[str, str]] = set()
    while (module_name, name) not in seen and (text := module(module_name)) is not None:
        seen.add((module_name, name))
        if name in text.defined:
            return Home(module_name, text.defined[name])
        if name not in text.imported:
            return next((found for star in text.stars if (found := find(star, name)) is not None), None)
        module_name, name = text.imported[name]
    return None


def says(hint: Any) -> bool:
    """Whether a hint is known as far as it goes."""
    return hint is not None and Unsaid not in members(hint)


def table(module_name: str, name: str) -> dict[str, type]:
    """The classes that a dict of a module maps words to; without those that the text does not show."""
    home = find(module_name, name)
    if home is None or not isinstance(home.node, ast.Dict):
        return {}
    pairs = zip(home.node.keys, home.node.values, strict=True)
    found = {ast.literal_eval(key): evaluated(value, home.module) for key, value in pairs if key is not None}
    return {word: made for word, made in found.items() if _is_mirror(made)}


def names(module_name: str) -> list[str]:
    """What the text of a module defines and imports by name, in order."""
    text = module(module_name)
    return [] if text is None else [*text.imported, *text.defined]


def is_missing(module_name: str, name: str) -> bool:
    """Whether a module certainly has nothing of a name."""
    text = module(module_name)
    if text is None or text.is_open or text.stars or name in text.defined or name in text.imported:
        return False
    return module(f"{module_name}.{name}") is None


@functools.cache
def mirror(module_name: str, name: str) -> type | None:
    """An empty class in place of the one of that name; None where the text shows no class."""
    home = find(module_name, name)
    if home is None or not isinstance(home.node, ast.ClassDef):
        return None
    node = home.node
    if (home.module, node.name) != (module_name, name):  # it is imported from there
        return mirror(home.module, node.name)
    written = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    names = [ast.unparse(base).rpartition(".")[2] for base in written]
    bases = [base for base in (evaluated(base, home.module) for base in written) if _is_mirror(base)]
    facts = {
        "__module__": home.module,
        "__mirror__": home,
        "_is_protocol": "Protocol" in names,  # as typing marks it
        "__whole__": len(bases)
        == len([n for n in names if n not in ("object", "ABC", "Generic", "Protocol")])
        and not node.decorator_list,
    }
    try:
        made = type(name, (*bases,) or (Mirror,), facts)
    except TypeError:  # bases in an order that the whole set of them would not give
        made = type(name, (bases[0],), {**facts, "__whole__": False})
    made.__abstractmethods__ = _abstract(made)  # type: ignore[attr-defined]  # only ABCMeta's classes declare it
    return made


class Mirror:
    """What all mirrors derive from."""

    __mirror__: Home
    __whole__ = True


def _is_mirror(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Mirror)


def _abstract(made: type) -> frozenset[str]:
    """Names of the methods that a class leaves to others."""
    open_: set[str] = set()
    for cls in reversed(made.__mro__):
        home = vars(cls).get("__mirror__")
        for node in home.node.body if home is not None else ():
            if isinstance(node, ast.FunctionDef):
                marks = {ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list}
                (open_.add if "abstractmethod" in marks else open_.discard)(node.name)
    return frozenset(open_)


def evaluated(node: ast.AST | None, module_name: str) -> Any:
    """The type that an annotation says, with mirrors in place of classes; ``Unsaid`` where it cannot be told."""
    if node is None:
        return None
    try:
        return _evaluated(node, module_name)
    except (TypeError, ValueError, AttributeError, RecursionError):
        return Unsaid


def _evaluated(node: ast.AST, module_name: str) -> Any:
    if isinstance(node, ast.Constant):
        return (
            _evaluated(ast.parse(node.value, mode="eval").body, module_name)
            if isinstance(node.value, str)
            else node.value
        )
    if isinstance(node, ast.Name):
        return _named(node.id, module_name)
    if isinstance(node, ast.Attribute):
        holder = _dotted(node.value, module_name)
        return _known(holder, node.attr) if holder else Unsaid
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _evaluated(node.left, module_name) | _evaluated(node.right, module_name)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_evaluated(part, module_name) for part in node.elts]
    if isinstance(node, ast.Subscript):
        outer = _evaluated(node.value, module_name)
        if outer is typing.Literal:
            return outer[ast.literal_eval(node.slice)]
        inner = _evaluated(node.slice, module_name)
        return outer[tuple(inner) if isinstance(node.slice, ast.Tuple) else inner]
    return Unsaid


def _named(name: str, module_name: str) -> Any:
    text = module(module_name)
    if text is not None and (name in text.defined or name in text.imported or text.stars):
        if name in text.imported and text.imported[name][1]:
            return _known(*text.imported[name])
        home = find(module_name, name)
        if home is not None and isinstance(home.node, ast.ClassDef):
            return mirror(home.module, home.node.name) or Unsaid
        if home is not None and isinstance(home.node, (ast.Subscript, ast.BinOp, ast.Name, ast.Attribute)):
            return _evaluated(home.node, home.module)
        if home is not None or name in text.imported:
            return Unsaid
    return getattr(builtins, name, Unsaid)


def _known(holder: str, name: str) -> Any:
    """A name of a module: mirrored, or itself where the module comes with Python."""
    if holder.partition(".")[0] in sys.stdlib_module_names:
        return getattr(importlib.import_module(holder), name, Unsaid)
    home = find(holder, name)
    if home is None:
        return Unsaid
    if isinstance(home.node, ast.ClassDef):
        return mirror(home.module, home.node.name) or Unsaid
    return evaluated(home.node, home.module)


def _dotted(node: ast.AST, module_name: str) -> str | None:
    """The module that ``nn`` or ``pl.callbacks`` stands for."""
    if isinstance(node, ast.Attribute):
        holder = _dotted(node.value, module_name)
        return f"{holder}.{node.attr}" if holder else None
    text = module(module_name)
    if not isinstance(node, ast.Name) or text is None or node.id not in text.imported:
        return None
    home, there = text.imported[node.id]
    return f"{home}.{there}" if there else home


@functools.cache
def arguments(made: type) -> Parameters:
    """The arguments of a mirrored class, followed through ``**kwargs`` into its parents."""
    hints: dict[str, Any] = {}
    goes_on, whole, seen = True, True, False
    for base in made.__mro__:
        home = vars(base).get("__mirror__")
        if base.__module__.startswith(END_OF_CHAIN):
            return Parameters(hints)
        if home is None:
            continue
        init = next(
            (n for n in home.node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None
        )
        if init is not None:
            own, goes_on = _of_function(init, home.module)
            hints, seen = {**own, **hints}, True
            if not goes_on:
                return Parameters(hints, is_open=not whole)
        whole = whole and bool(vars(base).get("__whole__"))
    return Parameters(hints, is_open=goes_on if seen else not whole)


def _of_function(node: ast.FunctionDef, module_name: str) -> tuple[dict[str, Any], bool]:
    """(hints, whether it has a ``**kwargs``) of a constructor."""
    given = node.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs][1:]
    hints = {arg.arg: evaluated(arg.annotation, module_name) for arg in named}
    return hints, given.kwarg is not None
