"""UCF-101 (Soomro et al. 2012): ``<Class>/v_<Class>_gNN_cNN.avi`` with ``trainlist0N.txt`` and ``testlist0N.txt``.

The class is the folder's: folder and file differ in case for one class of the real set. Names in the lists are
compared without regard to case. Groups (``gNN`` of one class) were cut from one video and stay on one side.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from videodiff import placeholder
from videodiff.data.entries import Entry, Listing, Tree
from videodiff.data.layouts.options import Options
from videodiff.data.splits import complete
from videodiff.reading import read_text
from videodiff.say import counted

LISTS = "ucfTrainTestlist"
NAME = re.compile(r"^v_.+_(?P<group>g\d+)_c\d+$", re.IGNORECASE)


def clips(tree: Tree) -> dict[tuple[str, str], Entry]:
    """Every clip, a video file or a folder of frames, by its folder and name in lower case."""
    found = {}
    for entry in tree.videos or tree.folders:
        path = Path(entry.path)
        stem = path.stem if entry.kind == "video" else path.name
        match = NAME.match(stem)
        if match:
            label = path.parent.name
            group = f"{label}/{match['group'].lower()}"
            relative = os.path.join(label, path.name)
            found[label.lower(), stem.lower()] = replace(entry, relative=relative, label=label, group=group)
    return found


def lists_folder(tree: Tree) -> str | None:
    """Where the split files lie: in the root, anywhere below it, or beside it."""
    inside = [os.path.join(tree.root, os.path.dirname(name)) for name in tree.others.get(".txt", [])]
    beside = [tree.root, os.path.join(tree.root, LISTS), os.path.join(os.path.dirname(tree.root), LISTS)]
    for folder in dict.fromkeys([*beside, *inside]):
        if any(os.path.isfile(os.path.join(folder, f"trainlist{fold:02d}.txt")) for fold in (1, 2, 3)):
            return folder
    return None


def read_list(path: str) -> list[tuple[str, str]]:
    """(folder, name without suffix) in lower case of every line of a list, its class number left out."""
    placeholder.refuse(path)
    lines = []
    for line in read_text(path, "utf-8-sig").splitlines():
        name = re.sub(r"\s+\d+\s*$", "", line.strip()).replace("\\", "/")
        if name:
            folder, _, file = name.rpartition("/")
            stem = file[: -len(".avi")] if file.lower().endswith(".avi") else file
            lines.append((folder.rpartition("/")[2].lower(), stem.lower()))
    return lines


def fits(tree: Tree) -> bool:
    """Whether there are split files, or every video is named like one of the set, in folders of classes."""
    entries = tree.videos or tree.folders
    if lists_folder(tree) is not None and any(NAME.match(Path(e.path).stem) for e in entries):
        return True
    return len(entries) > 1 and all(
        NAME.match(Path(e.path).stem) and len(Path(e.relative).parts) > 1 for e in entries
    )


def listing(tree: Tree, options: Options) -> Listing:
    """Train and test list of a fold; without lists only the union of both can be had."""
    known = clips(tree)
    if not known:
        raise FileNotFoundError(f"no videos <Class>/v_<Class>_gNN_cNN.avi below {tree.root} (layout ucf101)")
    folder = lists_folder(tree)
    given: dict[str, list[Entry]] = {}
    notes: list[str] = []
    if folder is not None:
        if options.fold not in (1, 2, 3):
            raise ValueError(f"data.fold of UCF-101 must be 1, 2 or 3, got {options.fold}")
        for split in ("train", "test"):
            given[split] = of_list(os.path.join(folder, f"{split}list{options.fold:02d}.txt"), known, notes)
    elif options.train_split == "all":
        given["train"] = list(known.values())
        notes.append("no split files: test is cut out of all clips by groups")
    else:
        raise FileNotFoundError(
            f"no trainlist{options.fold:02d}.txt in {tree.root} or in {LISTS} in or beside it: unpack the split files "
            "there, or train on all clips with data.train_split all"
        )
    splits = complete(given, options.val_fraction, options.train_split)
    names = class_order(known, folder)
    if options.classes == "none":
        return Listing("ucf101", splits, None, notes)
    return Listing("ucf101", splits, names, notes)


def of_list(path: str, known: dict[tuple[str, str], Entry], notes: list[str]) -> list[Entry]:
    """The clips of one list that are on disk."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no such split file: {path} (data.fold chooses its number)")
    names = read_list(path)
    entries = [known[name] for name in dict.fromkeys(names) if name in known]
    missing = len(set(names)) - len(entries)
    notes.append(
        f"{os.path.basename(path)}: {counted(len(entries), 'clip')}"
        + (f", {missing} not there" * bool(missing))
    )
    return entries


def class_order(known: dict[tuple[str, str], Entry], folder: str | None) -> list[str]:
    """Names of the folders, in the order of ``classInd.txt`` if that has them all, else sorted."""
    names = sorted({str(entry.label) for entry in known.values()})
    path = os.path.join(folder or "", "classInd.txt")
    if folder is None or not os.path.isfile(path):
        return names
    placeholder.refuse(path)
    lines = [line.split() for line in read_text(path, "utf-8-sig").splitlines() if line.strip()]
    by_lower = {name.lower(): name for name in names}
    ordered = {words[-1].lower(): words[-1] for words in lines}
    if not by_lower.keys() <= ordered.keys():
        return names
    return [by_lower.get(lower, name) for lower, name in ordered.items()]
