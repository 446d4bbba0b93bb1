"""How a run starts: resumed from a checkpoint, or at step 0 with its weights; and what must then agree."""

from __future__ import annotations

import argparse
import inspect
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.config import Stored, check_config
from videodiff.config.trust import resolve
from videodiff.migrations import FORMATS, migrated
from videodiff.plain import parse_yaml
from videodiff.say import say
from videodiff.usage import UsageError

ORIGIN = "origin.json"

# Parts of a config that a checkpoint only fits as they are.
FIXED_PARTS = ("net", "autoencoder", "text", "schedule", "prediction")
# Where first stage and text encoder lie may change; that they are the same, their hashes in the weights say.
PLACES = (
    *(f"model.init_args.autoencoder.init_args.{name}" for name in ("checkpoint", "config", "folder")),
    *(f"model.init_args.text.init_args.{name}" for name in ("folder", "tokenizer", "kept")),
)


class Source:
    """A checkpoint that a run starts from, read when it is needed.

    Args:
        given: as the command line names it.
        path: the file.
        begins: a new run begins at step 0 with the weights alone; else the run of the checkpoint goes on.
    """

    def __init__(self, given: str, path: Path, begins: bool) -> None:
        self.given, self.path, self.begins = given, path, begins
        self._content: dict[str, Any] | None = None

    @property
    def content(self) -> dict[str, Any]:
        """What the file holds, kept until ``forget``."""
        if self._content is None:
            self._content = read(self.path, self.begins)
        return self._content

    def forget(self) -> None:
        """Let go of the content; training needs the memory."""
        self._content = None

    @property
    def is_weights_only(self) -> bool:
        """Whether it was imported or exported: nothing but weights to begin with."""
        return bool(self.content.get("videodiff", {}).get("weights_only"))

    @property
    def step(self) -> int | None:
        """The optimizer step that the weights are of, if it is known."""
        step = self.content.get("global_step", self.content.get("videodiff", {}).get("step"))
        return None if step is None else int(step)

    def head(self) -> str:
        """The line that says which of the two it is."""
        if self.begins:
            known = "" if self.step is None else f" (step {self.step})"
            return f"a new run at step 0 with only the weights of {self.path}{known}"
        return f"resuming the run of {self.path} at step {self.step}"

    def lies_in(self, directory: Path) -> bool:
        """Whether the file is one of a run directory."""
        return directory.resolve() in (folder.resolve() for folder in self.path.parents)


def read(path: Path, begins: bool) -> dict[str, Any]:
    """What a checkpoint file holds; a new run may begin with weights that lie in it without a config."""
    from videodiff.checkpoints import load_beginning, load_checkpoint

    return load_beginning(path) if begins else load_checkpoint(path)


def config_of(source: Source, trusted: list[str]) -> dict[str, Any]:
    """The stored configuration, checked, its first stage found.

    Raises:
        CheckpointError: without one, or for one that names what no config may.
        UsageError: for one with a mistake.
    """
    from videodiff.checkpoints import trusted_config

    config = trusted_config(source.content, source.path, trusted)
    check_config(config, f"config of {source.path}", "fit", trusted)
    return config


def given_source(options: argparse.Namespace) -> Source | None:
    """What ``--ckpt_path`` or ``--init_from`` names; found before the new run's folder is one that a name may mean.

    Weights alone, imported, exported or bare, cannot be gone on from: ``--ckpt_path`` of them is ``--init_from``.

    Raises:
        UsageError: if both are given.
        FileNotFoundError: if there is no such run or file.
        CheckpointError: for a damaged one.
    """
    from videodiff.checkpoints import CheckpointError, is_bare, resolve_checkpoint
    from videodiff.checkpoints.exported import is_pipeline
    from videodiff.checkpoints.shipped import shipped_name

    if options.ckpt_path is not None and options.init_from is not None:
        raise UsageError(
            f"--ckpt_path {options.ckpt_path} resumes a run, --init_from {options.init_from} begins a new one; "
            "give one of the two"
        )
    if options.ckpt_path is not None and shipped_name(resolve_checkpoint(options.ckpt_path)) is not None:
        raise UsageError(
            f"--ckpt_path {options.ckpt_path} comes with videodiff and holds weights alone, so no run can be resumed "
            f"from it; begin a new one with --init_from {options.ckpt_path}"
        )
    for option in ("ckpt_path", "init_from"):
        given = getattr(options, option)
        if given is not None and is_pipeline(resolve_checkpoint(given)):
            raise UsageError(
                f"--{option} {given} is a pipeline, which is not trained as one; fit each of its runs by itself"
            )
    if options.init_from is not None:
        return Source(options.init_from, resolve_checkpoint(options.init_from), begins=True)
    if options.ckpt_path is None:
        return None
    source = Source(options.ckpt_path, resolve_checkpoint(options.ckpt_path), begins=False)
    try:
        source.begins = source.is_weights_only
    except CheckpointError:
        if not is_bare(source.path):
            raise
        source.begins = True
    if source.begins:
        say(
            f"warning: --ckpt_path {source.given} holds weights alone, so it is taken as --init_from {source.given}"
        )
    return source


