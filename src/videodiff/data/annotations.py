"""Annotations beside the videos: captions, and lists of the clips to take."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from videodiff import placeholder
from videodiff.data.captions import captions_in, checked_caption, joined
from videodiff.data.entries import Entry, Listing
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
    """Give every video its captions, one a line of its text; the number of those without one is noted.

    Args:
        listing: the videos.
        root: folder that paths are relative to.
        captions: ``txt`` for a text file of the same name beside each video, one caption a line (beside a file of many
            sequences that of one sequence a line), or a ``.csv`` or ``.jsonl`` file with ``path`` and ``caption``
            (relative to the root, else to the current folder), which may name a video more than once.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or gives no video a caption.
    """
    every = {in_root(entry, root): entry for entries in listing.splits.values() for entry in entries}
    if captions == "txt":
        texts = texts_beside(every)
    else:
        texts = read_captions(find_file(captions, root, "captions"))
    used = {name for name in every if texts.get(name)}

    def caption(entry: Entry) -> list[Entry]:
        return [replace(entry, caption=texts.get(in_root(entry, root), ""))]

    result = mapped(listing, caption)
    if not used:
        raise ValueError(
            f"data.captions {captions} gives none of the {len(every)} videos of {root} a caption"
        )
    result.notes.append(f"captions of {len(used)} of {len(every)} videos")
    if strangers := texts.keys() - every.keys():
        result.notes.append(f"{counted(len(strangers), 'caption')} of no video in use")
    return result


def texts_beside(entries: Mapping[str, Entry]) -> dict[str, str]:
    """The text of each video that has a text file beside it; of a file of many sequences a line for each of them.

    Raises:
        ValueError: if one is not UTF-8, or has not as many lines as its file has sequences.
    """
    texts: dict[str, str] = {}
    sequences: dict[str, list[tuple[int, str]]] = {}
    for name, entry in entries.items():
        if entry.kind in ("array", "record"):
            sequences.setdefault(entry.path, []).append((entry.item, name))
        elif (path := side_file(entry)) is not None:
            texts[name] = read_side_file(path).strip()
    for places in sequences.values():
        path = side_file(entries[places[0][1]])
        lines = [] if path is None else read_side_file(path).splitlines()
        if path is not None and len(lines) != len(places):
            raise ValueError(
                f"{path}: {counted(len(lines), 'line')}, and {counted(len(places), 'sequence')} beside it; a line is "
                "the caption of one sequence (a .csv or .jsonl file may give it several)"
            )
        texts |= {name: line for (_, name), line in zip(sorted(places), lines, strict=False)}
    return texts


def side_file(entry: Entry) -> str | None:
    """The text file beside a video, or None."""
    whole = entry.path if entry.kind == "frames" else os.path.splitext(entry.path)[0]
    return next((path for path in (f"{whole}.txt", f"{entry.path}.txt") if os.path.isfile(path)), None)


def read_side_file(path: str) -> str:
    """Its text.

    Raises:
        ValueError: if it is not UTF-8.
    """
    placeholder.refuse(path)
    return checked_caption(Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape"), path)


def read_captions(path: str) -> dict[str, str]:
    """Captions by path, one a line, from a CSV with a header or from JSON lines.

    A video that is named again has another caption; ``caption`` of a JSON line may be a list of them.
    """
    texts: dict[str, list[str]] = {}
    for number, row in enumerate(table_rows(path, "captions"), 1):
        captions = captions_in(row, f"{path}, entry {number}")
        if not isinstance(row.get("path"), str) or captions is None:
            raise ValueError(f"{path}: entry {number} lacks path or caption: {row}")
        texts.setdefault(Path(row["path"]).as_posix(), []).extend(captions)
    return {name: joined(captions) for name, captions in texts.items()}


def table_rows(path: str, argument: str) -> list[dict[str, Any]]:
    """The rows of a CSV with a header or of JSON lines."""
    if path.endswith(".jsonl"):
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            return [_json_line(path, number, line) for number, line in enumerate(file, 1) if line.strip()]
    if path.endswith(".csv"):
        return list(csv_records(path, "utf-8-sig", "surrogateescape"))
    raise ValueError(f"data.{argument} must be txt, a .csv or a .jsonl file, got {path}")


def _json_line(path: str, number: int, line: str) -> dict[str, Any]:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: no JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"{path}, line {number}: not an object with a path")
    return row


# --- clip lists


def take_clips(listing: Listing, root: str, clip_list: str) -> Listing:
    """Keep only the clips that a list names, in the splits that they are in.

    A line is a path relative to the root, and optionally the first frame and the one after the last, after white
    space or commas; ``#`` starts a comment line. A video may be named more than once. A ``.csv`` whose header has a
    column ``path``, or JSON lines, may have ``first``, ``last`` and ``caption`` too; a clip that is named again has
    another caption.

    Raises:
        FileNotFoundError: if there is no such list, or it names a video that is not there.
        ValueError: if a range is empty, or no training clip is left.
    """
    path = find_file(clip_list, root, "clip_list")
    known = {in_root(entry, root) for entries in listing.splits.values() for entry in entries}
    wanted: dict[str, list[Named]] = {}
    has_captions = False
    for clip in _table_clips(path) if _is_table(path) else _line_clips(path, known):
        if clip.name not in known:
            raise FileNotFoundError(f"{clip.where}: no such video in {root}: {clip.name}")
        if clip.last is not None and clip.last <= clip.first:
            raise ValueError(f"{clip.where}: no frames from {clip.first} to before {clip.last}")
        has_captions |= clip.captions is not None
        wanted.setdefault(clip.name, []).append(clip)

    def clips(entry: Entry) -> list[Entry]:
        named = wanted.get(in_root(entry, root), [])
        if not has_captions:
            return [_cut(entry, clip.first, clip.last) for clip in named]
        texts: dict[tuple[int, int | None], list[str]] = {}
        for clip in named:
            texts.setdefault((clip.first, clip.last), []).extend(clip.captions or ())
        return [replace(_cut(entry, *place), caption=joined(those)) for place, those in texts.items()]

    result = mapped(listing, clips)
    if not result.splits["train"]:
        raise ValueError(f"{path} names no training video of {root}")
    for split in ("val", "test"):  # a list without validation clips validates with the training clips
        result.splits[split] = result.splits[split] or result.splits["val"] or result.splits["train"]
    counts = ", ".join(f"{len(entries)} {split}" for split, entries in result.splits.items())
    with_captions = ", with captions" * has_captions
    result.notes.append(f"clip list {os.path.basename(path)}: {counts}{with_captions}")
    return result


class Named(NamedTuple):
    """A clip as a list names it: where it does so, path, first frame, the one after the last, and captions if any."""

    where: str
    name: str
    first: int = 0
    last: int | None = None
    captions: list[str] | None = None


def _is_table(path: str) -> bool:
    """Whether a list has named columns."""
    if path.endswith(".csv"):
        with open(path, "rb") as file:
            head = file.readline(2**16).removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
        return "path" in [name.strip().strip('"') for name in head.split(",")]
    return path.endswith(".jsonl")


def _table_clips(path: str) -> Iterator[Named]:
    for number, row in enumerate(table_rows(path, "clip_list"), 1):
        where = f"{path}, entry {number}"
        if not isinstance(row.get("path"), str):
            raise ValueError(f"{where} lacks a path: {row}")
        places: list[int | None] = []
        for key in ("first", "last"):
            value = row.get(key)
            if value in (None, ""):
                places.append(None)
            elif isinstance(value, bool) or not re.fullmatch(r"\d{1,9}", str(value).strip()):
                raise ValueError(f"{where}: {key} is no number of a frame: {value!r}")
            else:
                places.append(int(value))
        captions = captions_in(row, where) if row.get("caption") is not None else None
        if row.get("caption") is not None and captions is None:
            raise ValueError(f"{where}: caption is no text and no list of texts: {row['caption']!r}")
        yield Named(where, Path(row["path"]).as_posix(), places[0] or 0, places[1], captions)


def _line_clips(path: str, known: set[str]) -> Iterator[Named]:
    for number, line in enumerate(Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if line.strip() and not line.startswith(b"#"):
            yield Named(f"{path}, line {number}", *parse_line(os.fsdecode(line), known))


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
