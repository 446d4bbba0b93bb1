"""The samples of a split in a set of shards, and the numbers of their classes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from videodiff.data.clips import SPLIT_FOLDERS
from videodiff.data.shard_index import ShardIndex
from videodiff.seeding import uniform


def split_shards(
    shards: Sequence[ShardIndex], split: str, val_fraction: float = 0.1
) -> list[tuple[int, int]]:
    """``(shard, sample)`` of every sample of a split; :class:`ShardSource` tells the rule."""
    words = {name: its_split for its_split, names in SPLIT_FOLDERS.items() for name in names}
    named = [_split_word(shard.file.path, words) for shard in shards]
    if None in named or "train" not in named:
        named = ["train"] * len(shards)
    splits: dict[str, list[tuple[int, int]]] = {}
    for number, (shard, its_split) in enumerate(zip(shards, named, strict=True)):
        splits.setdefault(str(its_split), []).extend((number, at) for at in range(len(shard.samples)))
    if "val" not in splits:
        held_out = _hold_out(splits["train"], shards, val_fraction)
        if held_out:
            splits["val"] = [place for place in splits["train"] if place in held_out]
            splits["train"] = [place for place in splits["train"] if place not in held_out]
        else:
            splits["val"] = splits.get("test", splits["train"])
    splits.setdefault("test", splits["val"])
    return splits[split]


def _split_word(path: str, words: dict[str, str]) -> str | None:
    """The split that the folder of a shard is named for, or else a word of its own name."""
    folder, _, base = path.replace(os.sep, "/").rpartition("/")
    parent = folder.rpartition("/")[2]
    found = {words[word] for word in re.split(r"[^A-Za-z]+", base) if word in words}
    return words.get(parent) or (found.pop() if len(found) == 1 else None)


def _hold_out(
    places: list[tuple[int, int]], shards: Sequence[ShardIndex], fraction: float
) -> set[tuple[int, int]]:
    if fraction == 0 or len(places) < 2:
        return set()
    draws = {place: uniform("split", shards[place[0]].samples[place[1]].key) for place in places}
    ranked = sorted(places, key=lambda place: (draws[place], place))
    chosen = [place for place in ranked if draws[place] < fraction][: len(ranked) - 1]
    return set(chosen or ranked[:1])


def number_classes(shards: Sequence[ShardIndex]) -> tuple[list[str] | None, dict[int, int]]:
    """Names of the classes, and the number of each sample's class by the sample's ``id``; (None, {}) without classes.

    Numbers in ``cls`` are kept; the json's labels name them. Classes that are only named are numbered by their
    sorted names.

    Raises:
        ValueError: if some samples have a class and others have none, or one number has two names.
    """
    # one that cannot be read and has no class does not count as one without
    samples = [
        s for shard in shards for s in shard.samples
        if s.fault is None or s.cls is not None or s.label is not None
    ]  # fmt: skip
    homes = {id(sample): shard.file.path for shard in shards for sample in shard.samples}
    if all(sample.cls is None and sample.label is None for sample in samples):
        return None, {}
    names: dict[int, str] = {}
    for sample in samples:
        if sample.cls is None and sample.label is None:
            raise ValueError(
                f"{homes[id(sample)]}: sample {sample.key} has no class (cls, or label in its json), others have one"
            )
        if isinstance(sample.cls, int):
            if sample.cls < 0:
                raise ValueError(
                    f"{homes[id(sample)]}: sample {sample.key} has the class {sample.cls}; classes count from 0"
                )
            name = sample.label if sample.label is not None else names.get(sample.cls, str(sample.cls))
            if names.setdefault(sample.cls, name) != name and names[sample.cls] != str(sample.cls):
                raise ValueError(
                    f"{homes[id(sample)]}: class {sample.cls} is named {names[sample.cls]!r} and {name!r}"
                )
            names[sample.cls] = name
    if names:
        class_names = [names.get(number, str(number)) for number in range(max(names) + 1)]
    else:
        class_names = sorted({str(s.label if s.cls is None else s.cls) for s in samples})
    numbers = {name: number for number, name in enumerate(class_names)}
    ids = {}
    for sample in samples:
        name = str(sample.label if sample.cls is None else sample.cls)
        if not isinstance(sample.cls, int) and name not in numbers:
            raise ValueError(
                f"{homes[id(sample)]}: sample {sample.key} has the class {name!r}, others have numbers"
            )
        ids[id(sample)] = sample.cls if isinstance(sample.cls, int) else numbers[name]
    return class_names, ids
