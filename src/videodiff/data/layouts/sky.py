"""SkyTimelapse (Xiong et al. 2018): ``sky_train/<video>/<video>_<k>/<video>_frames_<8 digits>.jpg``, ``sky_test/...``.

The split is the name of the top folder and nothing else: ids of videos contain ``val`` and ``train`` too.
"""

from __future__ import annotations

from dataclasses import replace

from videodiff.data.entries import Entry, Listing, Tree, top_of
from videodiff.data.layouts.options import Options
from videodiff.data.splits import below, complete
from videodiff.say import counted

FOLDERS = {"train": ("sky_train", "train"), "val": ("sky_val", "val"), "test": ("sky_test", "test")}


def fits(tree: Tree) -> bool:
    """Whether the training folder has its own name and holds folders of images."""
    return "sky_train" in {top_of(entry) for entry in tree.folders}


def listing(tree: Tree, options: Options) -> Listing:
    """The clip folders of each split; those cut from one video stay on one side."""
    tops = {top_of(entry) for entry in tree.folders}
    given: dict[str, list[Entry]] = {}
    for split, names in FOLDERS.items():
        top = next((name for name in names if name in tops), None)
        if top is not None:
            given[split] = [replace(entry, group=top_of(entry)) for entry in below(tree.folders, top)]
    if "train" not in given:
        raise FileNotFoundError(
            f"no folder sky_train (or train) with folders of images in {tree.root} (layout sky)"
        )
    videos = {split: len({entry.group for entry in entries}) for split, entries in given.items()}
    notes = [
        f"{split}: {counted(len(given[split]), 'clip')} cut from {counted(videos[split], 'video')}"
        for split in given
    ]
    return Listing("sky", complete(given, options.val_fraction, options.train_split), None, notes)
