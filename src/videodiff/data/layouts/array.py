"""Moving MNIST (Srivastava et al. 2015) and arrays like it: ``.npy`` of uint8 ``[T, N, H, W]``, time first.

A last axis of 3 colours (or 1) may follow.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from videodiff import placeholder
from videodiff.data.entries import Entry, Listing, Tree
from videodiff.data.layouts.options import Options
from videodiff.data.splits import SPLIT_FOLDERS, complete


def open_array(path: str) -> np.ndarray:
    """A ``.npy`` mapped into memory.

    Raises:
        ValueError: if it is no uint8 array of videos, time first.
    """
    placeholder.refuse(path, but=())
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path}: no readable .npy array ({str(error).splitlines()[0]})") from error
    if (
        array.dtype != np.uint8
        or array.ndim not in (4, 5)
        or (array.ndim == 5 and array.shape[-1] not in (1, 3))
    ):
        raise ValueError(
            f"{path}: an array of videos is uint8 [T, N, H, W] or [T, N, H, W, 3], time first; got {array.dtype} "
            f"{list(array.shape)}"
        )
    if 0 in array.shape:
        raise ValueError(f"{path}: an empty array {list(array.shape)}")
    return array


def fits(tree: Tree) -> bool:
    """Whether arrays are all there is."""
    return bool(tree.others.get(".npy")) and not tree.videos and not tree.folders


def listing(tree: Tree, options: Options) -> Listing:
    """The sequences of every array; files named train, val and test, or in such folders, are the splits."""
    names = tree.others.get(".npy", [])
    if not names:
        raise FileNotFoundError(f"no .npy array in {tree.root} (layout array)")
    given: dict[str, list[Entry]] = {}
    notes = []
    splits = {known: split for split, knowns in SPLIT_FOLDERS.items() for known in knowns}
    for name in names:
        path = os.path.join(tree.root, name)
        array = open_array(path)
        split = splits.get(Path(name).stem, splits.get(Path(name).parts[0], "train"))
        size = array.dtype.itemsize * int(np.prod(array.shape[2:])) * len(array)
        given.setdefault(split, []).extend(
            Entry(path, f"{name}#{n:06d}", size, kind="array", item=n, count=len(array))
            for n in range(array.shape[1])
        )
        notes.append(f"{name}: {array.shape[1]} sequences of {len(array)} frames, time first")
    if "train" not in given:
        raise FileNotFoundError(f"{tree.root} holds arrays of other splits, none to train on")
    return Listing("array", complete(given, options.val_fraction, options.train_split), None, notes)
