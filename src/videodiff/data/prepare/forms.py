"""Forms of prepared data: a tree of files, one file of frames per split, or tar shards; all resume after a kill."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from abc import ABC, abstractmethod
from itertools import chain, count
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.data.prepare.settings import Settings
from videodiff.data.prepared import read_blocks, sha256_of
from videodiff.data.shard_index import PREPARED_KEY
from videodiff.data.shared_memory import tell


class Form(ABC):
    """Takes finished videos in the order of the manifest.

    What was taken is known from the manifest's lines alone, so a form that is made from the lines of an interrupted
    run first throws away whatever is not in them.

    Args:
        folder: where the data go.
        settings: of the preparation.
        class_names: classes in label order, or None.
        lines: of the kept videos that were taken so far.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        class_names: list[str] | None,
        lines: list[dict[str, Any]],
    ) -> None:
        self.folder, self.settings, self.class_names = folder, settings, class_names
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ends = self.restore(lines)

    @abstractmethod
    def restore(self, lines: list[dict[str, Any]]) -> dict[str, int]:
        """Bring the files to the state after the given lines; the size in bytes of every file that can grow."""

    @abstractmethod
    def take(self, line: dict[str, Any], part: Path) -> None:
        """Put a finished part to its place and write into ``line["out"]`` where that is."""

    def finish(self) -> dict[str, int]:
        """Close the data; the size in bytes of every file that training will map or index."""
        return dict(self.ends)


def _cut(folder: Path, lines: list[dict[str, Any]], suffix: str) -> dict[str, int]:
    """Cut growing files back to where the lines end; files of no line vanish.

    Raises:
        ValueError: if a file is shorter than its lines say.
    """
    ends: dict[str, int] = {}
    for line in lines:
        out = line["out"]
        ends[out["file"]] = max(ends.get(out["file"], 0), out["end"])
    for file in folder.glob(f"*{suffix}"):
        if file.name not in ends:
            file.unlink()
    for name, end in ends.items():
        size = os.path.getsize(folder / name) if (folder / name).exists() else 0
        if size < end:
            raise ValueError(
                f"{folder / name} has {size} bytes, {end} were written; remove its folder and start again"
            )
        os.truncate(folder / name, end)
    return ends


def count_whole(
    folder: Path, lines: list[dict[str, Any]], settings: Settings, class_names: list[str] | None
) -> int:
    """How many videos have all their data as they were written, up to the first that lacks or changed some; it is told.

    Everything is read once: what a preparation goes on from becomes part of a finished set.
    """
    for number, line in enumerate(lines):
        out = line["out"]
        if out is None:
            continue
        file = folder / out["file"]
        size, needed = file.stat().st_size if file.is_file() else 0, out.get("end", out["bytes"])
        if size < needed:
            found = f"has {size} bytes of {needed}"
        else:
            is_whole = sha256_of(file, out.get("offset", 0), out["bytes"]) == out["sha256"]
            if is_whole and (settings.form != "shards" or _is_framed(file, line, settings, class_names)):
                continue
            found = "is damaged"
        tell(f"{file} {found}; {line['path']} and the videos after it are prepared anew")
        return number
    return len(lines)


class PackedForm(Form):
    """``train.u8``, ``val.u8``, ``test.u8``: the frames of all videos, one after the other."""

    def restore(self, lines: list[dict[str, Any]]) -> dict[str, int]:
        return _cut(self.folder, lines, ".u8")

    def take(self, line: dict[str, Any], part: Path) -> None:
        name = f"{line['split']}.u8"
        start = self.ends.get(name, 0)
        with open(self.folder / name, "ab", opener=atomic.no_link) as file:
            for block in read_blocks(part):
                file.write(block)
        self.ends[name] = start + line["out"]["bytes"]
        line["out"] |= {"file": name, "offset": start, "end": self.ends[name]}
        part.unlink()


class VideoForm(Form):
    """``train/...mp4`` as the videos lay before; labels stay folders."""

    def restore(self, lines: list[dict[str, Any]]) -> dict[str, int]:
        self.used = {line["out"]["file"].lower() for line in lines}
        return {}

    def take(self, line: dict[str, Any], part: Path) -> None:
        name = self._free(f"{line['split']}/{_without_suffix(line['path'])}", line["path"])
        self.used.add(name.lower())
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, target)
        line["out"] |= {"file": name}

    def _free(self, stem: str, path: str) -> str:
        """A name no other video has, also where letters' case does not count."""
        names = (f"{stem}_{n}" for n in count(2))
        candidates = chain((stem, f"{stem}_{path.rpartition('.')[2]}"), names)
        return next(f"{name}.mp4" for name in candidates if f"{name}.mp4".lower() not in self.used)


