"""Verifies stored latents: each shard is hashed once, in the background, when it is first read.

Disks and copies lose bits without a word, and a latent with one wrong bit trains like any other. Loader workers note
which shards they have mapped; a thread of the main process, whose hashing leaves Python free, compares those with the
hashes in the manifest. What it finds waits until the main process asks, between two batches.
"""

from __future__ import annotations

import json
import os
import threading
import time

from torch import Tensor

from videodiff import atomic
from videodiff.data.latent_store import MANIFEST, Latents
from videodiff.data.prepared import sha256_of

RECORD = "verified_latents.jsonl"


class LatentCheck:
    """Compares the shards that are in use with the manifest.

    Args:
        latents: the manifest.
        mapped: of every split in use, int64 ``[shards]`` in memory shared with the workers: 1 where one was mapped.
    """

    def __init__(self, latents: Latents, mapped: dict[str, Tensor]) -> None:
        self.latents, self.mapped = latents, mapped
        self.found: dict[tuple[str, int], str | None] = {}  # shard -> what is wrong with it
        self._told = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def waiting(self) -> list[tuple[str, int]]:
        """Shards that were mapped and are not yet compared."""
        return [
            (split, number)
            for split, mapped in self.mapped.items()
            for number in mapped.nonzero().flatten().tolist()
            if (split, number) not in self.found
        ]

    def start(self) -> None:
        """Begin to compare; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="videodiff-latents", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        total = sum(len(self.latents.splits[split].shards) for split in self.mapped)
        while len(self.found) < total and not self._stop.is_set():
            for split, number in self.waiting():
                self.found[split, number] = self._compared(split, number)
            self._stop.wait(0.1)

    def _compared(self, split: str, number: int) -> str | None:
        shard = self.latents.splits[split].shards[number]
        path = os.path.join(self.latents.root, shard["file"])
        try:
            if sha256_of(path) == shard["sha256"]:
                return None
        except OSError as error:
            return f"{path} cannot be read ({error.strerror or error})"
        return (
            f"{path} is damaged: its bytes are not those that {MANIFEST} has the hash of; remove {self.latents.root}, "
            "encode again with the same command, and go on from a checkpoint from before"
        )

    def check(self, folder: str | None) -> None:
        """Record what was compared since the last call, one line a shard, in ``verified_latents.jsonl`` of a folder.

        Raises:
            ValueError: in one line, if a shard is damaged.
        """
        news = list(self.found.items())[self._told :]
        self._told += len(news)
        if news and folder is not None:
            os.makedirs(folder, exist_ok=True)
            for (split, number), fault in news:
                shard = self.latents.splits[split].shards[number]
                line = {"time": round(time.time(), 3), "file": shard["file"], "sha256": shard["sha256"]}
                atomic.append(
                    os.path.join(folder, RECORD), json.dumps({**line, "intact": fault is None}) + "\n"
                )
        fault = next((fault for _, fault in news if fault is not None), None)
        if fault is not None:
            raise ValueError(fault)

    def finish(self, folder: str | None, seconds: float = 10.0) -> None:
        """Wait so long for the shards that were mapped, end the thread, and check.

        Raises:
            ValueError: as :meth:`check`.
        """
        end = time.monotonic() + seconds
        while self._thread is not None and self.waiting() and time.monotonic() < end:
            time.sleep(0.02)
        self.stop()
        self.check(folder)

    def stop(self) -> None:
        """End the thread after the shard that it is at."""
        self._stop.set()

    def describe(self) -> str:
        """How many shards were compared, of those that were read."""
        intact = sum(fault is None for fault in self.found.values())
        read = len(self.found) + len(self.waiting())
        return f"{intact} of {read} files of latents that were read are intact by their hashes"
