"""Every key, class and number of a config, checked before jsonargparse sees it; one line per mistake.

The walk follows the constructors' own signatures, so a new model or option needs no entry here. Paths in
messages leave out ``init_args``: ``model.net.width``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from videodiff.config import trust
from videodiff.config.lookup import IMPORTED, Imported, Unseen
from videodiff.config.ranges import RANGES
from videodiff.config.signatures import (
    Parameters,
    accepts,
    as_number,
    choices,
    class_hint,
    describe,
    element_hint,
    is_callable,
    may_import,
    members,
)
from videodiff.frame_size import FrameSize, Resolution
from videodiff.usage import UsageError, did_you_mean
from videodiff.words import shortened

OWN_KEYS: dict[str, Any] = {"seed_everything": bool | int}
"""Keys of a config beside trainer, callbacks, model and data, with their types."""
COMMAND_LINE = ("config", "ckpt_path", "out", "name", "trust")
"""Options of a command that no config may give."""
LOOKS = ("validate", "test", "predict")
DRAWS = "generate"
"""Takes options of the model alone: it has no trainer and reads no data."""
CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
SUFFIXES = (".yaml", ".yml")
"""Of a file that a part of a config may lie in."""


def check_config(
    config: Mapping[str, Any],
    where: str,
    verb: str,
    trusted: Sequence[str] = (),
    labels: Mapping[tuple[str, ...], str] | None = None,
    lookup: Imported = IMPORTED,
) -> None:
    """Check a whole config (files merged, options applied).

    Args:
        config: mapping of top-level keys.
        where: what to call it in messages; the file last merged.
        verb: ``fit``, ``validate``, ``test``, ``predict``, ``encode`` or ``generate``.
        trusted: modules from ``--trust``.
        labels: paths that came from the command line -> the option as it was written.
        lookup: where classes are looked up.

    Raises:
        UsageError: for the first mistake, in one line, led by the option that brought it or by ``where``.
    """
    Checker(where, trusted, labels, lookup).root(config, verb)


def root_hints(verb: str, lookup: Imported = IMPORTED) -> dict[str, Any]:
    """Type of every top-level key of a verb's config; ``trainer`` and our callbacks are plain mappings."""
    classes = lookup.root_classes()
    if verb == DRAWS:
        return {"model": classes["model"]}
    return {
        **classes,
        **dict.fromkeys(lookup.groups(), dict),
        **OWN_KEYS,
    }


