"""A tree in which every folder with images is one video."""

from __future__ import annotations

import os

from videodiff.data.entries import Listing, Tree
from videodiff.data.image_read import ANIMATED_SUFFIXES
from videodiff.data.layouts.options import Options
from videodiff.data.layouts.videos import general


def fits(tree: Tree) -> bool:
    """Whether there is a folder of two images or more; posters beside video files do not count.

    Animated pictures are no such video files: which of the two a folder of both is, must be said.
    """
    files = (e.path for e in tree.videos if os.path.splitext(e.path)[1].lower() not in ANIMATED_SUFFIXES)
    beside = {os.path.dirname(path) for path in files}
    return any(len(entry.frames) > 1 and entry.path not in beside for entry in tree.folders) or bool(
        tree.folders and not tree.videos
    )


def listing(tree: Tree, options: Options) -> Listing:
    """All folders of images; clips that share a parent folder (one source video) stay on one side."""
    if not tree.folders:
        raise FileNotFoundError(f"layout frames: {tree.nothing()}")
    return general("frames", tree.root, tree.folders, options)
