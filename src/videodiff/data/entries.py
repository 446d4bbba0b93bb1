"""The contents of a folder: videos, folders of frames and other files, listed once, split, and hashed."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from videodiff.data.image_read import ANIMATED_SUFFIXES, IMAGE_SUFFIXES, is_animated
from videodiff.data.suffix import OTHER_SUFFIXES, by_suffix, could_be_video, suffixes_read
from videodiff.data.video_file import VIDEO_SUFFIXES

LOOKED_AT = 500  # pictures whose headers are read where a listing is made


@dataclass(frozen=True)
class Entry:
    """One video of a set.

    Args:
        path: the file, or the folder of frames.
        relative: its path below the folder of its split; what names it in hashes and messages.
        size: bytes of a file or record, number of frames of a folder.
        frames: sorted file names of a folder of frames.
        kind: how it is read: a file that is a video (an animated picture, too), a folder of frames, a still, ...
        label: name of its class.
        group: videos of one group stay on one side when validation is held out.
        caption: text that goes with it.
        first: number of the first frame that belongs to it.
        last: number after the last frame that belongs to it; None means all.
        item: number of a sequence in an array, or offset of a record in a file.
        count: frames of a sequence or record, where the listing tells.
        shown: whether seeking in this video file was compared with its linear decode when it was written.
    """

    path: str
    relative: str
    size: int
    frames: tuple[str, ...] = ()
    kind: Literal["video", "frames", "image", "array", "record"] = "video"
    label: str | None = None
    group: str | None = None
    caption: str | None = None
    first: int = 0
    last: int | None = None
    item: int = 0
    count: int | None = None
    shown: bool = False


@dataclass(frozen=True)
class Tree:
    """All that a folder holds, hidden things apart.

    Args:
        root: the folder.
        videos: video files in natural order.
        folders: folders that hold images, in natural order.
        others: relative paths of other known files by suffix.
        empty: relative paths of folders that hold nothing.
        passed: number of files that could be videos or pictures and are not read, by suffix.
        dangling: relative paths of links that lead nowhere, or in a circle.
    """

    root: str
    videos: list[Entry]
    folders: list[Entry]
    others: dict[str, list[str]]
    empty: list[str]
    passed: dict[str, int] = field(default_factory=dict)
    dangling: list[str] = field(default_factory=list)

    def nothing(self) -> str:
        """What to say where there is neither a video nor a picture."""
        line = "; ".join([f"no videos and no folders of images below {self.root}", *self.lost_links()])
        if not self.passed:
            return line
        return f"{line}; passed over: {by_suffix(self.passed)} (read are {suffixes_read()})"

    def lost_links(self) -> list[str]:
        """One line on links whose target is not there, with the first names; none if there are none."""
        count = len(self.dangling)
        if not count:
            return []
        names = ", ".join(self.dangling[:3]) + (", ..." if count > 3 else "")
        links = "1 link leads" if count == 1 else f"{count} links lead"
        return [f"{links} to nothing and cannot be read: {names} (is the disk they point to mounted?)"]


@dataclass
class Listing:
    """The videos of a data set by split, and how they were found.

    Args:
        layout: its layout's name.
        splits: entries of train, val and test.
        class_names: classes in label order, or None.
        notes: what a user should know: lists used, files missing, folders passed over.
    """

    layout: str
    splits: dict[str, list[Entry]]
    class_names: list[str] | None = None
    notes: list[str] = field(default_factory=list)


def natural_key(text: str) -> list[tuple[int, int | str]]:
    """Sort key under which ``frame2`` comes before ``frame10``."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"([0-9]+)", text) if part]


def posix(entry: Entry) -> str:
    """The relative path of an entry with forward slashes."""
    return Path(entry.relative).as_posix()


