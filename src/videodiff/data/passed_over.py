"""Files of a folder that a listing leaves out, counted and named in one line for each kind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations

from videodiff.data.entries import Entry, Tree, posix
from videodiff.data.suffix import by_suffix, suffixes_read
from videodiff.say import counted

# Layouts for which these files are the data.
DATA_OF = {".npy": "array", ".tar": "shards", ".tfrecord": "bair", ".tfrecords": "bair"}


def passed_over(tree: Tree, used: Iterable[Entry], layout: str) -> list[str]:
    """What a user should know of things below a root that are not read; no line if all is.

    Args:
        tree: what lies there.
        used: every entry of every split.
        layout: how it was listed.
    """
    lines = tree.lost_links()
    counts = Counter(tree.passed)
    counts.update({s: len(tree.others.get(s, ())) for s, whose in DATA_OF.items() if layout != whose})
    counts += Counter()  # drops the zeros
    if counts:
        files = counted(counts.total(), "file")
        lines.append(f"{files} passed over: {by_suffix(counts)} (read are {suffixes_read()})")
    kinds = {entry.kind for entry in used}
    if tree.videos and "video" not in kinds:
        lines.append(f"{counted(len(tree.videos), 'video file')} passed over (layout {layout} reads none)")
    if tree.folders and not kinds & {"frames", "image"}:
        folders = counted(len(tree.folders), "folder")
        lines.append(f"{folders} of images passed over (layout {layout} reads none)")
    if tree.empty:
        lines.append(f"{counted(len(tree.empty), 'empty folder')} passed over")
    return lines


def encoded_twice(videos: Iterable[Entry]) -> list[list[Entry]]:
    """Clips that lie in one folder in more than one encoding, told by their names: the entries of each."""
    groups: dict[str, list[Entry]] = {}
    for entry in videos:
        groups.setdefault(os.path.splitext(entry.path)[0], []).append(entry)
    return [entries for entries in groups.values() if len(entries) > 1]


def encodings_note(videos: Iterable[Entry], what: str) -> list[str]:
    """One line on clips in more than one encoding, and what is done about them; none if there are none."""
    found = encoded_twice(videos)
    if not found:
        return []
    clips = counted(len(found), "clip lies", "clips lie")
    names = " and ".join(os.path.basename(entry.path) for entry in found[0])
    return [f"{clips} in more than one encoding under the same name (the first: {names}): {what}"]


def in_two_splits(splits: Mapping[str, Iterable[Entry]]) -> list[str]:
    """One line for each two splits that share video files: equal in name and size, or in name but for the suffix.

    Names that are mere numbers, in files of other sizes and one suffix, are no sign.
    """
    distinct: dict[int, str] = {}  # test may be the list of val
    for split, entries in splits.items():
        distinct.setdefault(id(entries), split)
    files = {
        split: {os.path.splitext(posix(e))[0]: e for e in splits[split] if e.kind == "video"}
        for split in distinct.values()
    }
    lines = []
    for one, other in combinations(files, 2):
        shared = [
            (files[one][name], files[other][name])
            for name in files[one].keys() & files[other].keys()
            if files[one][name].path != files[other][name].path
        ]
        same = [(a, b) for a, b in shared if a.size == b.size or _suffix(a) != _suffix(b)]
        if same:
            a, b = min(same, key=lambda pair: pair[0].path)
            lines.append(
                f"{counted(len(same), 'video')} of {one} may also be in {other}, by name and size or in another "
                f"encoding (the first: {a.path} and {b.path})"
            )
    return lines


def _suffix(entry: Entry) -> str:
    return os.path.splitext(entry.path)[1].lower()
