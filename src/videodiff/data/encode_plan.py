"""The plan of ``videodiff encode``: what to write into a folder, whether it may, and what is already there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from videodiff import atomic
from videodiff.data.datamodule import Split, VideoDataModule
from videodiff.data.latent_store import DTYPES, MANIFEST, LatentSplit
from videodiff.data.latents import data_of
from videodiff.data.prepared import sha256_of
from videodiff.data.stream import ClipDataset
from videodiff.names import text_name
from videodiff.plain import parse_json

PLAN = "latents.part.json"
HASHES = ".sha256.part"  # a line for each shard that was written; it goes with all other parts when all are
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Encoding:
    """How clips are kept.

    Args:
        windows: windows of each training video, those of the first so many epochs; where an epoch is made of all
            windows, one.
        dtype: fp16 or fp32.
        splits: which splits.
        shard_clips: clips of a shard; twice as many entries where they are mirrored.
        batch_size: clips encoded at once.

    Raises:
        ValueError: for a value out of its range.
    """

    windows: int = 8
    dtype: str = "fp16"
    splits: tuple[Split, ...] = SPLITS
    shard_clips: int = 256
    batch_size: int = 8

    def __post_init__(self) -> None:
        for name in ("windows", "shard_clips", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if not self.splits or len(set(self.splits)) < len(self.splits) or not set(self.splits) <= set(SPLITS):
            raise ValueError(f"splits must be among {', '.join(SPLITS)}, got {','.join(self.splits)!r}")


@dataclass(frozen=True)
class Shard:
    """Clips ``first`` to ``last`` (exclusive) of a split, and the file for their latents."""

    split: Split
    path: Path
    first: int
    last: int


def clips_of(data: VideoDataModule, name: Split) -> ClipDataset:
    """The clips of a split, to be encoded.

    Raises:
        ValueError: if they are latents already.
    """
    clips = data.clips(name)
    if not isinstance(clips, ClipDataset):
        raise ValueError(f"data.latents {data.latents} are encoded already; leave data.latents out")
    return clips


def split_of(data: VideoDataModule, name: Split, how: Encoding) -> LatentSplit:
    """What is to be kept of a split; nothing of it is written yet.

    Raises:
        ValueError: if clips are latents already, or cropped anew in every epoch.
    """
    if data.random_crop is not None:
        raise ValueError(f"data.random_crop {data.random_crop:g} cannot be stored as latents; set it to null")
    clips = clips_of(data, name)
    source = clips.source
    windows = how.windows if name == "train" and clips.ends is None else 1
    return LatentSplit(
        videos=len(source), places=len(clips), windows=windows, mirrored=clips.horizontal_flip,
        limit=data.selection.limits[name], ends=None if clips.ends is None else clips.ends.tolist(),
        labels=[int(label) for label in source.labels] if source.class_names is not None else None,
        captions=source.captions, bad=[], shards=[],
    )  # fmt: skip


def head_of(
    data: VideoDataModule, encode: Encode, facts: dict[str, Any], how: Encoding, device: torch.device | str
) -> dict[str, Any]:
    """The head of the manifest; the shape of an entry is found by encoding a grey clip."""
    grey = torch.zeros(1, 3, data.num_frames, *data.frame_size, device=device)
    head = {
        **facts,
        "data": data_of(data.fingerprint()),
        "seed": data.seed,
        "dtype": how.dtype,
        "shape": list(encode(grey).shape[1:]),
        "shard_clips": how.shard_clips,
    }
    return json.loads(json.dumps(head))


def claim(out: Path, head: dict[str, Any], splits: dict[str, LatentSplit]) -> bool:
    """Take a folder, or go on in it.

    Returns:
        Whether anything is left to do.

    Raises:
        ValueError: if it holds other latents, or something else.
    """
    wanted = json.loads(
        json.dumps({**head, "splits": {name: _asked(s.__dict__) for name, s in splits.items()}})
    )
    # In this order, so that what other processes write meanwhile is not taken for a stranger's.
    there = [path for path in out.iterdir() if path.suffix not in (".part", ".lock")]
    for name in (PLAN, MANIFEST):
        try:
            before = parse_json((out / name).read_text(encoding="utf-8"))
            before["splits"] = {split: _asked(facts) for split, facts in before["splits"].items()}
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{out / name} is damaged; name another directory with --out") from error
        for key, old, new in _differences(before, wanted):
            text = f"{key} {old}, now {new}"
            raise ValueError(
                f"--out {out} holds other latents ({text if len(text) < 300 else key}); name another directory"
            )
        return name == PLAN
    if there:
        raise ValueError(f"--out {out} is not empty and holds no latents; name another directory")
    atomic.write_json(out / PLAN, wanted, indent=1)
    return True


def _asked(split: dict[str, Any]) -> dict[str, Any]:
    """What was known of a split before anything was encoded."""
    return {name: value for name, value in split.items() if name not in ("bad", "shards")}


def _differences(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted({*before, *now} - {"videodiff_latents"}):
            yield from _differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif before != now:
        yield key, before, now


def shards_to_write(out: Path, name: Split, split: LatentSplit, how: Encoding) -> list[Shard]:
    """The shards of a split in order."""
    total = split.places * split.windows
    return [
        Shard(name, out / f"{name}-{number:05d}.safetensors", first, min(first + how.shard_clips, total))
        for number, first in enumerate(range(0, total, how.shard_clips))
    ]


@contextmanager
def locked(path: Path) -> Iterator[BinaryIO]:
    """A file under another name, locked while it is written; at the end it is synced and takes its own name.

    Raises:
        ValueError: if another living process writes it.
    """
    part = path.with_name(f".{path.name}.part")
    with open(part, "ab", opener=atomic.no_link) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"{path} is being written by another process; wait for it, or give each its own RANK"
            ) from error
        try:
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(part, path)
            atomic.sync(path.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def finished(split: LatentSplit, shards: Sequence[Shard]) -> LatentSplit:
    """The split with what its written shards are.

    Raises:
        ValueError: if a shard is damaged.
    """
    records, bad = [], []
    for shard in shards:
        bad += unreadable(shard, split)
        records.append({
            "file": shard.path.name, "entries": (shard.last - shard.first) * split.copies,
            "bytes": shard.path.stat().st_size, "sha256": sha256_of(shard.path),
        })  # fmt: skip
    return replace(split, bad=bad, shards=records)


def note_hash(path: Path, content: bytes) -> None:
    """Write down what a shard is to be, before it takes its name."""
    line = {"file": path.name, "sha256": hashlib.sha256(content).hexdigest()}
    atomic.append(path.with_name(HASHES), json.dumps(line) + "\n")


def hashes_of(out: Path) -> dict[str, str]:
    """SHA-256 of the shards that were written so far, by name; damaged lines, and those of an older version, lack."""
    found: dict[str, str] = {}
    with suppress(FileNotFoundError):
        for line in (out / HASHES).read_bytes().splitlines():
            with suppress(ValueError, KeyError, TypeError):
                known = json.loads(line)
                found[known["file"]] = known["sha256"]
    return found


def unreadable(shard: Shard, split: LatentSplit) -> list[int]:
    """The clips of a written shard that could not be read.

    Raises:
        ValueError: if the shard is damaged.
    """
    try:
        with text_name(shard.path) as name, safe_open(name, framework="pt") as file:
            found = file.get_slice("latent").get_shape()[0]
            bad = parse_json(file.metadata()["bad"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{shard.path} is damaged") from error
    if found != (shard.last - shard.first) * split.copies:
        raise ValueError(f"{shard.path} is damaged: {found} latents of {shard.last - shard.first} clips")
    return bad
