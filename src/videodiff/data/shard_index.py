"""The index of a tar shard, made from its headers, so that any member is one byte range.

Members of one sample are adjacent and share a key: the name up to the first dot of its last part
(``a/clip.mp4``, ``a/clip.cls``, ``a/clip.json``). Videos are passed over unread; of a sample only the small text
members are looked into. Indices are kept in the user's cache and used again while size and ETag (or time of the last
change) of the shard stay the same.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from videodiff import atomic, placeholder, weights
from videodiff.data.byte_ranges import ChangedError, RangeReader, RemoteFile, is_url, stat_file
from videodiff.data.captions import captions_in, joined
from videodiff.data.clips import natural_key
from videodiff.data.video_io import VIDEO_SUFFIXES
from videodiff.plain import parse_json

# 1 counted frames of cut streams that do not decode, 2 believed headers that go back, 3 knew one caption of a video
FORMAT = 4
MAX_TEXT = 64 * 1024  # bytes of a cls, json or txt member; longer ones are no labels
MAX_HEADER = 2**20  # bytes that are read at once: long names and extended headers are shorter
MAX_CLASSES = 2**20
MAX_FRAMES = 2**31
BUFFER = 16 * 1024  # bytes of one look at the headers: a video's header, and the text members behind it
LABEL_KEYS = ("label", "class", "class_name")
PREPARED_KEY = "videodiff_prepared"  # in the json of shards that videodiff prepare wrote
CAPTION_KEYS = ("caption", "captions", "text", "txt")


@dataclass
class Sample:
    """One video of a shard and what stands beside it.

    Args:
        key: name up to the first dot.
        member: name of the video's member.
        offset: of the video's bytes in the shard.
        size: of the video in bytes.
        cls: content of ``cls``: a number or a name; None without.
        label: the name of the class that the json gives; None without.
        caption: content of ``txt``, one caption a line, or of the json's caption, a text or a list; None without.
        frames: number of frames; None until the video was looked at.
        fault: why the video cannot be read; None if it can, or was not looked at.
        lacking: what is cut off from the video; None if nothing is, or it was not looked at.
        seeks: whether its writer has compared seeking in it with its linear decode.
        unread: the text member beside it that says nothing readable, and why; None if there is none.
    """

    key: str
    member: str
    offset: int
    size: int
    cls: int | str | None = None
    label: str | None = None
    caption: str | None = None
    frames: int | None = None
    fault: str | None = None
    lacking: str | None = None
    seeks: bool = False
    unread: str | None = None


@dataclass
class ShardIndex:
    """The samples of one shard in their order, and what is wrong with it, if anything is."""

    file: RemoteFile
    samples: list[Sample] = field(default_factory=list)
    fault: str | None = None


def expand_braces(pattern: str) -> list[str]:
    """``a-{000..002}.tar`` and ``{a,b}.tar`` written out, as a shell would."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    body = match[1]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", body)
    if numbers is not None:
        first, last = int(numbers[1]), int(numbers[2])
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        step = 1 if last >= first else -1
        choices = [str(n).zfill(width) for n in range(first, last + step, step)]
    elif "," in body:
        choices = body.split(",")
    else:
        return [pattern]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [path for choice in choices for path in expand_braces(head + choice + tail)]


def find_shards(paths: str | Sequence[str]) -> list[str]:
    """Absolute paths and URLs of the shards that folders, globs, brace patterns and lists name, without repeats.

    Raises:
        FileNotFoundError: if a folder or a pattern names no tar file.
        ValueError: for a path that asks for a program.
    """
    found: dict[str, None] = {}
    for path in [paths] if isinstance(paths, str) else paths:
        if path.startswith("pipe:"):
            raise ValueError(f"{path}: programs are not run; give a path or an http(s) URL")
        for one in _expand(path):
            found[one] = None
    if not found:
        raise FileNotFoundError("no shards were named")
    return list(found)