class Checker:
    """One walk over one config.

    Args:
        where: name of the config in messages.
        trusted: modules from ``--trust``.
        labels: paths that came from the command line -> the option as it was written.
        lookup: where classes are looked up.
    """

    def __init__(
        self,
        where: str,
        trusted: Sequence[str] = (),
        labels: Mapping[tuple[str, ...], str] | None = None,
        lookup: Imported = IMPORTED,
    ) -> None:
        self.where, self.trusted, self.labels, self.lookup = where, tuple(trusted), labels or {}, lookup

    def fail(self, path: tuple[str, ...], message: str) -> UsageError:
        """The error, led by the option that brought it or by the file."""
        path = tuple(part for part in path if not part.isdecimal())
        for end in range(len(path), 0, -1):
            if path[:end] in self.labels:
                option, dotted = self.labels[path[:end]], ".".join(path[:end])
                if message.startswith(f"{dotted} must "):
                    return UsageError(option + message.removeprefix(dotted))
                return UsageError(f"{option}: {message.removeprefix(f'{dotted}: ')}")
        # The files were checked before: what does not fit here came with an option that goes on below it.
        below = next(
            (option for label, option in self.labels.items() if path and label[: len(path)] == path), None
        )
        if below is not None:
            return UsageError(f"{below}: {message}")
        return UsageError(f"{self.where}: {message}")

    def root(self, config: Mapping[str, Any], verb: str) -> None:
        """Check the top level, then everything below it."""
        hints, known = root_hints(verb, self.lookup), self.lookup.groups()
        for key in config:
            name = str(key).rstrip("+")
            if name in COMMAND_LINE:
                raise self.fail((name,), f"{name!r} is given on the command line only (--{name})")
            if name == "weights_only":
                raise self.fail(
                    (name,), "weights_only cannot be switched off: a checkpoint must not run code"
                )
            if name == "pipeline":
                raise self.fail(
                    (name,),
                    f"it names trained runs, and {verb} takes such a pipeline as --ckpt_path"
                    if verb in LOOKS
                    else "it names trained runs as a pipeline, which is not trained; fit each of its runs by itself",
                )
            if name not in hints:
                raise self.fail((name,), f"{verb} has no option {name!r}{did_you_mean(name, hints)}")
        for key, value in config.items():
            name = str(key).rstrip("+")
            if name in known:
                self.group(value, name, known[name])
            elif name in ("model", "data"):
                self.part(value, hints[name], (name,))
            elif name in hints:
                self.value(value, hints[name], (name,))

    def group(self, value: Any, key: str, known: Parameters) -> None:
        """Check the mapping of arguments of one fixed class, such as ``trainer``."""
        if value is None:
            return
        if not isinstance(value, Mapping):
            raise self.fail((key,), f"{key} must be a mapping of options, got {_shown(value)}")
        self.arguments(value, known, (key,), key)

    def arguments(
        self, given: Mapping[str, Any], known: Parameters, path: tuple[str, ...], owner: str
    ) -> None:
        """Check names, then values, of the arguments given to a class."""
        for key in given:
            name = str(key).rstrip("+")
            if name not in known.hints and not known.is_open:
                hint = did_you_mean(name, known.names) or _few("Options", known.names)
                raise self.fail((*path, name), f"{owner} has no option {name!r}{hint}")
        for key, value in given.items():
            name = str(key).rstrip("+")
            self.value(value, known.hints.get(name), (*path, name))

    def part(self, value: Any, hint: Any, path: tuple[str, ...]) -> None:
        """Check a value that chooses a class: a mapping with ``class_path``, or a name."""
        if value is None:
            return
        if isinstance(value, str):
            value = {"class_path": value}
        if not isinstance(value, Mapping):
            raise self.fail(
                path, f"{'.'.join(path)} must name a class (class_path, init_args), got {_shown(value)}"
            )
        if wrong := next((key for key in value if key not in CLASS_KEYS), None):
            reason = did_you_mean(str(wrong), CLASS_KEYS) or "; its arguments belong under init_args"
            raise self.fail(
                (*path, str(wrong)), f"{'.'.join(path)} has no key {str(wrong)!r} beside class_path{reason}"
            )
        target = self.resolved(value["class_path"], hint, path) if "class_path" in value else None
        known = self.lookup.parameters(target) if target is not None else Parameters({}, is_open=True)
        for key in ("init_args", "dict_kwargs"):
            given = value.get(key)
            if given is None:
                continue
            if not isinstance(given, Mapping):
                raise self.fail(path, f"{key} of {'.'.join(path)} must be a mapping, got {_shown(given)}")
            name = getattr(target, "__name__", "")
            self.arguments(given, known, path, f"{'.'.join(path)} {name}".strip())

    def resolved(self, class_path: Any, hint: Any, path: tuple[str, ...]) -> Any:
        """The class that a path names, checked against the allow-list and the type wanted here."""
        base = class_hint(hint)
        try:
            if isinstance(class_path, str) and "." in class_path:
                trust.check_prefix(class_path, self.trusted)
            elif isinstance(class_path, str):
                class_path = self.short(class_path, base) or class_path
            target = self.lookup.resolve(class_path, self.trusted)
        except ValueError as error:
            if not str(error).startswith("unknown class"):
                raise self.fail(path, f"{'.'.join(path)}: {error}") from error
            raise self.fail(path, self.unknown(class_path, base, path)) from error
        built = target if inspect.isclass(target) else self.lookup.builds(target)
        protocol = getattr(base, "_is_protocol", False)
        if built is Unseen:
            return target
        if base is not None and not protocol and built is not None and not issubclass(built, base):
            names = self.candidates(base)
            near = did_you_mean(built.__name__, names) or _few("Choose from", names)
            raise self.fail(path, f"{'.'.join(path)}: {built.__name__} is not a {base.__name__}{near}")
        return target

    def value(self, value: Any, hint: Any, path: tuple[str, ...]) -> None:
        """Check any value: numbers, sizes of frames, classes, and what lies inside lists and mappings."""
        if not self.lookup.says(hint) and not isinstance(value, Mapping):
            return
        self.number(value, hint, path)
        if set(members(Resolution)) <= set(members(hint)) and (
            value is not None or type(None) not in members(hint)
        ):
            self.frame_size(value, path)
            return
        if isinstance(value, Mapping):
            if "class_path" in value or "init_args" in value:
                self.part(value, hint, path)
            elif accepts(hint, value) is False:
                raise self.fail(path, f"{'.'.join(path)} must be {describe(hint)}, got {_shown(value)}")
            else:
                for key, inner in value.items():
                    self.value(inner, None, (*path, str(key)))
        elif isinstance(value, (list, tuple)):
            for index, inner in enumerate(value):
                self.value(inner, element_hint(hint), (*path, str(index)))
            self.plain(value, hint, path)
        elif isinstance(value, str) and may_import(hint):
            self.name(value, hint, path)
        else:
            self.plain(value, hint, path)

    def name(self, value: str, hint: Any, path: tuple[str, ...]) -> None:
        """Check text where a class could stand: jsonargparse would import a dotted name."""
        dotted = trust.PATH.fullmatch(value) is not None and not value.endswith(SUFFIXES)
        wants_class = class_hint(hint) is not None or is_callable(hint)
        if dotted or (wants_class and not accepts(hint, value)):
            self.part(value, hint, path)
        else:
            self.plain(value, hint, path)

    def number(self, value: Any, hint: Any, path: tuple[str, ...]) -> None:
        """Check that a number is finite and inside the range that goes with its name."""
        rule = RANGES.get(path[-1])
        wanted = (
            not isinstance(value, str)
            or rule is not None
            or (accepts(hint, 0.5) and not accepts(hint, "text"))
        )
        number = as_number(value) if wanted else None
        if number is None:
            if rule is not None and isinstance(value, str) and not accepts(hint, value):
                raise self.fail(path, f"{'.'.join(path)} must be a number {rule[1]}, got {_shown(value)}")
            return
        if not math.isfinite(number):
            raise self.fail(path, f"{'.'.join(path)} must be a finite number, got {shortened(value)}")
        if rule is not None and not rule[0](number):
            raise self.fail(path, f"{'.'.join(path)} must be {rule[1]}, got {shortened(value)}")

    def frame_size(self, value: Any, path: tuple[str, ...]) -> None:
        """Check the size of a frame, one number or height and width."""
        name = ".".join(path)
        try:
            size = FrameSize.of(value, name)
        except ValueError as error:
            raise self.fail(path, str(error)) from error
        for side in size:
            self.number(side, int, path)

    def plain(self, value: Any, hint: Any, path: tuple[str, ...]) -> None:
        """Check a plain value against its annotation, as far as that says anything."""
        if hint is None or value is None or accepts(hint, value) is not False:
            return
        near = did_you_mean(str(value), [str(choice) for choice in choices(hint)])
        raise self.fail(path, f"{'.'.join(path)} must be {describe(hint)}, got {_shown(value)}{near}")

    def short(self, name: str, base: type | None) -> str | None:
        """The dotted path of the class of that short name that fits ``base``; several rooms may use one name."""
        found = (
            (path, cls) for path, cls in self.lookup.short_name_classes() if path.rpartition(".")[2] == name
        )
        return next((path for path, cls in found if base is None or issubclass(cls, base)), None)

    def candidates(self, base: type | None) -> list[str]:
        """Short names that could stand where ``base`` is wanted: finished classes, not the base they share."""
        room = "videodiff.networks." if base is not None and base.__module__.startswith("torch.nn.") else ""
        return list(
            dict.fromkeys(
                path.rpartition(".")[2]
                for path, cls in self.lookup.short_name_classes()
                if (base is None or (issubclass(cls, base) and cls is not base))
                and path.startswith(room)
                and not inspect.isabstract(cls)
                and not cls.__module__.endswith(".base")
            )
        )

    def unknown(self, class_path: str, base: type | None, path: tuple[str, ...]) -> str:
        """What to say of a class that is not there."""
        kind = {"data": "data module"}.get(
            path[-1], path[-1] if not path[-1].isdecimal() else path[-2].rstrip("s")
        )
        names, short = self.candidates(base), class_path.rpartition(".")[2]
        plural = "Models" if path == ("model",) else "Choices"
        near = did_you_mean(short, names)
        return f"unknown {kind} {class_path!r}{near}{_few(plural, names, lead=' ' if near else '; ')}"


def _few(title: str, names: Sequence[str], lead: str = "; ") -> str:
    shown = [name for name in names if not name.startswith("_")][:8]
    more = ", ..." if len(names) > len(shown) else ""
    return f"{lead}{title}: {', '.join(shown)}{more}" if shown else ""


def _shown(value: Any) -> str:
    return "a mapping" if isinstance(value, Mapping) else shortened(repr(value))
