"""Stored latents of a first stage: shards of one tensor each, and a manifest of their origin.

A folder that ``videodiff encode`` wrote holds ``<split>-<n>.safetensors``, each one tensor ``latent`` ``[E, C, *S]``,
and ``latents.json``, written last, so a folder that has it is finished. An entry is one window of one video: those of
epoch 0 of the stateless order (:mod:`videodiff.data.stream`), then those of epoch 1, and so on; where the data mirror
clips, each is followed by that of the mirrored one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from videodiff import atomic, placeholder
from videodiff.data.prepared import sha256_of
from videodiff.data.shared_memory import shared_int64
from videodiff.migrations import FORMATS, migrated
from videodiff.names import shell_word, text_name
from videodiff.plain import parse_json
from videodiff.say import counted

MANIFEST, NUMBER = "latents.json", "videodiff_latents"
DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
AGAIN = "run videodiff encode again"


@dataclass(frozen=True)
class LatentSplit:
    """The stored latents of one split.

    Args:
        videos: number of videos.
        places: clips of one epoch: as many as videos, or all their windows.
        windows: epochs kept.
        mirrored: whether each clip is kept mirrored, too.
        limit: limit of videos that the data had.
        ends: number of windows of the videos up to and with each, where an epoch is made of all windows.
        labels: class of every video, or None.
        captions: text of every video, or None.
        bad: ``window x places + place`` of every clip that could not be read.
        shards: file name, entries, bytes and SHA-256 of every shard, in the order of their entries.
    """

    videos: int
    places: int
    windows: int
    mirrored: bool
    limit: int | None
    ends: list[int] | None
    labels: list[int] | None
    captions: list[str] | None
    bad: list[int]
    shards: list[dict[str, Any]]

    @property
    def copies(self) -> int:
        """Entries of one clip: itself, and its mirror image."""
        return 1 + self.mirrored

    @property
    def num_entries(self) -> int:
        return self.places * self.windows * self.copies


@dataclass(frozen=True)
class Latents:
    """The manifest of a folder of latents.

    Args:
        root: the folder.
        first_stage: its ``checkpoint`` as the config named it, ``sha256`` of its weights, ``scale`` and ``shift``.
        model: class of the model whose training samples these are.
        data: fingerprint of the data, without what the order of training decides.
        seed: of the windows.
        dtype: fp16 or fp32.
        shape: ``(C, *S)`` of an entry.
        shard_clips: clips of every shard but a split's last.
        splits: what is kept of each split.
        sha256: of the manifest; it names the content of the folder.
    """

    root: str
    first_stage: dict[str, Any]
    model: str
    data: dict[str, Any]
    seed: int
    dtype: str
    shape: tuple[int, ...]
    shard_clips: int
    splits: dict[str, LatentSplit]
    sha256: str

    def describe(self) -> str:
        """One line for the head of a run."""
        windows = max(split.windows for split in self.splits.values())
        return (
            f"latents {self.root}: {list(self.shape)} {self.dtype}, {counted(windows, 'window')} per video, "
            f"first stage {self.first_stage['checkpoint']} [{self.first_stage['sha256'][:16]}]"
        )

    def split(self, name: str) -> LatentSplit:
        """One split.

        Raises:
            ValueError: if it was not encoded.
        """
        if name not in self.splits:
            raise ValueError(
                f"{self.root} holds latents of {' and '.join(self.splits)}, none of {name}; encode again with "
                f"--splits {','.join([*self.splits, name])} into another folder"
            )
        return self.splits[name]


def read_latents(root: str | os.PathLike[str]) -> Latents:
    """Read a manifest and compare it with the names and sizes of the shards.

    Raises:
        FileNotFoundError: if the folder holds no finished latents, or a shard is missing.
        ValueError: if the manifest is damaged, of another version, or a shard has another size.
    """
    root = os.path.abspath(os.path.expanduser(root))
    path = Path(root, MANIFEST)
    if not path.is_file():
        raise FileNotFoundError(
            f"{root} has no {MANIFEST}; make it with videodiff encode --config ... --out {shell_word(root)}"
        )
    placeholder.refuse(path)
    text = path.read_bytes()
    try:
        content = parse_json(text)
        number = content.pop(NUMBER)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}); {AGAIN}") from error
    content = migrated("latents", content, path, number, AGAIN)
    try:
        splits = {name: LatentSplit(**split) for name, split in content.pop("splits").items()}
        content["shape"] = tuple(content["shape"])
        latents = Latents(root=root, splits=splits, sha256=hashlib.sha256(text).hexdigest(), **content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}); {AGAIN}") from error
    for shard_path, shard in shards_of(latents):
        if not shard_path.is_file():
            raise FileNotFoundError(f"{shard_path} is missing, the manifest names it; {AGAIN}")
        size = shard_path.stat().st_size
        if size != shard["bytes"] and (found := placeholder.explain(shard_path)) is not None:
            raise ValueError(f"{shard_path} {found}")
        if size != shard["bytes"]:
            raise ValueError(f"{shard_path} has {size} bytes, the manifest says {shard['bytes']}; {AGAIN}")
    for name, split in latents.splits.items():
        if sum(shard["entries"] for shard in split.shards) != split.num_entries:
            raise ValueError(f"{path} is damaged (shards of {name} do not add up); {AGAIN}")
    return latents


def shards_of(latents: Latents) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every shard with what the manifest says of it."""
    for split in latents.splits.values():
        for shard in split.shards:
            yield Path(latents.root, shard["file"]), shard


