"""Splits and classes of a folder's videos: by sub-folders, by groups, by a fraction."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from videodiff.data.entries import Entry, find_videos, natural_key, posix
from videodiff.seeding import uniform

SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def below(entries: list[Entry], folder: str) -> list[Entry]:
    """The entries below a top folder, their relative paths counted from it."""
    inside = []
    for entry in entries:
        top, *rest = Path(entry.relative).parts or ("",)
        if top == folder and rest:
            inside.append(replace(entry, relative=os.path.join(*rest)))
        elif top == folder:  # the folder of the split is itself one folder of frames
            inside.append(replace(entry, relative="."))
    return inside


def by_split_folder(
    entries: list[Entry], names: dict[str, tuple[str, ...]] = SPLIT_FOLDERS
) -> dict[str, list[Entry]] | None:
    """Entries by the top folder that names their split; None where no folder names the training split."""
    tops = {Path(entry.relative).parts[0] for entry in entries if len(Path(entry.relative).parts) > 1}
    tops |= {entry.relative for entry in entries if entry.kind == "frames"}
    present = {split: next((n for n in known if n in tops), None) for split, known in names.items()}
    if present.get("train") is None:
        return None
    return {split: below(entries, name) for split, name in present.items() if name is not None}


def class_folders(entries: list[Entry]) -> dict[str, str] | None:
    """Class of each video by its relative path, if all video files lie in folders that look like classes, else None.

    They do when every file is equally deep, in one of at least two folders of different names, with two files or
    more per folder on average. Folders of frames have no classes: one level looks like any other there.
    """
    parents = {entry.relative: Path(entry.relative).parent for entry in entries}
    folders = set(parents.values())
    if entries[0].kind not in ("video", "image") or len({len(p.parts) for p in folders}) != 1:
        return None
    if len({p.name for p in folders}) != len(folders) or len(folders) < 2 or len(entries) < 2 * len(folders):
        return None
    return {relative: parent.name for relative, parent in parents.items()}


def complete(
    given: dict[str, list[Entry]], val_fraction: float, train_split: str = "train"
) -> dict[str, list[Entry]]:
    """Train, val and test from those splits that a data set has.

    Where ``val`` is missing, about `val_fraction` of the training videos, drawn by a hash of their groups, become
    validation (at least one, if there are two). Where ``test`` is missing, test is validation. With a single video,
    or `val_fraction` 0, validation is the test split, or else the training videos themselves.

    Args:
        given: at least train.
        val_fraction: share of the training videos to hold out.
        train_split: ``all`` adds every other split's videos to the training videos.
    """
    splits = {name: entries for name, entries in given.items() if entries or name == "train"}
    if train_split == "all":
        union = {id(entry): entry for entries in splits.values() for entry in entries}
        splits["train"] = sorted(union.values(), key=lambda entry: (natural_key(posix(entry)), entry.path))
    if "val" not in splits:
        held_out = _hold_out(splits["train"], val_fraction)
        if held_out:
            splits["val"] = [e for e in splits["train"] if e in held_out]
            splits["train"] = [e for e in splits["train"] if e not in held_out]
        else:
            splits["val"] = splits.get("test", splits["train"])
    splits.setdefault("test", splits["val"])
    return splits


def split_videos(root: str | os.PathLike[str], val_fraction: float = 0.1) -> dict[str, list[Entry]]:
    """The train, val and test videos of a folder: its sub-folders of those names, and what :func:`complete` adds."""
    entries = find_videos(root)
    return complete(by_split_folder(entries) or {"train": entries}, val_fraction)


def group_of(entry: Entry) -> str:
    """What must stay on one side of a split: the entry's group; else, for frames, their common parent folder."""
    if entry.group is not None:
        return entry.group
    parent = Path(entry.relative).parent.as_posix()
    return parent if entry.kind == "frames" and parent != "." else posix(entry)


def _hold_out(entries: list[Entry], fraction: float) -> set[Entry]:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(group_of(entry), []).append(entry)
    if len(groups) < 2 <= len(entries) and all(entry.group is None for entry in entries):
        groups = {posix(entry): [entry] for entry in entries}
    if fraction == 0 or len(groups) < 2:
        return set()
    ranked = sorted(groups, key=lambda group: uniform("split", group))
    chosen = [group for group in ranked if uniform("split", group) < fraction][: len(ranked) - 1]
    return {entry for group in chosen or ranked[:1] for entry in groups[group]}


def limited(entries: list[Entry], limit: int | None) -> list[Entry]:
    """At most `limit` entries in their order, drawn by a hash of their relative paths."""
    if limit is None or limit >= len(entries):
        return entries
    order = sorted(range(len(entries)), key=lambda at: uniform("limit", entries[at].relative))
    return [entries[at] for at in sorted(order[:limit])]


def listing_hash(splits: dict[str, list[Entry]]) -> str:
    """Hex digest over path, size, class, caption and range of every video of every split; the root may move."""
    digest = hashlib.blake2b(digest_size=16)
    for split in sorted(splits):
        for entry in splits[split]:
            facts = [split, posix(entry), entry.size]
            if entry.label is not None or entry.caption is not None or entry.first or entry.last is not None:
                facts += [entry.label, entry.caption, entry.first, entry.last]
            digest.update(("\0".join(map(str, facts)) + "\n").encode(errors="surrogateescape"))
    return digest.hexdigest()
