"""Configs: finding them, reading them safely, merging them. What they may say is checked in ``cli.check``."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from videodiff import placeholder, reasons
from videodiff.cli.check import check_config, check_options
from videodiff.cli.errors import UsageError, did_you_mean
from videodiff.migrations import migrated_config

__all__ = [
    "check_config",
    "check_options",
    "find_config",
    "load_yaml",
    "merge",
    "parse_yaml",
    "plain_files",
    "read_configs",
    "shipped_configs",
]

SHIPPED = Path(__file__).resolve().parent.parent / "configs"
MAX_BYTES = 1 << 20
MAX_NODES = 50_000
MAX_DEPTH = 60


def shipped_configs() -> dict[str, Path]:
    """The configs that come with the package: name (``vdm_digits``, ``with/small``) -> file."""
    files = sorted(SHIPPED.rglob("*.yaml"), key=lambda file: (len(file.parts), file))
    return {file.relative_to(SHIPPED).with_suffix("").as_posix(): file for file in files}


def find_config(name_or_path: str | Path) -> Path:
    """The file of a config given as a path or by the name of a shipped one.

    Raises:
        UsageError: if neither exists, with the nearest name.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.is_dir():
        raise UsageError(f"config {name_or_path} is a directory; give a YAML file or a shipped name")
    shipped = shipped_configs()
    text = str(name_or_path)
    name = text.removesuffix(".yaml").removeprefix("configs/")
    if name in shipped and text in (name, f"{name}.yaml", f"configs/{name}.yaml"):
        return shipped[name]
    if path.exists():
        raise UsageError(f"config {text} is not a regular file")
    beside = (
        [file.with_suffix("").name for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    )
    hint = did_you_mean(name, shipped) or did_you_mean(
        path.with_suffix("").name, beside, str(path.parent / "{}.yaml")
    )
    listed = f" Shipped: {', '.join(n for n in shipped if '/' not in n)}" if shipped else ""
    raise UsageError(f"no config {text[:200]!r}{hint or ';'}{listed}".rstrip(";"))


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a config: plain data only, no key twice, bounded in size, depth and expansion of aliases.

    Raises:
        FileNotFoundError: without the file.
        UsageError: with file and line, for anything that is not such a mapping.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no config file {path}")
    if not path.is_file():
        raise UsageError(f"{path}: not a regular file")
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{path}: larger than {MAX_BYTES} bytes; a config is a few kilobytes")
    if (found := placeholder.explain(path, but=("empty",))) is not None:
        raise UsageError(f"{path} {found}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text file (UTF-8 expected at byte {error.start})") from error
    value = parse_yaml(text, str(path))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{path}: a config is a mapping of keys to values, got {type(value).__name__}")
    return migrated_config(value, text, path)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text, under the limits of :func:`load_yaml`; ``where`` names it in errors."""
    try:
        root = yaml.compose(text, Loader=_Loader)
        if root is None:
            return None
        _measure(root, where)
        return _Loader("").construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{where}{line}: {_yaml_reason(error)}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: not YAML ({reasons.reason(error)})") from error
    except RecursionError as error:
        raise UsageError(f"{where}: nested too deeply") from error
    except (ValueError, OverflowError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{where}: {reasons.reason(error)}") from error


def read_configs(
    names: Sequence[str | Path], verb: str, options: Sequence[str] = (), trusted: Sequence[str] = ()
) -> dict[str, Any]:
    """Merge configs and command-line options, checking each as it comes in, so that an error names its file.

    Args:
        names: files or shipped names; later ones override.
        verb: ``fit``, ``validate``, ``test`` or ``predict``.
        options: words of the command line after the verb.
        trusted: modules from ``--trust``.

    Raises:
        UsageError: for the first mistake.
    """
    merged: dict[str, Any] = {}
    for name in names:
        file = find_config(name)
        merged = merge(merged, plain_config(file, merged), trusted=trusted)
        check_config(merged, str(file), verb, trusted)
    return check_options(options, verb, merged, trusted, where=str(names[-1]) if names else "command line")


def plain_config(file: Path, before: Mapping[str, Any]) -> dict[str, Any]:
    """A config as it holds over those before it: ``for: {CLASS: {...}}`` gives way to the part of a class in use.

    One overlay can so speak to several models. CLASS is the short name of any class that the model section before it
    names; parts of several such classes are merged in their order.

    Raises:
        UsageError: if it is empty, or there is a ``for`` and none of its classes is in use.
    """
    config = load_yaml(file)
    if not config:
        own = (file.parent / "checkpoints").is_dir()
        cure = "remove it, the run's checkpoints hold a copy" if own else "write it, or leave it out"
        raise UsageError(f"{file} holds no config, it is empty or all comments; {cure}")
    parts = config.pop("for", None)
    if parts is None:
        return config
    if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
        raise UsageError(f"{file}: 'for' must map names of classes to configs")
    used = class_names(before.get("model"))
    chosen = [part for name, part in parts.items() if name in used]
    if not chosen:
        raise UsageError(
            f"{file} is made for {', '.join(parts)}; the model before it uses {', '.join(sorted(used)) or 'no class'}"
        )
    return merge(config, *chosen)


def class_names(node: Any) -> set[str]:
    """Short names of all classes that a part of a config names."""
    if isinstance(node, dict):
        own = node.get("class_path")
        below = set().union(*(class_names(value) for value in node.values()))
        return below | ({own.rpartition(".")[2]} if isinstance(own, str) else set())
    return set().union(*(class_names(value) for value in node)) if isinstance(node, list) else set()


def plain_files(files: Sequence[Path], folder: Path, trusted: Sequence[str] = ()) -> list[Path]:
    """The same configs for a reader that knows no ``for``; those that have one are written to ``folder`` without."""
    before: dict[str, Any] = {}
    plain = []
    for number, file in enumerate(files):
        config = plain_config(file, before)
        if "for" in load_yaml(file):
            file = folder / f"{number}_{file.name}"
            file.write_text(yaml.safe_dump(config), encoding="utf-8")
        before = merge(before, config, trusted=trusted)
        plain.append(file)
    return plain


def merge(*configs: dict[str, Any], trusted: Sequence[str] = ()) -> dict[str, Any]:
    """Later configs over earlier ones, key by key; lists replace, ``key+`` appends.

    A new ``class_path`` drops the ``init_args`` of the old class that the new one does not know.

    Args:
        configs: mappings; none of them is changed.
        trusted: modules from ``--trust``, whose classes are looked up too.
    """
    result: dict[str, Any] = {}
    for config in configs:
        _merge_into(result, copy.deepcopy(config), trusted)
    return result


def _merge_into(base: dict[str, Any], over: dict[str, Any], trusted: Sequence[str]) -> None:
    new_class = over.get("class_path")
    if (
        new_class is not None
        and base.get("class_path", new_class) != new_class
        and isinstance(new_class, str)
    ):
        old = base.get("init_args")
        base["init_args"] = (
            {k: v for k, v in old.items() if _known(new_class, k, trusted)} if isinstance(old, dict) else {}
        )
    for key, value in over.items():
        appends = isinstance(key, str) and key.endswith("+")
        name = key[:-1] if appends else key
        old = base.get(name)
        if appends and isinstance(old, list):
            base[name] = old + (value if isinstance(value, list) else [value])
        elif isinstance(old, dict) and isinstance(value, dict):
            _merge_into(old, value, trusted)
        else:
            base[name] = [value] if appends and not isinstance(value, list) else value


def _known(class_path: str, argument: str, trusted: Sequence[str]) -> bool:
    from videodiff.cli.signatures import parameters
    from videodiff.trust import resolve

    try:
        return argument in parameters(resolve(class_path, trusted)).names
    except ValueError:
        return False


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Hashable, Any]:
        """As the base, after looking for doubles (merge keys may be overridden, so they do not count)."""
        seen: dict[Any, int] = {}
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen and id(node) not in self.flattened:
                problem = f"key {key_node.value!r} stands twice (first in line {seen[key_node.value]})"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen[key_node.value] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """As the base, remembering the mappings into which a merge key has brought overridden keys."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            self.flattened.add(id(node))
        super().flatten_mapping(node)

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.flattened: set[int] = set()


def _measure(root: yaml.Node, where: str) -> None:
    """Refuse a document that grows beyond the limits when its aliases are written out."""
    measured: dict[int, tuple[int, int]] = {}  # node -> (values, depth) below and with it

    def measure(node: yaml.Node, inside: frozenset[int]) -> tuple[int, int]:
        if id(node) in inside:
            raise UsageError(f"{where}:{node.start_mark.line + 1}: an alias contains itself")
        if id(node) not in measured:
            parts: Sequence[yaml.Node] = ()
            if isinstance(node, yaml.MappingNode):
                parts = [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                parts = node.value
            below = [measure(part, inside | {id(node)}) for part in parts]
            measured[id(node)] = (
                1 + sum(n for n, _ in below),
                1 + max((depth for _, depth in below), default=0),
            )
        if measured[id(node)][1] > MAX_DEPTH:
            raise UsageError(f"{where}:{node.start_mark.line + 1}: nested more than {MAX_DEPTH} deep")
        return measured[id(node)]

    if measure(root, frozenset())[0] > MAX_NODES:
        raise UsageError(f"{where}: more than {MAX_NODES} values once its aliases are written out")


def _yaml_reason(error: yaml.MarkedYAMLError) -> str:
    reason = " ".join((error.problem or "not YAML").split())
    if "could not determine a constructor" in reason:
        tag = reason.rpartition("tag ")[2]
        return f"a config holds plain data only, not the tag {tag}"
    return reason