def damaged_shards(latents: Latents) -> list[Path]:
    """The shards whose bytes are not those that were written; reads all."""
    return [path for path, shard in shards_of(latents) if sha256_of(path) != shard["sha256"]]


def write_manifest(path: Path, plan: dict[str, Any], splits: dict[str, LatentSplit]) -> None:
    """Write ``latents.json`` whole or not at all; equal latents give equal bytes."""
    texts = {name: {f.name: getattr(split, f.name) for f in fields(split)} for name, split in splits.items()}
    content = {NUMBER: FORMATS["latents"], **plan, "splits": texts}
    atomic.write_json(path, content, indent=1)


class EntryReader:
    """Single entries of one split, copied out of mapped files: memory is the page cache's, shared by all processes.

    Args:
        latents: the manifest.
        split: name of the split.
    """

    def __init__(self, latents: Latents, split: str) -> None:
        self.root, self.shape = latents.root, latents.shape
        self.split = latents.split(split)
        self.shard_entries = latents.shard_clips * self.split.copies
        self._open: dict[int, Any] = {}
        # 1 for a shard that some process has mapped: seen by all, so that one of them can compare it with its hash
        self.mapped = shared_int64(max(1, len(self.split.shards)), 0)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # every process maps the files itself

    def read(self, entry: int) -> Tensor:
        """Entry ``[C, *S]`` in the dtype that it was kept in.

        Raises:
            IndexError: if there is no such entry.
            ValueError: if its shard is damaged.
        """
        if not 0 <= entry < self.split.num_entries:
            raise IndexError(f"entry {entry} of {self.split.num_entries}")
        number, row = divmod(entry, self.shard_entries)
        if number not in self._open:
            self._open[number] = self._map(number)
        return self._open[number][row : row + 1][0]

    def _map(self, number: int) -> Any:
        shard = self.split.shards[number]
        path = os.path.join(self.root, shard["file"])
        try:
            with text_name(path) as name:
                latent = safe_open(name, framework="pt").get_slice("latent")  # mapped: it outlives the name
            shape = tuple(latent.get_shape())
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is damaged ({' '.join(str(error).split())}); {AGAIN}") from error
        if shape != (shard["entries"], *self.shape):
            raise ValueError(f"{path} holds latents {list(shape)}, the manifest says otherwise; {AGAIN}")
        self.mapped[number] = 1
        return latent
