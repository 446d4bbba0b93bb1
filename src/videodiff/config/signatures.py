"""The options of a class: its constructor's parameters, followed through ``**kwargs`` into its parents."""

from __future__ import annotations

import collections.abc
import enum
import functools
import inspect
import math
import os
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, Union

END_OF_CHAIN = (
    "torch.nn.modules.module",
    "pytorch_lightning.core",
    "lightning_fabric.utilities.device_dtype_mixin",
)
"""Base classes whose ``*args, **kwargs`` lead nowhere: an argument that reaches them is a mistake."""

SCALARS = (int, float, bool, str, type(None))


@dataclass(frozen=True)
class Parameters:
    """The arguments that a class takes: name -> annotation (None if it has none).

    Args:
        hints: annotation of each argument.
        is_open: True if a ``**kwargs`` ends in code that we cannot read, so that any name may be right.
    """

    hints: dict[str, Any]
    is_open: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All argument names, the class's own first."""
        return tuple(self.hints)


@functools.cache
def parameters(target: Any) -> Parameters:
    """The parameters of a class or of a builder function."""
    if not inspect.isclass(target):
        return _of_function(target, skip_first=False)[0]
    hints: dict[str, Any] = {}
    goes_on = False
    for base in target.__mro__:
        if base.__module__.startswith(END_OF_CHAIN):
            return Parameters(hints)
        if base is object or "__init__" not in vars(base):
            continue
        own, goes_on = _of_function(vars(base)["__init__"], skip_first=True)
        hints = {**own.hints, **hints}
        if not goes_on:
            return Parameters(hints)
    return Parameters(hints, is_open=goes_on)


def _of_function(function: Any, skip_first: bool) -> tuple[Parameters, bool]:
    """(parameters, whether it has a ``**kwargs``)."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return Parameters({}, is_open=True), True
    found = list(signature.parameters.values())[1 if skip_first else 0 :]
    named = [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    goes_on = any(p.kind is p.VAR_KEYWORD for p in found)
    inner = inspect.unwrap(function)
    return Parameters({p.name: _hint(p.annotation, inner) for p in named}, is_open=goes_on), goes_on


class Unreadable:
    """Stands for an annotation that cannot be evaluated (its names are imported for type checkers only)."""


def _hint(annotation: Any, function: Any) -> Any:
    if annotation is inspect.Parameter.empty:
        return None
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, globalns=getattr(function, "__globals__", {}))["it"]
    except Exception:  # whatever a string in someone's signature may raise
        return Unreadable


def _is_class(hint: Any) -> bool:
    """Whether a hint is a class; ``list[int]`` is none, though Python 3.10's ``inspect.isclass`` says so."""
    return inspect.isclass(hint) and not isinstance(hint, types.GenericAlias)


def members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a Union; the hint alone if it is none."""
    if typing.get_origin(hint) is typing.Annotated:
        return members(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (Union, types.UnionType):
        return tuple(inner for part in typing.get_args(hint) for inner in members(part))
    return (hint,)


def is_callable(hint: Any) -> bool:
    """Whether a value of this type could be a function."""
    return any(
        part is collections.abc.Callable
        or part is typing.Callable
        or typing.get_origin(part) is collections.abc.Callable
        for part in members(hint)
    )


def class_hint(hint: Any) -> type | None:
    """The class that a ``class_path`` under this hint must derive from; for ``Callable[..., X]`` it is X."""
    return next(
        (cls for cls in _classes(hint) if cls.__module__ not in ("datetime", "decimal", "torch")), None
    )


def _classes(hint: Any) -> list[type]:
    found = []
    for part in members(hint):
        if typing.get_origin(part) is collections.abc.Callable:
            made = members(typing.get_args(part)[-1]) if typing.get_args(part) else ()
            part = next((p for p in made if _is_class(p)), None)
        elif typing.get_origin(part) is not None and _is_class(typing.get_origin(part)):
            continue
        if (
            _is_class(part)
            and part not in _PLAIN
            and not issubclass(part, (os.PathLike, enum.Enum, Unreadable))
        ):
            found.append(part)
    return found


_PLAIN = (*SCALARS, list, tuple, dict, set, frozenset, bytes, complex, object, collections.abc.Callable)


def element_hint(hint: Any) -> Any:
    """The type of the elements of a list or tuple hint; None if it says nothing."""
    for part in members(hint):
        origin, args = typing.get_origin(part), [a for a in typing.get_args(part) if a is not Ellipsis]
        sequence = _is_class(origin) and issubclass(origin, collections.abc.Iterable)
        if sequence and not issubclass(origin, collections.abc.Mapping) and args:
            return args[0] if len(set(args)) == 1 else Union[tuple(args)]  # noqa: UP007
    return None


def choices(hint: Any) -> tuple[Any, ...]:
    """All the values that the Literals of a hint list."""
    return tuple(
        value
        for part in members(hint)
        if typing.get_origin(part) is Literal
        for value in typing.get_args(part)
    )


def as_number(value: Any) -> float | None:
    """The number that a value is or spells (PyYAML reads ``1e-4`` as text); None if it is none.

    A whole number beyond all floats is infinite.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    try:
        return float(value) if isinstance(value, str) and value == value.strip() else None
    except ValueError:
        return None


def accepts(hint: Any, value: Any) -> bool | None:
    """Whether a plain value fits a hint: True, False, or None where the hint goes beyond plain types."""
    verdicts = [_accepts_one(part, value) for part in members(hint)]
    return True if True in verdicts else None if None in verdicts else False


def _accepts_one(part: Any, value: Any) -> bool | None:
    if typing.get_origin(part) is Literal:
        return any(value == choice or str(value) == str(choice) for choice in typing.get_args(part))
    if part is type(None):
        return value is None or value in ("null", "None", "~")
    if part is bool:
        return isinstance(value, bool) or (isinstance(value, str) and value.lower() in ("true", "false"))
    if part is float:
        return as_number(value) is not None
    if part is int:
        if isinstance(value, str):
            return value.strip().lstrip("+-").replace("_", "").isdecimal()
        number = as_number(value)
        return number is not None and number.is_integer()
    if part is str or (_is_class(part) and issubclass(part, os.PathLike)):
        return not isinstance(value, (dict, list))
    element = element_hint(part)
    if element is not None and isinstance(value, list):
        verdicts = [accepts(element, item) for item in value]
        return False if False in verdicts else None if None in verdicts else True
    if element is not None and isinstance(value, (int, float, bool)):
        return False
    return None


def describe(hint: Any) -> str:
    """A hint in a user's words: ``a number``, ``a whole number or null``, ``one of eps, x, v``."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    said = [words[part] for part in members(hint) if part in words]
    listed = list(dict.fromkeys(str(value) for value in choices(hint)))
    if listed:
        more = ", ..." if len(listed) > 8 else ""
        said.insert(0, "one of " + ", ".join(listed[:8]) + more)
    if element_hint(hint) is not None:
        said.append("a list")
    return " or ".join(dict.fromkeys(said)) or str(hint)


def may_import(hint: Any) -> bool:
    """Whether jsonargparse would take text under this hint for the name of something to import."""
    if is_callable(hint) or hint is Unreadable or _classes(hint):
        return True
    return any(typing.get_origin(part) is type or part is type for part in members(hint))
