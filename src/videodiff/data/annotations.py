"""Annotations beside the videos: captions, and lists of the clips to take."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from videodiff import placeholder
from videodiff.data.entries import Entry, Listing
from videodiff.names import is_text
from videodiff.plain import parse_json
from videodiff.reading import csv_records
from videodiff.say import counted

RANGE = re.compile(r"^(?P<path>.*?)(?:\s+|,)(?P<first>\d+)(?:\s+|,)(?P<last>\d+)$")


def in_root(entry: Entry, root: str) -> str:
    """Path of an entry below the root of the data, with forward slashes: what lists name it by."""
    if entry.kind in ("array", "record"):
        return Path(entry.relative).as_posix()
    return Path(os.path.relpath(entry.path, root)).as_posix()


def mapped(listing: Listing, change: Callable[[Entry], list[Entry]]) -> Listing:
    """The listing with every entry replaced by what `change` returns for it."""
    splits = {
        name: [new for entry in entries for new in change(entry)] for name, entries in listing.splits.items()
    }
    return replace(listing, splits=splits, notes=list(listing.notes))


# --- captions


def add_captions(listing: Listing, root: str, captions: str) -> Listing:
    """Give every video its caption; the number of those without one is noted.

    Args:
        listing: the videos.
        root: folder that paths are relative to.
        captions: ``txt`` for a text file of the same name beside each video, or a ``.csv`` or ``.jsonl`` file with
            ``path`` and ``caption`` (relative to the root, else to the current folder).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, names videos twice, or gives no video a caption.
    """
    if captions == "txt":
        texts = None
    else:
        texts = read_captions(find_file(captions, root, "captions"))
    used: set[str] = set()

    def caption(entry: Entry) -> list[Entry]:
        name = in_root(entry, root)
        text = beside(entry) if texts is None else texts.get(name)
        used.update([name] if text is not None else [])
        return [replace(entry, caption=text or "")]

    result = mapped(listing, caption)
    every = {in_root(entry, root) for entries in listing.splits.values() for entry in entries}
    if not used:
        raise ValueError(
            f"data.captions {captions} gives none of the {len(every)} videos of {root} a caption"
        )
    result.notes.append(f"captions of {len(used)} of {len(every)} videos")
    if texts is not None and len(texts) > len(used):
        result.notes.append(f"{counted(len(texts) - len(used), 'caption')} of no video in use")
    return result


def beside(entry: Entry) -> str | None:
    """The text beside a video, or None."""
    for path in (os.path.splitext(entry.path)[0] + ".txt", entry.path + ".txt"):
        if os.path.isfile(path):
            placeholder.refuse(path)
            text = Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape").strip()
            return checked_caption(text, path)
    return None


def checked_caption(text: str, where: str) -> str:
    """The caption, which must be text: a path may be any bytes, words may not.

    Raises:
        ValueError: if it is not UTF-8.
    """
    if not is_text(text):
        raise ValueError(f"{where}: this caption is not UTF-8: {text[:80]!r}; save the file in that encoding")
    return text


def read_captions(path: str) -> dict[str, str]:
    """Caption by path, from a CSV with a header or from JSON lines."""
    texts: dict[str, str] = {}
    if path.endswith(".jsonl"):
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = [_json_line(path, number, line) for number, line in enumerate(file, 1) if line.strip()]
    elif path.endswith(".csv"):
        rows = csv_records(path, "utf-8-sig", "surrogateescape")
    else:
        raise ValueError(f"data.captions must be txt, a .csv or a .jsonl file, got {path}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row.get("path"), str) or not isinstance(row.get("caption"), str):
            raise ValueError(f"{path}: entry {number} lacks path or caption: {row}")
        name = Path(row["path"]).as_posix()
        checked_caption(row["caption"], f"{path}, entry {number}")
        if texts.setdefault(name, row["caption"].strip()) != row["caption"].strip():
            raise ValueError(f"{path}: two captions for {name}")
    return texts


def _json_line(path: str, number: int, line: str) -> dict:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: no JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"{path}, line {number}: not an object with path and caption")
    return row


# --- clip lists


def take_clips(listing: Listing, root: str, clip_list: str) -> Listing:
    """Keep only the clips that a list names, in the splits that they are in.

    A line is a path relative to the root, and optionally the first frame and the one after the last, after white
    space or commas; ``#`` starts a comment line. A video may be named more than once.

    Raises:
        FileNotFoundError: if there is no such list, or it names a video that is not there.
        ValueError: if a range is empty, or no training clip is left.
    """
    path = find_file(clip_list, root, "clip_list")
    known = {in_root(entry, root) for entries in listing.splits.values() for entry in entries}
    wanted: dict[str, list[tuple[int, int | None]]] = {}
    for number, line in enumerate(Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        name, first, last = parse_line(os.fsdecode(line), known)
        if name not in known:
            raise FileNotFoundError(f"{path}, line {number}: no such video in {root}: {name}")
        if last is not None and last <= first:
            raise ValueError(f"{path}, line {number}: no frames from {first} to before {last}")
        wanted.setdefault(name, []).append((first, last))

    def clips(entry: Entry) -> list[Entry]:
        return [_cut(entry, first, last) for first, last in wanted.get(in_root(entry, root), [])]

    result = mapped(listing, clips)
    if not result.splits["train"]:
        raise ValueError(f"{path} names no training video of {root}")
    for split in ("val", "test"):  # a list without validation clips validates with the training clips
        result.splits[split] = result.splits[split] or result.splits["val"] or result.splits["train"]
    counts = ", ".join(f"{len(entries)} {split}" for split, entries in result.splits.items())
    result.notes.append(f"clip list {os.path.basename(path)}: {counts}")
    return result


def _cut(entry: Entry, first: int, last: int | None) -> Entry:
    if first == 0 and last is None:
        return entry
    return replace(entry, relative=f"{entry.relative}#{first}-{last}", first=first, last=last)


def parse_line(line: str, known: set[str]) -> tuple[str, int, int | None]:
    """Path, first frame and frame after the last of a line; a line that is a known path is just that."""
    line = line if Path(line).as_posix() in known else line.strip()
    match = None if Path(line).as_posix() in known else RANGE.match(line)
    if match is None:
        return Path(line).as_posix(), 0, None
    return Path(match["path"].strip()).as_posix(), int(match["first"]), int(match["last"])


def find_file(name: str, root: str, argument: str) -> str:
    """A file named relative to the root or to the current folder."""
    for path in (os.path.join(root, os.path.expanduser(name)), os.path.abspath(name)):
        if os.path.isfile(path):
            placeholder.refuse(path)
            return path
    raise FileNotFoundError(f"data.{argument}: no file {name}, neither in {root} nor here")
