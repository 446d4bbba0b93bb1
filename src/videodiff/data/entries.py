"""What lies in a folder: its videos, folders of frames and other files, listed once, split, and named by a hash."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from videodiff.data.image_read import ANIMATED_SUFFIXES, IMAGE_SUFFIXES, is_animated
from videodiff.data.suffix import OTHER_SUFFIXES, by_suffix, could_be_video, suffixes_read
from videodiff.data.video_probe import VIDEO_SUFFIXES
from videodiff.seeding import uniform

SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


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


def below(entries: list[Entry], folder: str) -> list[Entry]:
    """The entries below a top folder, their relative paths counted from it."""
    inside = []
    for entry in entries:
        top, *rest = Path(entry.relative).parts or ("",)
        if top == folder and rest:
            inside.append(replace(entry, relative=os.path.join(*rest)))
        elif top == folder:  # the folder of the split is itself one folder of frames
            inside.append(replace(entry, relative="."))
    return inside


def by_split_folder(
    entries: list[Entry], names: dict[str, tuple[str, ...]] = SPLIT_FOLDERS
) -> dict[str, list[Entry]] | None:
    """Entries by the top folder that names their split; None where no folder names the training split."""
    tops = {Path(entry.relative).parts[0] for entry in entries if len(Path(entry.relative).parts) > 1}
    tops |= {entry.relative for entry in entries if entry.kind == "frames"}
    present = {split: next((n for n in known if n in tops), None) for split, known in names.items()}
    if present.get("train") is None:
        return None
    return {split: below(entries, name) for split, name in present.items() if name is not None}


def class_folders(entries: list[Entry]) -> dict[str, str] | None:
    """Class of each video by its relative path, if all video files lie in folders that look like classes, else None.

    They do when every file is equally deep, in one of at least two folders of different names, with two files or
    more per folder on average. Folders of frames have no classes: one level looks like any other there.
    """
    parents = {entry.relative: Path(entry.relative).parent for entry in entries}
    folders = set(parents.values())
    if entries[0].kind not in ("video", "image") or len({len(p.parts) for p in folders}) != 1:
        return None
    if len({p.name for p in folders}) != len(folders) or len(folders) < 2 or len(entries) < 2 * len(folders):
        return None
    return {relative: parent.name for relative, parent in parents.items()}


def complete(
    given: dict[str, list[Entry]], val_fraction: float, train_split: str = "train"
) -> dict[str, list[Entry]]:
    """Train, val and test from those splits that a data set has.

    Where ``val`` is missing, about `val_fraction` of the training videos, drawn by a hash of their groups, become
    validation (at least one, if there are two). Where ``test`` is missing, test is validation. With a single video,
    or `val_fraction` 0, validation is the test split, or else the training videos themselves.

    Args:
        given: at least train.
        val_fraction: share of the training videos to hold out.
        train_split: ``all`` adds every other split's videos to the training videos.
    """
    splits = {name: entries for name, entries in given.items() if entries or name == "train"}
    if train_split == "all":
        union = {id(entry): entry for entries in splits.values() for entry in entries}
        splits["train"] = sorted(union.values(), key=lambda entry: (natural_key(posix(entry)), entry.path))
    if "val" not in splits:
        held_out = _hold_out(splits["train"], val_fraction)
        if held_out:
            splits["val"] = [e for e in splits["train"] if e in held_out]
            splits["train"] = [e for e in splits["train"] if e not in held_out]
        else:
            splits["val"] = splits.get("test", splits["train"])
    splits.setdefault("test", splits["val"])
    return splits


def split_videos(root: str | os.PathLike[str], val_fraction: float = 0.1) -> dict[str, list[Entry]]:
    """The train, val and test videos of a folder: its sub-folders of those names, and what :func:`complete` adds."""
    entries = find_videos(root)
    return complete(by_split_folder(entries) or {"train": entries}, val_fraction)


def group_of(entry: Entry) -> str:
    """What must stay on one side of a split: the entry's group; else, for frames, their common parent folder."""
    if entry.group is not None:
        return entry.group
    parent = Path(entry.relative).parent.as_posix()
    return parent if entry.kind == "frames" and parent != "." else posix(entry)


def _hold_out(entries: list[Entry], fraction: float) -> set[Entry]:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(group_of(entry), []).append(entry)
    if len(groups) < 2 <= len(entries) and all(entry.group is None for entry in entries):
        groups = {posix(entry): [entry] for entry in entries}
    if fraction == 0 or len(groups) < 2:
        return set()
    ranked = sorted(groups, key=lambda group: uniform("split", group))
    chosen = [group for group in ranked if uniform("split", group) < fraction][: len(ranked) - 1]
    return {entry for group in chosen or ranked[:1] for entry in groups[group]}


def limited(entries: list[Entry], limit: int | None) -> list[Entry]:
    """At most `limit` entries in their order, drawn by a hash of their relative paths."""
    if limit is None or limit >= len(entries):
        return entries
    order = sorted(range(len(entries)), key=lambda at: uniform("limit", entries[at].relative))
    return [entries[at] for at in sorted(order[:limit])]


def listing_hash(splits: dict[str, list[Entry]]) -> str:
    """Hex digest over path, size, class, caption and range of every video of every split; the root may move."""
    digest = hashlib.blake2b(digest_size=16)
    for split in sorted(splits):
        for entry in splits[split]:
            facts = [split, posix(entry), entry.size]
            if entry.label is not None or entry.caption is not None or entry.first or entry.last is not None:
                facts += [entry.label, entry.caption, entry.first, entry.last]
            digest.update(("\0".join(map(str, facts)) + "\n").encode(errors="surrogateescape"))
    return digest.hexdigest()