def top_of(entry: Entry) -> str:
    """Name of the folder right below the root that an entry lies in or is; empty for the root's own."""
    return next(iter(Path(entry.relative).parts), "")


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Entries in the natural order of their relative paths."""
    return sorted(entries, key=lambda entry: natural_key(posix(entry)))


def scan(root: str | os.PathLike[str], look_at_all: bool = False) -> Tree:
    """Walk through a folder once. Hidden files and folders are passed over; links are followed, once.

    Animated pictures are videos. Whether a folder holds some is told from at most `LOOKED_AT` files spread over all
    pictures; where one of them is animated, every file is looked at.

    Args:
        root: the folder.
        look_at_all: open every picture that could be animated.

    Raises:
        FileNotFoundError: if `root` is no folder.
    """
    root = os.path.abspath(root)
    if not os.path.isdir(root):
        raise FileNotFoundError(
            f"no such data folder: {root}; give the folder of your copy (fit: --data.root DIR)"
        )
    videos: list[Entry] = []
    folders: list[Entry] = []
    others: dict[str, list[str]] = {}
    empty: list[str] = []
    passed: Counter[str] = Counter()
    dangling: list[str] = []
    seen: set[str] = set()
    for folder, children, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        children[:] = [] if real in seen else [c for c in children if not c.startswith(".")]
        if real in seen:
            continue
        seen.add(real)
        lost = dangling_links(folder)
        files = [f for f in files if not f.startswith(".") and f not in lost]
        dangling += [os.path.relpath(os.path.join(folder, f), root) for f in lost]
        if not children and not files and not lost and folder != root:
            empty.append(os.path.relpath(folder, root))
        for file in files:
            path, suffix = os.path.join(folder, file), os.path.splitext(file)[1].lower()
            if suffix in VIDEO_SUFFIXES and os.path.isfile(path):
                videos.append(Entry(path, os.path.relpath(path, root), os.path.getsize(path)))
            elif suffix in VIDEO_SUFFIXES:
                passed[f"{suffix} (no regular file)"] += 1
            elif suffix in OTHER_SUFFIXES:
                others.setdefault(suffix, []).append(os.path.relpath(path, root))
            elif could_be_video(file):
                passed[suffix] += 1
        images = sorted(
            (f for f in files if os.path.splitext(f)[1].lower() in IMAGE_SUFFIXES), key=natural_key
        )
        if images:
            relative = os.path.relpath(folder, root)
            folders.append(Entry(folder, relative, len(images), tuple(images), "frames"))
    sorted_others = {suffix: sorted(paths, key=natural_key) for suffix, paths in others.items()}
    animated, folders = without_animated(root, in_order(folders), look_at_all)
    videos = grouped_by_name(in_order([*videos, *animated]))
    return Tree(
        root, videos, folders, sorted_others, sorted(empty), dict(passed), sorted(dangling, key=natural_key)
    )


def dangling_links(folder: str) -> set[str]:
    """Names of the links in a folder that lead nowhere, or in a circle, and would be videos, pictures or folders."""
    with os.scandir(folder) as found:  # the directory itself tells links apart, no file is asked
        links = [entry.name for entry in found if entry.is_symlink() and not entry.name.startswith(".")]
    known = {*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, *OTHER_SUFFIXES, ""}
    return {
        name
        for name in links
        if (os.path.splitext(name)[1].lower() in known or could_be_video(name))
        and not os.path.exists(os.path.join(folder, name))
    }


def without_animated(root: str, folders: list[Entry], look_at_all: bool) -> tuple[list[Entry], list[Entry]]:
    """The animated pictures of folders of images, each a video, and the folders with what is left in them."""
    could_be = [
        os.path.join(entry.path, name)
        for entry in folders
        for name in entry.frames
        if os.path.splitext(name)[1].lower() in ANIMATED_SUFFIXES
    ]
    some = could_be if look_at_all else spread(could_be, LOOKED_AT)
    if not any(map(is_animated, some)):
        return [], folders
    animated = {path for path in could_be if is_animated(path)}
    videos = [Entry(path, os.path.relpath(path, root), os.path.getsize(path)) for path in sorted(animated)]
    stills = []
    for entry in folders:
        left = tuple(name for name in entry.frames if os.path.join(entry.path, name) not in animated)
        if left:
            stills.append(replace(entry, frames=left, size=len(left)))
    return videos, stills


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` items, evenly spread from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(k * (len(items) - 1) / (count - 1))] for k in range(count)]


def grouped_by_name(videos: list[Entry]) -> list[Entry]:
    """The same entries; files of one folder and one name but for the suffix (one clip in two encodings) are a group."""
    first: dict[str, Entry] = {}
    several: set[str] = set()
    names = [os.path.splitext(posix(entry))[0] for entry in videos]
    for name, entry in zip(names, videos, strict=True):
        if first.setdefault(name, entry) is not entry:
            several.add(name)
    return [
        replace(entry, group=posix(first[name])) if name in several else entry
        for name, entry in zip(names, videos, strict=True)
    ]


def find_videos(root: str | os.PathLike[str]) -> list[Entry]:
    """List the videos below a folder in natural order: its video files, or else its folders of images.

    Raises:
        FileNotFoundError: if `root` is no folder, or holds neither video files nor images.
    """
    tree = scan(root)
    entries = tree.videos or tree.folders
    if not entries:
        raise FileNotFoundError(tree.nothing())
    return entries