def _expand(path: str) -> list[str]:
    if is_url(path):
        return expand_braces(path)
    if not os.path.exists(path):
        path = os.path.expanduser(path.removeprefix("file://"))
    if os.path.isdir(path):
        files = [str(file) for file in Path(path).rglob("*.tar") if not file.name.startswith(".")]
        if not files:
            raise FileNotFoundError(f"no tar shards below {os.path.abspath(path)}")
        return sorted(map(os.path.abspath, files), key=natural_key)
    if os.path.exists(path):
        return [os.path.abspath(path)]
    files = []
    for one in expand_braces(path):
        some = sorted(glob(one), key=natural_key) if has_magic(one) else [one]
        if not some:
            raise FileNotFoundError(f"no file matches {one}")
        files += some
    return [os.path.abspath(file) for file in files]


def index_shards(paths: Sequence[str]) -> list[ShardIndex]:
    """The indices of shards in their order: from the cache, or read from the headers, several shards at a time."""
    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(index_shard, paths))


def index_shard(path: str) -> ShardIndex:
    """The index of one shard.

    A shard that ends in the middle of a member, or whose headers are damaged, keeps the samples before that; `fault`
    says so. One that is no tar file has none.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if the server cannot be reached.
    """
    file = stat_file(path)
    cached = _from_cache(file)
    if cached is not None:
        return cached
    index = read_headers(file)
    to_cache(index)
    return index


def read_headers(file: RemoteFile) -> ShardIndex:
    """Walk the headers of a tar file; videos are stepped over."""
    index = ShardIndex(file)
    reader = HeaderReader(RangeReader(file), BUFFER)
    try:
        if (found := placeholder.begins(reader.peek(placeholder.HEAD_BYTES), but=("tar",))) is not None:
            index.fault = found
            return index
        with tarfile.open(fileobj=reader, mode="r:") as tar:
            end = 0
            for group in _groups(tar):
                end = max(_end(member) for member in group)
                sample = _sample(tar, group, file.size)
                if sample is not None:
                    index.samples.append(sample)
            if not _has_end_mark(reader, end, tar.offset):
                index.fault = "ends without an end mark: cut short, or damaged"
    except (tarfile.TarError, EOFError) as error:
        index.fault = (
            f"cut short or no tar file ({str(error).splitlines()[0]})" if str(error) else "no tar file"
        )
    except (OSError, ChangedError):
        raise
    except Exception as error:  # tarfile trusts the numbers in headers: what it raises has no common base
        index.fault = f"damaged in a header ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})"
    return index


class HeaderReader(io.BufferedReader):
    """A shard of which no header gets more than `MAX_HEADER` bytes, whatever size it claims."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(MAX_HEADER if size is None or not 0 <= size <= MAX_HEADER else size)


def _end(member: tarfile.TarInfo) -> int:
    return member.offset_data + -(-member.size // 512) * 512


def _has_end_mark(reader: io.BufferedReader, end: int, walked_to: int) -> bool:
    reader.seek(max(end, walked_to - 512, 0))
    block = reader.read(512)
    return len(block) == 512 and not any(block)


def _groups(tar: tarfile.TarFile) -> Iterator[list[tarfile.TarInfo]]:
    """Adjacent regular members of one key; a cut or damaged archive still gives the groups before that."""
    group: list[tarfile.TarInfo] = []
    key = ""
    fault: Exception | None = None
    at = -1
    while True:
        try:
            member = tar.next()
            if member is not None and (member.size < 0 or member.offset <= at):  # the walk would never end
                raise tarfile.ReadError(
                    f"a member of {member.size} bytes at byte {member.offset}, after {at}"
                )
        except Exception as error:  # told when the groups before it are
            member, fault = None, error
        if member is None:
            break
        at = member.offset
        # Or every header of a long shard stays in memory.
        tar.members = []  # type: ignore[attr-defined]  # as the standard library's documentation has it, not its types
        if not member.isreg() or os.path.basename(member.name).startswith("."):
            continue
        its_key = split_key(member.name)[0]
        if group and its_key != key:
            yield group
            group = []
        group, key = [*group, member], its_key
    if group:
        yield group
    if fault is not None:
        raise fault


def split_key(name: str) -> tuple[str, str]:
    """``a.b/clip.two.mp4`` -> (``a.b/clip``, ``two.mp4``): the first dot of the last part divides."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return folder + slash + stem, extension


