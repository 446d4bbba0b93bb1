"""The allow-list of classes that a config may name, between a YAML file and ``import``.

A config, or the config text inside a checkpoint, chooses classes by ``class_path``. Importing a module runs it,
so a path is judged by its text first, then walked from an allowed module downwards, and the object at its end must
have been *defined* inside the allowed packages too (``torch.optim.sys`` is reachable, but is not torch's).
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from videodiff.names import is_text
from videodiff.plain import may_grow, parse_yaml

ALLOWED = ("videodiff", "torch.optim", "torch.nn", "pytorch_lightning", "torchmetrics")
"""Packages whose classes a config may name."""

HOMES = (*ALLOWED, "lightning_fabric")
"""Packages in which such a class may be defined: Lightning re-exports some from lightning_fabric."""

NAME_ESCAPE = re.compile(r"\\u[dD][cC][89a-fA-F]")  # of a byte that is no text (PEP 383)

DENIED = (
    "pytorch_lightning.callbacks.lambda_function",  # LambdaCallback calls whatever it is given
    "pytorch_lightning.cli",
    "videodiff.cli",
    "videodiff.config",
)
"""Modules inside the allowed packages whose classes are refused all the same."""

SHORT_NAMES = (
    "torch.optim",
    "torch.optim.lr_scheduler",
    "pytorch_lightning.callbacks",
    "pytorch_lightning.loggers",
)
"""Modules whose classes may be named without their path, after the rooms of videodiff."""

PATH = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", re.ASCII)
NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)


def check_class_path(path: str, trusted: Sequence[str] = ()) -> None:
    """Refuse a ``class_path`` that lies outside the allowed packages, without importing what it names.

    Args:
        path: dotted path, or the short name of a class of ours (``VDM``).
        trusted: further modules, from ``--trust`` on the command line; never from a file.

    Raises:
        ValueError: in one line, if the path is refused or names nothing.
    """
    resolve(path, trusted)


def resolve(path: str, trusted: Sequence[str] = ()) -> Any:
    """The class (or annotated builder function of ours) that a ``class_path`` names.

    Raises:
        ValueError: as :func:`check_class_path`.
    """
    if not isinstance(path, str):
        raise ValueError(f"class_path must be the dotted name of a class, got {type(path).__name__}")
    if NAME.fullmatch(path):
        path = full_path(path)
    check_prefix(path, trusted)
    found, owner = _walk(path, tuple(trusted))
    _check_kind(path, found, owner, tuple(trusted))
    return found


def check_prefix(path: str, trusted: Sequence[str] = ()) -> None:
    """Judge a dotted path by its text alone; imports nothing.

    Raises:
        ValueError: if it does not start with an allowed or trusted module.
    """
    if not PATH.fullmatch(path):
        raise ValueError(f"{path[:80]!r} is not the dotted name of a public class")
    if not _inside(path, (*ALLOWED, *trusted)) or path in ALLOWED:
        module = path.rpartition(".")[0]
        raise ValueError(
            f"{path!r} is not allowed in a config: only classes of {', '.join(ALLOWED)} are "
            f"(if it is yours, add --trust {module} on the command line)"
        )
    check_denied(path, path)


def check_denied(path: str, home: str) -> None:
    """Refuse a class by the place where it is defined.

    Raises:
        ValueError: if that is one of ``DENIED``.
    """
    if _inside(home, DENIED):
        raise ValueError(f"{path!r} is not allowed in a config: it is there to call other code")


def check_tree(node: Any, trusted: Sequence[str] = ()) -> None:
    """Check every ``class_path`` anywhere in a config, whatever its place.

    Raises:
        ValueError: as :func:`check_class_path`.
    """
    if isinstance(node, dict):
        if "class_path" in node:
            check_class_path(node["class_path"], trusted)
        for value in node.values():
            check_tree(value, trusted)
    elif isinstance(node, (list, tuple)):
        for value in node:
            check_tree(value, trusted)


@contextmanager
def guarded_jsonargparse(trusted: Sequence[str] = ()) -> Iterator[bool]:
    """While inside, jsonargparse has the same allow-list: a second wall. Yields whether its version knows one.

    File names that are not text pass through it, too.
    """
    import jsonargparse

    with any_file_names(), same_allow_list(jsonargparse, trusted) as is_known:
        yield is_known


@contextmanager
def any_file_names() -> Iterator[None]:
    """While inside, jsonargparse reads and writes names that are not text, too."""
    import jsonargparse
    import yaml

    load, exceptions = jsonargparse.get_loader("yaml"), (yaml.YAMLError,)
    jsonargparse.set_loader("yaml", lambda text: load_with_names(text, load), exceptions)
    try:
        yield
    finally:
        jsonargparse.set_loader("yaml", load, exceptions)


def load_with_names(text: str, load: Callable[[str], Any]) -> Any:
    """The value of a YAML text in which names may hold bytes that are no text.

    As a word of the command line such a name cannot be YAML, so it is taken as it is. In a file it stands as an escape,
    which libyaml refuses and the loader in Python takes.

    Raises:
        yaml.YAMLError: for a text that is none, or would take minutes; an option's value is then taken as it is.
    """
    import yaml

    if not is_text(text):
        return text
    if may_grow(text):
        try:
            parse_yaml(text, "value")
        except ValueError as error:
            raise yaml.YAMLError(str(error)) from error
    if not NAME_ESCAPE.search(text):
        return load(text)
    libyaml = importlib.import_module("jsonargparse._loaders_dumpers").get_yaml_default_loader()
    tables = ("yaml_implicit_resolvers", "yaml_constructors")
    loader = type("Loader", (yaml.SafeLoader,), {table: getattr(libyaml, table) for table in tables})
    return loader(text).get_single_data()


@contextmanager
def same_allow_list(jsonargparse: ModuleType, trusted: Sequence[str]) -> Iterator[bool]:
    """While inside, jsonargparse imports from the allowed packages only. Yields whether its version knows how."""
    setting = getattr(jsonargparse, "set_parsing_settings", None)
    if setting is None or "import_path_allowlist" not in inspect.signature(setting).parameters:
        yield False
        return
    settings = importlib.import_module("jsonargparse._common").parsing_settings
    before = dict(settings)
    setting(import_path_denylist=["*", *DENIED], import_path_allowlist=[*HOMES, *trusted])
    try:
        yield True
    finally:
        settings.update(before)


def full_path(name: str) -> str:
    """The dotted path of a class given by its short name: ours first, then torch's and Lightning's.

    Raises:
        ValueError: if no class has that name, with the nearest that exists.
    """
    names: list[str] = []
    for module in _short_name_modules():
        if name in classes_of(module):
            return f"{module.__name__}.{name}"
        names += classes_of(module)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; write its full dotted path"
    raise ValueError(f"unknown class {name!r}{hint}")


def classes_of(module: ModuleType) -> list[str]:
    """Public classes that a module offers and that are defined inside the allowed packages, in order."""
    for name in late_names(module):
        getattr(module, name)
    return [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and not name.startswith("_") and _inside(value.__module__, HOMES)
    ]


def late_names(module: ModuleType) -> list[str]:
    """What a package of ours imports only when it is asked for (``late.py``), and was not asked for yet."""
    if not _inside(module.__name__, ("videodiff",)):
        return []
    return [name for name in getattr(module, "__all__", ()) if name not in vars(module)]


def short_name_classes() -> Iterator[tuple[str, type]]:
    """Every (dotted path, class) that has a short name."""
    for module in _short_name_modules():
        for name in classes_of(module):
            yield f"{module.__name__}.{name}", getattr(module, name)


def _short_name_modules() -> Iterator[ModuleType]:
    package = importlib.import_module("videodiff")
    packages = [room.name for room in pkgutil.iter_modules(package.__path__) if room.ispkg]
    rooms = [name for name in packages if name not in ("cli", "config")]
    for room in sorted(rooms, key=lambda name: (name != "models", name)):
        yield importlib.import_module(f"videodiff.{room}")
    for name in SHORT_NAMES:
        yield importlib.import_module(name)


def _inside(path: str, prefixes: Sequence[str]) -> bool:
    return any(path == prefix or path.startswith(prefix + ".") for prefix in prefixes)


def _walk(path: str, trusted: tuple[str, ...]) -> tuple[Any, Any]:
    """Follow a path whose text is allowed: (object, its holder). Loads only modules under the allowed ones."""
    root = max((name for name in (*ALLOWED, *trusted) if _inside(path, (name,))), key=len)
    if path == root:  # --trust named the class itself
        root = root.rpartition(".")[0]
    try:
        found: Any = importlib.import_module(root)
    except ImportError as error:
        raise ValueError(f"{path!r}: cannot import {root} ({error})") from error
    owner = found
    for part in path[len(root) + 1 :].split("."):
        owner = found
        if isinstance(owner, ModuleType) and not _inside(owner.__name__, (*HOMES, *trusted)):
            raise ValueError(
                f"{path!r} is not allowed in a config: it leads out of {root} into {owner.__name__!r}"
            )
        found = _step(owner, part, path)
    return found, owner


def _step(owner: Any, part: str, path: str) -> Any:
    if isinstance(owner, ModuleType) and part in late_names(owner):
        getattr(owner, part)
    inside = vars(owner) if isinstance(owner, (ModuleType, type)) else {}
    if part in inside:
        return inside[part]
    if hasattr(owner, "__path__"):  # a package: its submodules lie under the same allowed name
        name = f"{owner.__name__}.{part}"
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise ValueError(f"{path!r}: {error}") from error
    near = difflib.get_close_matches(part, [name for name in inside if not name.startswith("_")], n=1)
    where = getattr(owner, "__name__", type(owner).__name__)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown class {part!r} in {where}{hint}")


def _check_kind(path: str, found: Any, owner: Any, trusted: tuple[str, ...]) -> None:
    """A class, or a builder function of ours that says what it returns; defined where a config may reach."""
    home = getattr(found, "__module__", None)
    if isinstance(found, ModuleType):
        raise ValueError(f"{path!r} is a module, not a class")
    if not isinstance(home, str) or not _inside(home, (*HOMES, *trusted)):
        raise ValueError(
            f"{path!r} is not allowed in a config: it is defined in {home!r}, outside the allowed packages"
        )
    check_denied(path, f"{home}.{getattr(found, '__qualname__', '')}")
    if inspect.isclass(found):
        if any(_inside(base.__module__, DENIED) for base in found.__mro__):
            raise ValueError(f"{path!r} is not allowed in a config: it is there to call other code")
        return
    ours = _inside(home, ("videodiff", *trusted)) and isinstance(owner, ModuleType)
    if not (ours and inspect.isfunction(found) and builds(found) is not None):
        raise ValueError(f"{path!r} is not a class")


def builds(function: Any) -> type | None:
    """The class that a builder function says it returns, if that class may be named in a config."""
    try:
        returned = inspect.signature(function, eval_str=True).return_annotation
    except (NameError, TypeError, ValueError):
        return None
    return returned if inspect.isclass(returned) and _inside(returned.__module__, HOMES) else None
