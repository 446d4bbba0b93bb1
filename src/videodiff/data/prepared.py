"""A folder written by ``videodiff prepare``: a header, a manifest, and the data.

``prepared.json`` is written last, so a folder that has it is finished. It says in which form the clips lie, at which
size, by which resize rule, in which classes, and carries the hash of ``manifest.jsonl``, which has one line for every
source video: where it came from, what is wrong with it if it was left out, and where its frames are now.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videodiff import placeholder
from videodiff.frame_size import FrameSize, Resolution
from videodiff.migrations import migrated
from videodiff.names import shell_word
from videodiff.plain import parse_json
from videodiff.reading import read_text

HEADER, NUMBER = "prepared.json", "videodiff_prepared"
MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Prepared:
    """The header of a prepared folder.

    Args:
        root: the folder.
        form: packed (uint8 frames), video (short key-frame distance) or shards (tar files of such videos).
        size: height and width of the frames in pixels as ``[H, W]``, one number for a square.
        frames: the fewest frames that a kept video has.
        fps: frame rate that videos were brought to, or None if they kept theirs.
        class_names: names of the classes in label order, or None.
        resize: name of the resize rule.
        files: size in bytes of every data file by its relative path (packed and shards).
        manifest_sha256: hash of the manifest; it names the content of the folder.
    """

    root: str
    form: str
    size: int | list[int]
    frames: int
    fps: float | None
    class_names: list[str] | None
    resize: str
    files: dict[str, int]
    manifest_sha256: str

    @property
    def frame_size(self) -> FrameSize:
        """Height and width of the frames."""
        return FrameSize.of(self.size, "size")

    def check_request(self, resolution: Resolution, rule: str) -> None:
        """Refuse frames that cannot be had from these.

        Raises:
            ValueError: if `resolution` is larger than the frames or of other proportions, or another resize rule is
                asked for.
        """
        asked, size = FrameSize.of(resolution), self.frame_size
        if rule != self.resize:
            raise ValueError(
                f"{self.root} was resized by {self.resize!r}, {rule!r} asked; prepare it again with --resize {rule}"
            )
        if asked.height > size.height or asked.width > size.width:
            raise ValueError(
                f"{self.root} holds frames of {size} pixels, resolution {asked} asked; prepare it again with "
                f"--size {asked}"
            )
        # What was cut off or bent for other proportions would count for these: not what the resize rule says.
        fits = round(asked.height * size.width / size.height), round(asked.width * size.height / size.width)
        if asked.width != fits[0] and asked.height != fits[1]:
            raise ValueError(
                f"{self.root} holds frames of {size} pixels, resolution {asked} asked, which has other proportions; "
                f"prepare it again with --size {asked}, or ask for {FrameSize(asked.height, fits[0])}"
            )


def is_prepared(root: str | os.PathLike[str]) -> bool:
    """Whether a folder was finished by ``videodiff prepare``."""
    return os.path.isfile(os.path.join(root, HEADER))


def read_prepared(root: str | os.PathLike[str]) -> Prepared:
    """Read the header of a prepared folder and compare the manifest and the sizes of the data with it.

    Raises:
        FileNotFoundError: if the folder was not prepared, or not to the end.
        ValueError: if header, manifest and data do not belong together; one line that says which.
    """
    root = os.path.abspath(root)
    if not is_prepared(root):
        raise FileNotFoundError(
            f"{root} has no {HEADER}; make it with videodiff prepare ... --out {shell_word(root)}"
        )
    cure = "run videodiff prepare again"
    for name in (HEADER, MANIFEST):
        placeholder.refuse(os.path.join(root, name))
    try:
        header = parse_json(read_text(Path(root, HEADER)))
        number = header.pop(NUMBER)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{root}/{HEADER} is damaged ({type(error).__name__}: {error}); {cure}") from error
    header = migrated("prepared", header, f"{root}/{HEADER}", number, cure)
    try:
        known = {name: header[name] for name in Prepared.__dataclass_fields__ if name != "root"}
        prepared = Prepared(root=root, **known)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{root}/{HEADER} is damaged ({type(error).__name__}: {error}); {cure}") from error
    if sha256_of(os.path.join(root, MANIFEST)) != prepared.manifest_sha256:
        raise ValueError(f"{root}/{MANIFEST} is not the one that {HEADER} was written for; {cure}")
    for name, size in prepared.files.items():
        path = os.path.join(root, name)
        found = os.path.getsize(path) if os.path.isfile(path) else None
        if found != size and (instead := placeholder.explain(path)) is not None:
            raise ValueError(f"{path} {instead}")
        if found != size:
            state = "is missing" if found is None else f"has {found} bytes"
            raise ValueError(f"{path} {state}, the manifest says {size} bytes; {cure}")
    return prepared


def read_manifest(root: str | os.PathLike[str], split: str | None = None) -> list[dict[str, Any]]:
    """The lines of the manifest in order; with `split`, those of the kept videos of a split.

    Where a split has no line, val and test stand in for each other, and train for both, as
    :func:`videodiff.data.clips.split_videos` would have it.
    """
    with open(os.path.join(root, MANIFEST), encoding="utf-8") as file:
        lines = [parse_json(line) for line in file]
    if split is None:
        return lines
    kept = [line for line in lines if line["status"] == "ok"]
    order = {"train": ("train",), "val": ("val", "test", "train"), "test": ("test", "val", "train")}[split]
    return next((found for s in order if (found := [line for line in kept if line["split"] == s])), [])


def sha256_of(path: str | os.PathLike[str], start: int = 0, num_bytes: int | None = None) -> str:
    """Hex SHA-256 of a file, or of `num_bytes` of it from `start` on."""
    digest = hashlib.sha256()
    for block in read_blocks(path, start, num_bytes):
        digest.update(block)
    return digest.hexdigest()


def read_blocks(
    path: str | os.PathLike[str], start: int = 0, num_bytes: int | None = None, block: int = 2**20
) -> Iterator[bytes]:
    """The bytes of a file, or `num_bytes` of them from `start` on, in blocks; fewer where the file ends."""
    with open(path, "rb") as file:
        file.seek(start)
        left = num_bytes
        while data := file.read(block if left is None else min(block, left)):
            yield data
            left = None if left is None else left - len(data)
