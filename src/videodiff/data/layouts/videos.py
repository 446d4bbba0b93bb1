"""A folder of video files, at any depth; sub-folders train, val and test, and folders of classes, are used."""

from __future__ import annotations

import os
from dataclasses import replace

from videodiff.data.entries import Entry, Listing, Tree
from videodiff.data.layouts.options import Options
from videodiff.data.splits import by_split_folder, class_folders, complete
from videodiff.say import counted


def fits(tree: Tree) -> bool:
    """Whether there is a video file."""
    return bool(tree.videos)


def listing(tree: Tree, options: Options) -> Listing:
    """All video files; other files are passed over."""
    if not tree.videos:
        raise FileNotFoundError(f"layout videos: {tree.nothing()}")
    return general("videos", tree.root, tree.videos, options)


def general(layout: str, root: str, entries: list[Entry], options: Options) -> Listing:
    """Split by the top folders train, val and test, and hold out where they are missing."""
    given = by_split_folder(entries)
    notes = []
    if given is not None and sum(map(len, given.values())) < len(entries):
        rest = len(entries) - sum(map(len, given.values()))
        notes.append(f"{counted(rest, 'video')} outside the folders {', '.join(given)} not used")
    given = given or {"train": entries}
    names: list[str] | None = None
    if options.classes != "none":
        given, names = with_classes(given, options.classes == "folder")
    if names is not None:
        notes.append(f"classes are named by {counted(len(names), 'parent folder')}")
    return Listing(layout, complete(given, options.val_fraction, options.train_split), names, notes)


def with_classes(
    given: dict[str, list[Entry]], always: bool
) -> tuple[dict[str, list[Entry]], list[str] | None]:
    """Entries labelled with their parent folders, if those look like classes or `always`; and the classes."""
    every = [entry for entries in given.values() for entry in entries]  # before val is cut out of train
    if not always and class_folders(every) is None:
        return given, None
    labelled = {
        split: [replace(entry, label=os.path.basename(os.path.dirname(entry.path))) for entry in entries]
        for split, entries in given.items()
    }
    return labelled, sorted({str(e.label) for entries in labelled.values() for e in entries})
