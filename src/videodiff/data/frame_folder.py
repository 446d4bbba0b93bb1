"""Oddities of folders of frames: missing numbers, changing sizes and kinds of pictures, masks beside frames.

Numbers are told from names. For the rest headers are read, of all pictures if there are few, else of a sample.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from videodiff.data.entries import LOOKED_AT, Entry, Tree, natural_key, spread
from videodiff.data.image_read import read_image
from videodiff.data.video_file import BadVideoError
from videodiff.say import counted

FOLDERS_LOOKED_AT = LOOKED_AT // 4
DEEP_LOOKED_AT = 8  # pictures of more than 8 bits whose values are read
MASK_FOLDERS = frozenset(
    {"annotation", "annotations", "gt", "label", "labels", "mask", "masks", "segmentation", "segmentations"}
)
FEW_COLOURS = 32  # a picture of labels has no more
NUMBER = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class Look:
    """What the header of a picture says: its file, (width, height) and Pillow's mode."""

    path: str
    size: tuple[int, int]
    mode: str


def look_at(path: str) -> Look | None:
    """The header of a picture; None if it cannot be read, which is told when it is."""
    try:
        with Image.open(path) as image:
            return Look(path, image.size, image.mode)
    except Exception:  # Pillow raises what it likes
        return None


# -- uneven folders