def config_of_source(source: Source, options: argparse.Namespace) -> Stored:
    """The config of a checkpoint, for a run that starts from it and is given none.

    A new run takes it without what it says of the machine that trained the weights.

    Raises:
        UsageError: without a name for the run.
    """
    if options.out is None and options.name is None:
        option = "--init_from" if source.begins else "--ckpt_path"
        raise UsageError(
            f"fit {option} {source.given} without --config makes a new run with the config of its source: name it "
            "with --name NAME or --out DIR"
        )
    from videodiff.checkpoints import portable_config

    config = config_of(source, options.trust)
    return Stored(portable_config(config) if source.begins else config, f"config of {source.path}")


def starting_point(directory: Path, existing: bool, source: Source | None) -> Source | None:
    """What the run in ``directory`` starts from; None for random weights at step 0.

    A run that is there goes on from its checkpoint of the highest step that verifies, also when the command that began
    it is given once more. Before its first checkpoint it starts from where it started.

    Raises:
        UsageError: for a source that the run there is not from, or a folder that holds weights alone.
        CheckpointError: if every checkpoint of the run is damaged.
    """
    from videodiff.checkpoints import newest_checkpoint, resolve_checkpoint

    if not existing:
        return source
    origin = read_origin(directory)
    if source is not None and not is_origin(origin, source):
        if source.begins:
            raise UsageError(
                f"--out {directory} holds a run already, and --init_from {source.given} begins a new one; name another "
                "folder, or leave out --init_from to resume the run"
            )
        if source.lies_in(directory):
            return source
        raise UsageError(
            f"--out {directory} holds a run already, and --ckpt_path {source.given} is of another; name another "
            "folder, or leave out --ckpt_path to resume the run"
        )
    own = newest_checkpoint(directory)
    if own is not None:
        point = Source(str(directory), own, begins=False)
        if point.is_weights_only:
            raise UsageError(
                f"{directory} holds only weights, no run to resume; begin a new one from them with "
                f"--init_from {directory} --name NAME"
            )
        return point
    if source is None and origin is not None:
        return Source(origin["given"], resolve_checkpoint(origin["checkpoint"]), origin["how"] == "init_from")
    return source


def read_origin(directory: Path) -> dict[str, Any] | None:
    """What a run started from, None for random weights.

    Raises:
        UsageError: if its record is damaged.
    """
    file = directory / ORIGIN
    if not file.is_file():
        return None
    try:
        origin = migrated("origin", json.loads(file.read_text(encoding="utf-8")), file)
        return {**origin, "given": origin["given"], "checkpoint": origin["checkpoint"], "how": origin["how"]}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{file} does not say where the run started from ({error}); start a new run"
        ) from error


def is_origin(origin: dict[str, Any] | None, source: Source) -> bool:
    """Whether a run started from a source: named so, of that path, or the same file by its hash."""
    from videodiff.checkpoints import sha256_of

    if origin is None or (origin["how"] == "init_from") != source.begins:
        return False
    if source.given == origin["given"] or str(source.path.resolve()) == origin["checkpoint"]:
        return True
    return origin.get("sha256") == sha256_of(source.path)


def write_origin(directory: Path, source: Source, **more: Any) -> None:
    """Record what a run starts from: path, hash and step."""
    from videodiff.checkpoints import sha256_of

    origin = {
        "format": FORMATS["origin"],
        "how": "init_from" if source.begins else "ckpt_path",
        "given": source.given,
        "checkpoint": str(source.path.resolve()),
        "sha256": sha256_of(source.path),
        "step": source.step,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **more,
    }
    atomic.write_json(directory / ORIGIN, origin)


