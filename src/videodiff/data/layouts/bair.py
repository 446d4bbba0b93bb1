"""BAIR robot pushing (Ebert et al. 2017): ``softmotion30_44k/{train,test}/*.tfrecords``, 30 frames of 64x64 a record.

The images called "encoded" are raw bytes of 64x64x3 pixels, from two cameras: ``image_main`` and ``image_aux1``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from videodiff.data.entries import Entry, Listing, Tree
from videodiff.data.layouts.options import Options
from videodiff.data.splits import SPLIT_FOLDERS, complete
from videodiff.data.tfrecord import index_records, read_example

SIDE = 64
TRIED = 8  # records of a file, to learn how many pictures each has
VIEWS = ("image_main", "image_aux1")


def files(tree: Tree) -> list[str]:
    """Relative paths of all record files."""
    return [*tree.others.get(".tfrecords", []), *tree.others.get(".tfrecord", [])]


def fits(tree: Tree) -> bool:
    """Whether there are record files."""
    return bool(files(tree))


def listing(tree: Tree, options: Options) -> Listing:
    """Every whole record of each split; what a cut file lacks is noted."""
    if options.view not in VIEWS:
        raise ValueError(f"data.view must be one of {', '.join(VIEWS)}, got {options.view!r}")
    given: dict[str, list[Entry]] = {}
    notes = [f"view {options.view}"]
    splits = {known: split for split, knowns in SPLIT_FOLDERS.items() for known in knowns}
    for name in files(tree):
        path = os.path.join(tree.root, name)
        split = next((splits[part] for part in Path(name).parts[:-1] if part in splits), None)
        if split is None:
            raise ValueError(f"{path} lies in no folder train or test (layout bair)")
        records, fault = index_records(path)
        if fault:
            notes.append(f"{name} {fault}")
        count, fault = first_count(path, [offset for offset, _ in records[:TRIED]], options.view)
        if fault:
            notes.append(f"{fault}; {'others of the file are used' if count else 'the file is left out'}")
        elif records and not count:
            notes.append(f"{name}: no picture of {options.view} in its records; the file is left out")
        if not count:
            continue
        given.setdefault(split, []).extend(
            Entry(
                path, f"{Path(name).name}#{number:05d}/{options.view}", size, kind="record", item=offset,
                count=count,
            )
            for number, (offset, size) in enumerate(records)
        )  # fmt: skip
    if not given.get("train"):
        faults = "; ".join(notes[1:3])
        raise FileNotFoundError(
            f"no record in train/*.tfrecords below {tree.root} (layout bair){faults and f'; {faults}'}"
        )
    return Listing("bair", complete(given, options.val_fraction, options.train_split), None, notes)


def first_count(path: str, offsets: Sequence[int], view: str) -> tuple[int, str | None]:
    """Pictures of the first record that can be read, and what was wrong with those before it; 0 if none can be."""
    fault = None
    for offset in offsets:
        try:
            return count_frames(path, offset, view), fault
        except ValueError as error:
            fault = fault or str(error)
    return 0, fault


def count_frames(path: str, offset: int, view: str) -> int:
    """How many pictures of a view a record holds."""
    names = read_example(path, offset).keys()
    return sum(name.endswith(f"/{view}/encoded") for name in names)