class ShardForm(Form):
    """``train-000000.tar`` and so on, of about ``settings.shard_bytes``: ``key.mp4``, ``key.cls``, ``key.json``."""

    def restore(self, lines: list[dict[str, Any]]) -> dict[str, int]:
        self.used = {line["out"]["key"].lower() for line in lines}
        return _cut(self.folder, lines, ".tar")

    def take(self, line: dict[str, Any], part: Path) -> None:
        split, out = line["split"], line["out"]
        number = max((int(n[-10:-4]) for n in self.ends if n.startswith(f"{split}-")), default=0)
        if self.ends.get(f"{split}-{number:06d}.tar", 0) >= self.settings.shard_bytes:
            number += 1
        name = f"{split}-{number:06d}.tar"
        key = self._free(_without_suffix(line["path"]))
        self.used.add(key.lower())
        start = self.ends.get(name, 0)
        header, behind = _frame_of(line, key, self.settings, self.class_names)
        with open(self.folder / name, "ab", opener=atomic.no_link) as file:
            file.write(header)
            for block in read_blocks(part):
                file.write(block)
            file.write(behind)
            self.ends[name] = file.tell()
        out |= {"file": name, "key": key, "offset": start + len(header), "end": self.ends[name]}
        part.unlink()

    def _free(self, stem: str) -> str:
        folder, slash, base = stem.rpartition("/")
        key = folder + slash + base.replace(".", "_")  # the first dot ends a key
        candidates = chain((key,), (f"{key}_{n}" for n in count(2)))
        return next(name for name in candidates if name.lower() not in self.used)

    def finish(self) -> dict[str, int]:
        for name, end in self.ends.items():
            with open(self.folder / name, "r+b", opener=atomic.no_link) as file:
                file.truncate(end)  # an end mark may stand there from an interrupted finish
                file.seek(end)
                file.write(bytes(2 * 512))
        return {name: end + 2 * 512 for name, end in self.ends.items()}


FORM_CLASSES: dict[str, type[Form]] = {"packed": PackedForm, "video": VideoForm, "shards": ShardForm}


def _frame_of(
    line: dict[str, Any], key: str, settings: Settings, class_names: list[str] | None
) -> tuple[bytes, bytes]:
    """What stands before and behind a video in its shard: its head, what fills its last block up, and its texts."""
    out, texts = line["out"], {}
    if class_names is not None:
        texts["cls"] = str(class_names.index(line["label"]))
    facts = {
        PREPARED_KEY: 1, "frames": out["frames"], "fps": settings.fps or line["fps"], "seeks": out["seeks"],
        "label": line["label"], "source": line["path"], "source_sha256": line["sha256"],
    }  # fmt: skip
    texts["json"] = json.dumps(facts)
    if line["caption"]:
        texts["txt"] = line["caption"]
    behind = bytes(-out["bytes"] % 512)
    for suffix, text in texts.items():
        data = text.encode(errors="surrogateescape")
        behind += _header(f"{key}.{suffix}", len(data)) + data + bytes(-len(data) % 512)
    return _header(f"{key}.mp4", out["bytes"]), behind


def _is_framed(file: Path, line: dict[str, Any], settings: Settings, class_names: list[str] | None) -> bool:
    """Whether a shard has around a video what was written there."""
    out = line["out"]
    header, behind = _frame_of(line, out["key"], settings, class_names)
    with open(file, "rb") as shard:
        shard.seek(out["offset"] - len(header))
        is_headed = shard.read(len(header)) == header
        shard.seek(out["offset"] + out["bytes"])
        return is_headed and shard.read(len(behind)) == behind


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    return info.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")


def _without_suffix(path: str) -> str:
    folder, slash, base = path.rpartition("/")
    stem, dot, suffix = base.rpartition(".")
    return folder + slash + (stem if dot and stem and len(suffix) <= 5 else base)


def copy_tree_up(data: Path, out: Path) -> None:
    """Move everything in `data` to `out`; done twice, the second time does what the first left undone."""
    if not data.is_dir():
        return
    for item in sorted(data.iterdir()):
        os.replace(item, out / item.name)
    shutil.rmtree(data)