# --- what must be the same -------------------------------------------------------------------------------------


def begin(source: Source, cli: Any, force: bool) -> dict[str, Any]:
    """Fill a new run's model with the weights of its source as far as they fit, and say how far.

    Returns:
        What became of every weight, for the record.

    Raises:
        CheckpointError: if too little fits, or they are of another first stage.
    """
    from videodiff.checkpoints import fit_weights

    before = source.content.get("videodiff", {}).get("fingerprint")
    now = getattr(cli.datamodule, "fingerprint", lambda: None)()
    classes = known_classes(before or {}), known_classes(now or {})
    found = fit_weights(cli.model, source.content["state_dict"], source.path, classes, force)
    for line in [source.head(), *found.lines()]:
        say(line)
    return found.to_dict()


def known_classes(fingerprint: dict[str, Any]) -> list[str] | None:
    """Names of the classes of data by their fingerprint, in label order; None where there are none, or not known."""
    from videodiff.data.selection import GENERATED

    built_in = GENERATED.get(str(fingerprint.get("dataset")))
    names = fingerprint.get("classes") or (built_in.class_names if built_in is not None else None)
    return [str(name) for name in names] if names else None


def check_same_run(source: Source, before: dict[str, Any], cli: Any, force: bool) -> list[str]:
    """Refuse to go on with another model or other data than the checkpoint's.

    Returns:
        Lines on what else differs.

    Raises:
        UsageError: naming the difference, unless ``force``.
    """
    way_out = f"begin a new run from its weights with --init_from {source.given}, or --force"
    now = parse_yaml(cli.config_text(), "config")
    changes = [change for change in differences(before, now) if not is_new_default(change[0], before, now)]
    for key, old, new in changes:
        if is_fixed(key) and not force:
            raise UsageError(f"{key} is {new}, the run was trained with {old}; {way_out}")
    old_data = source.content.get("videodiff", {}).get("fingerprint")
    new_data = getattr(cli.datamodule, "fingerprint", lambda: None)()
    if old_data is not None and new_data is not None and not force:
        for key, old, new in data_differences(old_data, json.loads(json.dumps(new_data))):
            what = other_videos(before, now) if key == "listing" else f"{key}: {new}, was {old}"
            raise UsageError(f"the data differ from the run's ({what}); {way_out}")
    return [f"{key}: {new} (the checkpoint was made with {old})" for key, old, new in changes]


def is_fixed(key: str) -> bool:
    """Whether a dotted key is of a part that a checkpoint only fits as it is."""
    if key in PLACES:
        return False
    parts = [f"model.init_args.{part}" for part in FIXED_PARTS]
    return any(key == part or key.startswith(f"{part}.") for part in parts)


def is_new_default(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether an option has the default of its class, and the config before knew no such option yet.

    Args:
        key: dotted, at which the two differ.
        before: the older config.
        now: the newer one.
    """
    place, _, name = key.rpartition(".")
    path = place.split(".")
    old, new = _below(before, path), _below(now, path[:-1])
    if path[-1] != "init_args" or not isinstance(old, Mapping) or name in old or not isinstance(new, Mapping):
        return False
    try:
        taken = inspect.signature(resolve(str(new.get("class_path")))).parameters
        usual = json.loads(json.dumps(taken[name].default))  # as YAML has it: lists, not tuples
    except (ValueError, TypeError, KeyError):
        return False  # a class of one's own, or an option that its base takes
    return bool(usual == new[path[-1]][name])


def _below(config: Any, path: Sequence[str]) -> Any:
    """What stands in a config below these keys; None where there are none."""
    for name in path:
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def data_differences(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """As ``differences``, which set first: of two sets many settings differ, and all for that reason."""
    return sorted(differences(before, now), key=lambda change: change[0] not in ("dataset", "listing"))


def other_videos(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What to say of two sets whose lists of videos differ."""
    old, new = (((config.get("data") or {}).get("init_args") or {}).get("root") for config in (before, now))
    return f"root: {new}, was {old}" if old != new else f"root {new} holds other videos than it did"


def differences(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted keys at which two nested dicts differ, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted({*before, *now}):
            yield from differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif before != now:
        yield key, before, now
