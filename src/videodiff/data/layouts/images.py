"""A tree of pictures, each a clip of one frame; sub-folders train, val and test, and folders of classes, are used.

Named, never detected: a folder of pictures is otherwise one video.
"""

from __future__ import annotations

import os

from videodiff.data.entries import Entry, Listing, Tree
from videodiff.data.layouts.options import Options
from videodiff.data.layouts.videos import general


def fits(tree: Tree) -> bool:
    """Never: the same folders are videos of many frames to the layout ``frames``."""
    return False


def stills(tree: Tree) -> list[Entry]:
    """Every picture of the folders of images, by itself."""
    return [
        Entry(
            os.path.join(folder.path, name), os.path.normpath(os.path.join(folder.relative, name)), 1, kind="image",
            count=1,
        )
        for folder in tree.folders
        for name in folder.frames
    ]  # fmt: skip


def listing(tree: Tree, options: Options) -> Listing:
    """All pictures; their parent folders are classes as those of videos are."""
    if not tree.folders:
        raise FileNotFoundError(f"layout images: {tree.nothing()}")
    return general("images", tree.root, stills(tree), options)