def uneven(folders: list[Entry], look_at_all: bool = False) -> list[str]:
    """One line for each kind of unevenness, with the number of folders and the first of them.

    Args:
        folders: entries of kind ``frames``.
        look_at_all: read every header, not a sample's.
    """
    if not folders:
        return []
    folders = sorted(folders, key=lambda entry: natural_key(entry.path))
    lines = _told(folders, {e.path: missing(e.frames) for e in folders}, "uneven names of frames")
    looked = folders if look_at_all else spread(folders, FOLDERS_LOOKED_AT)
    each = max(4, LOOKED_AT // len(looked))
    looks: dict[str, list[Look]] = {}
    whole = True
    for entry in looked:
        names = entry.frames if look_at_all else spread(entry.frames, each)
        whole &= len(names) == len(entry.frames)
        seen = (look_at(os.path.join(entry.path, name)) for name in names)
        looks[entry.path] = [look for look in seen if look is not None]
    whole &= len(looked) == len(folders)
    found = _told(
        looked, {path: _sizes(seen) for path, seen in looks.items()}, "frames of more than one size"
    )
    found += _told(
        looked, {path: _kinds(seen) for path, seen in looks.items()}, "palette pictures among others"
    )
    found += _depth([look for seen in looks.values() for look in seen])
    if found and not whole:
        count = sum(map(len, looks.values()))
        found.append(f"(of frames {count} were looked at; `videodiff prepare DIR --check` looks at all)")
    return lines + found


def _told(folders: list[Entry], reasons: dict[str, str | None], what: str) -> list[str]:
    odd = [(entry, reasons[entry.path]) for entry in folders if reasons[entry.path]]
    if not odd:
        return []
    entry, reason = odd[0]
    where = entry.path if entry.relative == "." else entry.relative
    count = counted(len(odd), "folder has", "folders have")
    return [f"{count} {what} (the first: {where}: {reason}); each folder is read as one video without gaps"]


def missing(names: Iterable[str]) -> str | None:
    """Which numbers names lack, or that they are of several series: None where they count evenly, or not at all."""
    stems = [os.path.splitext(name)[0] for name in names]
    if len(stems) < 3:
        return None
    parts = [NUMBER.split(stem) for stem in stems]
    words = {tuple(split[::2]) for split in parts}
    if len(words) > 1:
        return f"names of {len(words)} series, such as {stems[0]} and {stems[-1]}"
    numbers = np.array([[int(number) for number in split[1::2]] for split in parts], dtype=object)
    for column in numbers.T:
        steps = np.diff(column)
        if len(steps) and all(step > 0 for step in steps):
            usual = min(Counter(steps.tolist()).most_common(), key=lambda pair: (-pair[1], pair[0]))[0]
            gaps = [(int(a), int(b)) for a, b in pairwise(column) if b - a > usual]
            if not gaps or 2 * len(gaps) > len(steps):  # time stamps are no numbers of frames
                return None
            a, b = gaps[0]
            first, last = a + usual, b - usual
            lost = f"{first} missing" if first >= last else f"{first} to {last} missing"
            return lost if len(gaps) == 1 else f"{lost}, and {counted(len(gaps) - 1, 'more gap')}"
    return f"numbers that repeat, such as {stems[0]} and {stems[1]}"


def _sizes(looks: list[Look]) -> str | None:
    sizes = Counter(look.size for look in looks)
    if len(sizes) < 2:
        return None
    usual, other = (size for size, _ in sizes.most_common(2))
    odd = next(look for look in looks if look.size == other)
    return f"{usual[0]}x{usual[1]}, but {os.path.basename(odd.path)} {other[0]}x{other[1]}"


def _kinds(looks: list[Look]) -> str | None:
    palette = [look for look in looks if look.mode in ("P", "1")]
    return os.path.basename(palette[0].path) if palette and len(palette) < len(looks) else None


def _depth(looks: list[Look]) -> list[str]:
    """Pictures of more than 8 bits that cannot be read, or use a sixteenth of their range."""
    deep = [look for look in looks if look.mode == "F" or look.mode.startswith("I")]
    if not deep:
        return []
    highest = 0
    for look in spread(deep, DEEP_LOOKED_AT):
        try:
            highest = max(highest, int(read_image(look.path).max()))
        except BadVideoError as error:
            return [f"pictures of more than 8 bits cannot be read: {error}"]
    rule = "floats in [0, 1]" if deep[0].mode == "F" else "16 bits, 0 to 65535"
    if highest >= 16:
        return [f"pictures of more than 8 bits are read as {rule}"]
    looked = min(len(deep), DEEP_LOOKED_AT)
    return [
        f"pictures of more than 8 bits are read as {rule}, and use a sixteenth of that or less: the brightest of "
        f"{looked} looked at is {highest} of 255, nearly black; scale them (the first: {deep[0].path})"
    ]


# -- masks beside frames


def without_masks(tree: Tree) -> tuple[Tree, list[str]]:
    """The tree without folders of masks, and a line that names them.

    A folder of masks has a twin: a folder of the same names of frames whose path differs in one folder's name
    (``JPEGImages/480p/bear`` and ``Annotations/480p/bear``; ``bear/rgb`` and ``bear/mask``). What tells which of the
    two holds masks is a palette, or a name such as ``mask``, and few colours.
    """
    twins: dict[tuple[int, tuple[str, ...], int], list[Entry]] = {}
    for entry in tree.folders:
        parts = Path(entry.relative).parts
        stems = hash(tuple(os.path.splitext(name)[0] for name in entry.frames))
        for at in range(len(parts)):
            twins.setdefault((at, parts[:at] + parts[at + 1 :], stems), []).append(entry)
    # The name of a leaf says something only where it recurs, as `mask` in every video's folder does.
    leaves = Counter(Path(entry.relative).name for entry in tree.folders)
    masks: dict[str, str] = {}
    decided: dict[tuple[int, str, str], bool] = {}
    for (at, rest, _), entries in twins.items():
        named = {Path(entry.relative).parts[at]: entry for entry in entries}
        if len(named) < 2 or (at == len(rest) and not _recur(named, leaves)):
            continue
        for name, entry in named.items():
            others = [other for key, other in named.items() if key != name]
            key = (at, name, rest[0] if rest and at else "")
            if key not in decided:
                decided[key] = _is_mask(entry, name) and not all(
                    _is_mask(other, Path(other.relative).parts[at]) for other in others
                )
            if decided[key] and _is_mask(entry, name):
                masks[entry.path] = entry.relative
    if not masks:
        return tree, []
    kept = [entry for entry in tree.folders if entry.path not in masks]
    first = next(iter(masks.values()))
    count = counted(len(masks), "folder")
    note = f"{count} of masks beside frames of the same names passed over (the first: {first})"
    return replace(tree, folders=kept), [note]


def _recur(named: dict[str, Entry], leaves: Counter[str]) -> bool:
    return any(name.lower() in MASK_FOLDERS for name in named) or all(leaves[name] > 1 for name in named)


def _is_mask(entry: Entry, name: str) -> bool:
    """Whether the middle picture of a folder is one of labels."""
    path = os.path.join(entry.path, entry.frames[len(entry.frames) // 2])
    suffix = os.path.splitext(path)[1].lower()
    if suffix in (".jpg", ".jpeg"):
        return False
    look = look_at(path)
    if look is None:
        return False
    if look.mode not in ("P", "1") and name.lower() not in MASK_FOLDERS:
        return False
    try:
        with Image.open(path) as image:
            return image.getcolors(FEW_COLOURS) is not None
    except Exception:  # told when it is read
        return False
