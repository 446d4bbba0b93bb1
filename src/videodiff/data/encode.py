"""``videodiff encode``: encodes every clip of a data set once, into shards that training reads.

A shard is the unit of work: it is encoded from its first clip on by one process, written whole or not at all, and never
touched again. So its bytes do not depend on how often the command was interrupted or how many processes share the work,
and the process that finds all shards there writes the manifest; nobody waits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.utils.data import Dataset

from videodiff.data.datamodule import Split, VideoDataModule
from videodiff.data.encode_plan import (
    PLAN,
    Encode,
    Encoding,
    Shard,
    claim,
    clips_of,
    finished,
    hashes_of,
    head_of,
    locked,
    note_hash,
    shards_to_write,
    split_of,
    unreadable,
)
from videodiff.data.latent_store import DTYPES, MANIFEST, LatentSplit, write_manifest
from videodiff.data.patient_loader import PatientLoader
from videodiff.data.pixels import to_float
from videodiff.data.prepared import sha256_of
from videodiff.data.shared_memory import Piped, choose_route, room, tell
from videodiff.data.stream import MIN_BAD_CLIPS, BadDataError, ClipDataset

Report = Callable[[int, int, int], None]


def encode_data(
    data: VideoDataModule,
    encode: Encode,
    out: str | os.PathLike[str],
    facts: dict[str, Any],
    how: Encoding | None = None,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world: int = 1,
    report: Report | None = None,
) -> bool:
    """Encode the clips of a data set, going on where an interrupted call with the same settings stopped.

    Args:
        data: the clips, as training would read them.
        encode: videos fp32 ``[B, 3, T, H, W]`` in [-1, 1] on the device -> latents ``[B, C, *S]``.
        out: folder to write; it exists.
        facts: ``first_stage`` and ``model`` of the manifest.
        how: what is kept.
        device: where to encode.
        rank: of this process.
        world: number of processes; each writes every `world`-th shard.
        report: called as ``report(clips done, clips to do, videos left out)``.

    Returns:
        Whether all shards are there now, and the manifest with them.

    Raises:
        ValueError: if the folder holds something else, another process writes this one's shard, a latent is not
            finite, or too many videos cannot be read.
        OSError: if it cannot be written.
    """
    how, out = how or Encoding(), Path(out)
    splits: dict[str, LatentSplit] = {name: split_of(data, name, how) for name in how.splits}
    head = head_of(data, encode, facts, how, device)
    if not claim(out, head, splits):
        return True
    shards: dict[str, list[Shard]] = {
        name: shards_to_write(out, name, splits[name], how) for name in how.splits
    }
    every = [shard for those in shards.values() for shard in those]
    known = hashes_of(out)
    mine = [shard for shard in every[rank::world] if not is_whole(shard, splits[shard.split], known)]
    Writer(data, encode, how, device, splits, tuple(head["shape"])).write(mine, report)
    if not all(shard.path.exists() for shard in every):
        return False
    try:
        write_manifest(
            out / MANIFEST, head, {name: finished(split, shards[name]) for name, split in splits.items()}
        )
    except FileNotFoundError:  # another process was first, and has cleared up
        if not (out / MANIFEST).is_file():
            raise
    for leftover in (out / PLAN, *out.glob(".*.part")):
        leftover.unlink(missing_ok=True)
    return True


def is_whole(shard: Shard, split: LatentSplit, known: Mapping[str, str]) -> bool:
    """Whether a shard is written, with the hash that is known of it; a damaged one is told, and written anew."""
    if not shard.path.exists():
        return False
    try:
        unreadable(shard, split)
        if shard.path.name in known and sha256_of(shard.path) != known[shard.path.name]:
            raise ValueError(f"{shard.path} is damaged")
    except ValueError as error:
        tell(f"{error}; it is encoded anew")
        return False
    return True


class Clips(Dataset[dict[str, Any]]):
    """Clip ``window x places + place`` of a split, not mirrored: uint8 ``[T, H, W, 3]``, or why it cannot be read.

    Args:
        dataset: the clips of the split.
    """

    def __init__(self, dataset: ClipDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, number: int) -> dict[str, Any]:
        dataset = self.dataset
        window, place = divmod(number, len(dataset))
        index = dataset.video(place)
        try:
            start = dataset.start(window, place)
            video = dataset.source.read(index, start, dataset.num_frames, dataset.frame_stride)
        except (ValueError, OSError) as error:
            return {"number": number, "video": None, "index": index, "reason": str(error)}
        return {"number": number, "video": video}


class Writer:
    """Reads, encodes and writes shards, one after the other.

    Args:
        data: the clips.
        encode: videos to latents.
        how: what is kept.
        device: where to encode.
        splits: what is to be kept of each split.
        shape: of an entry.
    """

    def __init__(
        self,
        data: VideoDataModule,
        encode: Encode,
        how: Encoding,
        device: torch.device | str,
        splits: dict[str, LatentSplit],
        shape: tuple[int, ...],
    ) -> None:
        self.data, self.encode, self.how, self.device = data, encode, how, device
        self.splits, self.shape = splits, shape
        self.bad_videos: dict[str, set[int]] = {name: set() for name in splits}

    def write(self, shards: Sequence[Shard], report: Report | None = None) -> None:
        """Write shards in order, telling after every batch how many clips are done."""
        done, total = 0, sum(shard.last - shard.first for shard in shards)
        for name in self.how.splits:
            mine = [shard for shard in shards if shard.split == name]
            batches = iter(self._loader(name, mine))
            for shard in mine:
                with locked(shard.path) as file:
                    rows, bad = [], []
                    for _ in self._batches(shard):
                        samples = next(batches)
                        rows.append(self.latents(name, samples))
                        bad += [sample["number"] for sample in samples if sample["video"] is None]
                        done += len(samples)
                        if report is not None:
                            report(done, total, sum(map(len, self.bad_videos.values())))
                    # One key only: the library writes several in no fixed order.
                    content = safetensors.torch.save({"latent": torch.cat(rows)}, {"bad": json.dumps(bad)})
                    note_hash(shard.path, content)
                    file.write(content)

    def _batches(self, shard: Shard) -> Iterator[list[int]]:
        size = self.how.batch_size
        for first in range(shard.first, shard.last, size):
            yield list(range(first, min(first + size, shard.last)))

    def _loader(self, name: Split, shards: Sequence[Shard]) -> PatientLoader:
        batches = [batch for shard in shards for batch in self._batches(shard)]
        clip = 3 * self.data.num_frames * self.data.frame_size.pixels
        wanted = self.data.num_workers if len(batches) > 1 else 0
        route = choose_route(wanted, [self.how.batch_size * clip], free=room())
        if route.note is not None:
            tell(route.note)
        return PatientLoader(
            Clips(clips_of(self.data, name)), batch_sampler=batches, num_workers=route.num_workers,
            collate_fn=Piped(list) if route.by_pipe else list, timeout=120 if route.num_workers else 0,
        )  # fmt: skip

    def latents(self, name: Split, samples: list[dict[str, Any]]) -> Tensor:
        """Entries ``[E, C, *S]`` of a batch of clips, zeros for those that cannot be read."""
        split, dtype = self.splits[name], DTYPES[self.how.dtype]
        entries = torch.zeros(len(samples), split.copies, *self.shape, dtype=dtype)
        for sample in samples:
            if sample["video"] is None:
                self._note_bad(name, sample)
        good = [at for at, sample in enumerate(samples) if sample["video"] is not None]
        if not good:
            return entries.flatten(0, 1)
        video = torch.stack([samples[at]["video"] for at in good]).to(self.device)
        video = to_float(video.permute(0, 4, 1, 2, 3))
        for copy in range(split.copies):
            latent = self.encode(video.flip(-1) if copy else video).to(dtype).cpu()
            if not bool(torch.isfinite(latent).all()):
                first, last = samples[0]["number"], samples[-1]["number"]
                cure = (
                    "--dtype fp32 may hold it" if dtype == torch.float16 else "the first stage is of no use"
                )
                raise ValueError(
                    f"a latent of {name} clips {first} to {last} is not finite in {self.how.dtype}; {cure}"
                )
            entries[good, copy] = latent
        return entries.flatten(0, 1)

    def _note_bad(self, name: Split, sample: dict[str, Any]) -> None:
        bad, videos = self.bad_videos[name], self.splits[name].videos
        bad.add(sample["index"])
        if len(bad) > max(MIN_BAD_CLIPS, self.data.max_bad_fraction * videos):
            raise BadDataError(
                f"{len(bad)} of {videos} videos of the {name} data cannot be read, more than max_bad_fraction = "
                f"{self.data.max_bad_fraction:g} allows; the last: {sample['reason']}"
            )