def _sample(tar: tarfile.TarFile, group: list[tarfile.TarInfo], shard_size: int) -> Sample | None:
    """The sample of a group of members; None if there is no video, or it lies behind the end of the file."""
    videos = [m for m in group if os.path.splitext(m.name)[1].lower() in VIDEO_SUFFIXES]
    if not videos or videos[0].offset_data + videos[0].size > shard_size:
        return None
    sample = Sample(split_key(videos[0].name)[0], videos[0].name, videos[0].offset_data, videos[0].size)
    if videos[0].issparse():
        sample.fault = "a sparse member, which is not one piece; write the shard without"
        return sample
    for member in group:
        extension = split_key(member.name)[1].lower()
        if extension not in ("cls", "json", "txt") or member.size > MAX_TEXT:
            continue
        if _end(member) > shard_size + 511:
            continue
        opened = tar.extractfile(member)
        content = opened.read() if opened else b""
        text = content.decode("utf-8-sig", errors="replace").strip()
        if extension == "cls" and text:
            sample.cls = int(text) if re.fullmatch(r"-?\d{1,9}", text) else text
        elif extension != "cls" and not is_utf8(content):
            sample.unread = f"{member.name}: this text is not UTF-8: {text[:80]!r}"
        elif extension == "txt" and text:
            sample.caption = joined(text.splitlines())
        elif extension == "json":
            try:
                _take_json(sample, text)
            except ValueError as error:
                sample.unread = f"{member.name}: no JSON object ({error})"
    if isinstance(sample.cls, int) and sample.cls >= MAX_CLASSES:
        sample.fault = f"class {sample.cls}; classes count from 0 and end below {MAX_CLASSES}"
        sample.cls = sample.label = None
    return sample


def is_utf8(content: bytes) -> bool:
    """Whether bytes are a text."""
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return True


def _take_json(sample: Sample, text: str) -> None:
    values = parse_json(text)
    if not isinstance(values, dict):
        raise ValueError(f"it is a {type(values).__name__}")
    label = next((values[k] for k in LABEL_KEYS if isinstance(values.get(k), (str, int))), None)
    if isinstance(label, str):
        sample.label = label
    elif label is not None and sample.cls is None:
        sample.cls = int(label)
    frames = values.get("frames")
    if values.get(PREPARED_KEY) and isinstance(frames, int) and 0 < frames < MAX_FRAMES:
        # Found when it was encoded; of other shards the frames are counted here.
        sample.frames, sample.seeks = frames, values.get("seeks") is True
    rows = [captions_in({"caption": values[key]}, key) for key in CAPTION_KEYS if values.get(key) is not None]
    captions = next((row for row in rows if row is not None), None)
    sample.caption = sample.caption or (None if captions is None else joined(captions))


def cache_folder() -> Path | None:
    """Where indices are kept: the folder ``shards`` of the package's cache, or None without one."""
    folder = weights.cache_folder()
    return folder and folder / "shards"


def _cache_file(file: RemoteFile) -> Path | None:
    folder = cache_folder()
    if folder is None or not file.tag:  # nothing would tell that the shard has changed
        return None
    digest = hashlib.blake2b(file.path.encode(errors="surrogateescape"), digest_size=16)
    return folder / f"{digest.hexdigest()}.json"


def _from_cache(file: RemoteFile) -> ShardIndex | None:
    cached = _cache_file(file)
    if cached is None:
        return None
    try:
        values = parse_json(cached.read_text(encoding="utf-8"))
        if values["format"] != FORMAT or values["file"] != asdict(file):
            return None
        return ShardIndex(file, [Sample(*row) for row in values["samples"]], values["fault"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def to_cache(index: ShardIndex) -> None:
    """Keep an index; without a place to write to it is made again next time."""
    target = _cache_file(index.file)
    if target is None:
        return
    values: dict[str, Any] = {
        "format": FORMAT,
        "file": asdict(index.file),
        "fault": index.fault,
        "samples": [list(asdict(sample).values()) for sample in index.samples],
    }
    with suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(target, json.dumps(values))
