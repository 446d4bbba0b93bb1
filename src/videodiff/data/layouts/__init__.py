"""Layouts of public data sets: which one a folder has, and its videos, splits and classes.

A layout is a file here with two functions: ``fits(tree)`` tells from names alone whether a folder is one, and
``listing(tree, options)`` lists it. A folder that fits no layout, or more than one, is an error that names the choices.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType

from videodiff.data.entries import Listing, Tree, scan
from videodiff.data.frame_folder import uneven, without_masks
from videodiff.data.layouts import array, bair, frames, images, kinetics, sky, taichi, ucf101, videos
from videodiff.data.layouts.options import Options
from videodiff.data.passed_over import encodings_note, in_two_splits, passed_over
from videodiff.say import counted

LAYOUTS: dict[str, ModuleType] = {
    "videos": videos,
    "frames": frames,
    "images": images,
    "ucf101": ucf101,
    "sky": sky,
    "taichi": taichi,
    "kinetics": kinetics,
    "bair": bair,
    "array": array,
}
# A public data set is told apart by its own marks; any folder of videos or frames is one of these two.
GENERAL = ("videos", "frames", "images")

__all__ = ["GENERAL", "LAYOUTS", "Options", "detect", "list_videos"]


def detect(tree: Tree) -> str:
    """The layout that a folder fits.

    Raises:
        FileNotFoundError: if nothing that could be a video lies there.
        ValueError: if more than one layout fits, with their names.
    """
    special = [name for name, layout in LAYOUTS.items() if name not in GENERAL and layout.fits(tree)]
    fitting = special or [name for name in GENERAL if LAYOUTS[name].fits(tree)]
    if not fitting:
        raise FileNotFoundError(tree.nothing())
    if len(fitting) > 1:
        counts = (
            f"{counted(len(tree.videos), 'video file')}, {counted(len(tree.folders), 'folder')} of images"
        )
        raise ValueError(
            f"{tree.root} ({counts}) could be {' or '.join(fitting)}; say which with data.layout"
        )
    return fitting[0]


def list_videos(
    root: str | os.PathLike[str],
    layout: str = "auto",
    options: Options | Callable[[str], Options] | None = None,
    look_at_all: bool = False,
) -> Listing:
    """List a data set.

    Args:
        root: its folder, or the file of an array.
        layout: name of a layout, or auto to detect it.
        options: what a layout may be asked for, or a function that tells it from the layout's name.
        look_at_all: read the header of every picture, not of a sample, to tell animated and uneven ones.

    Raises:
        FileNotFoundError: if `root`, or something the layout needs, is missing.
        ValueError: if the layout is unknown, cannot be told, or does not fit.
    """
    if layout != "auto" and layout not in LAYOUTS:
        raise ValueError(f"data.layout must be one of auto, {', '.join(LAYOUTS)}, got {layout!r}")
    notes: list[str] = []
    if os.path.isfile(root):
        folder, name = os.path.split(os.path.abspath(root))
        if not name.lower().endswith(".npy"):
            raise ValueError(
                f"data.root {root} is a file; give a folder of videos, a .npy array or tar shards"
            )
        tree = Tree(folder, [], [], {".npy": [name]}, [])
    else:
        tree, masks = without_masks(scan(root, look_at_all))
        notes += masks
    name = detect(tree) if layout == "auto" else layout
    listing: Listing = LAYOUTS[name].listing(
        tree, options(name) if callable(options) else options or Options()
    )
    if not listing.splits["train"]:
        raise FileNotFoundError(f"no training videos of layout {name} below {tree.root}")
    used = {id(entry): entry for entries in listing.splits.values() for entry in entries}.values()
    listing.notes += [*notes, *passed_over(tree, used, name)]
    listing.notes += uneven([e for e in used if e.kind == "frames"], look_at_all)
    listing.notes += encodings_note(
        (e for e in used if e.kind == "video"), "they stay on one side of a split"
    )
    listing.notes += in_two_splits(listing.splits)
    return listing
