"""Taichi-HD (Siarohin et al. 2019): ``{train,test}/<id>#<start>#<end>.mp4``, or a folder of PNGs of that name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from videodiff.data.entries import Entry, Listing, Tree
from videodiff.data.layouts.options import Options
from videodiff.data.splits import by_split_folder, complete
from videodiff.say import counted

NAME = re.compile(r"^(?P<id>.+)#\d+#\d+(\.\w+)?$")


def source_video(entry: Entry) -> str | None:
    """Id of the video that a clip was cut from; None if the name has another form."""
    match = NAME.match(Path(entry.relative).name)
    return match["id"] if match else None


def fits(tree: Tree) -> bool:
    """Whether every video has a name of this form, and there are two or more."""
    entries = tree.videos or tree.folders
    return len(entries) > 1 and all(source_video(entry) is not None for entry in entries)


def listing(tree: Tree, options: Options) -> Listing:
    """Clips of one source video stay on one side; names of another form are left out and counted."""
    entries = tree.videos or tree.folders
    named = [replace(entry, group=source_video(entry)) for entry in entries if source_video(entry)]
    if not named:
        raise FileNotFoundError(f"no videos <id>#<start>#<end> below {tree.root} (layout taichi)")
    notes = [f"cut from {counted(len({entry.group for entry in named}), 'source video')}"]
    if len(named) < len(entries):
        notes.append(
            f"{counted(len(entries) - len(named), 'video')} without #<start>#<end> in the name not used"
        )
    given = by_split_folder(named) or {"train": named}
    return Listing("taichi", complete(given, options.val_fraction, options.train_split), None, notes)
