"""Vectors of texts kept on disk: encoded once, and looked up while a model is trained.

A folder holds files ``text-<encoder>-<max_tokens>-<n>.safetensors``, the encoder named by the first digits of its hash:
``keys [N, 2]`` int64 of the texts' hashes, ``ends [N]`` int64 and ``values [sum L, dim]``, the vectors of one text
behind those of another. A file is written whole or not at all and never touched again; more texts are more files.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from videodiff import atomic
from videodiff.names import text_name

DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
PART_BYTES = 1 << 26  # of vectors in one file, which are in memory while it is written
REMEMBERED_BYTES = 1 << 28  # of vectors in memory
BATCH = 32  # texts encoded at once, all of one length


class KeptTexts:
    """Texts of one encoder whose vectors lie in files; only the hashes of the texts are in memory, 16 bytes of each.

    Args:
        digest: of the encoder, hexadecimal.
        dim: width of a vector.
        max_tokens: where its texts are cut.
    """

    def __init__(self, digest: str, dim: int, max_tokens: int) -> None:
        self.digest, self.dim, self.max_tokens = digest, dim, max_tokens
        self.files: list[Path] = []
        self.ends: list[np.ndarray] = []
        self.keys = np.empty((0, 2), dtype=np.int64)  # sorted
        self.places = np.empty((0, 2), dtype=np.int64)  # file and row of each
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.keys)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # every process maps the files itself

    def __deepcopy__(self, memo: dict[int, Any]) -> KeptTexts:
        return self

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return f"text-{self.digest[:16]}-{self.max_tokens}-"

    def add(self, folder: Path) -> None:
        """Take in the files of a folder that are this encoder's and not known yet.

        Raises:
            ValueError: in one line, for a damaged file.
        """
        for file in sorted(folder.glob(f"{self.stem}*.safetensors")):
            if file in self.files:
                continue
            keys, ends = self._read(file)
            rows = np.arange(len(keys))
            places = np.stack([np.full_like(rows, len(self.files)), rows], axis=1)
            self.files.append(file)
            self.ends.append(ends)
            keys, places = np.concatenate([self.keys, keys]), np.concatenate([self.places, places])
            order = np.lexsort((keys[:, 1], keys[:, 0]))
            self.keys, self.places = keys[order], places[order]

    def _read(self, file: Path) -> tuple[np.ndarray, np.ndarray]:
        try:
            with text_name(file) as name, safe_open(name, framework="np") as content:
                keys, ends = content.get_tensor("keys"), content.get_tensor("ends")
                shape, encoder = content.get_slice("values").get_shape(), content.metadata()["encoder"]
        except (SafetensorError, OSError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is damaged: remove it, and its texts are encoded again") from error
        is_whole = len(keys) == len(ends) > 0 and ends[-1] == shape[0] and shape[1] == self.dim
        if not is_whole or encoder != self.digest:
            raise ValueError(
                f"{file} holds vectors of another text encoder: remove it, or name another folder"
            )
        return keys, ends

    def __contains__(self, text: str) -> bool:
        return self._row(text) is not None

    def _row(self, text: str) -> int | None:
        first, second = key_of(text)
        row = int(np.searchsorted(self.keys[:, 0], first))
        while row < len(self.keys) and self.keys[row, 0] == first:
            if self.keys[row, 1] == second:
                return row
            row += 1
        return None

    def find(self, text: str) -> Tensor | None:
        """Vectors ``[L, dim]`` fp32 of a text, or None if it is not there."""
        if (row := self._row(text)) is None:
            return None
        file, at = (int(number) for number in self.places[row])
        if file not in self._open:
            with text_name(self.files[file]) as name:
                self._open[file] = safe_open(name, framework="pt").get_slice(
                    "values"
                )  # mapped: outlives the name
        begin = int(self.ends[file][at - 1]) if at else 0
        return self._open[file][begin : int(self.ends[file][at])].float()


def key_of(text: str) -> tuple[int, int]:
    """128 bits of a text's hash."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big", signed=True), int.from_bytes(digest[8:16], "big", signed=True)


class Remembered:
    """The vectors of the texts that were asked for last, in memory: prompts, and captions that are told from scenes."""

    def __init__(self) -> None:
        self.vectors: OrderedDict[str, Tensor] = OrderedDict()
        self.num_bytes = 0

    def find(self, text: str) -> Tensor | None:
        """Vectors ``[L, dim]`` of a text, or None if it is not there."""
        if text in self.vectors:
            self.vectors.move_to_end(text)
        return self.vectors.get(text)

    def add(self, text: str, vectors: Tensor) -> None:
        """Take in a text that is not there; those that were not asked for the longest make room."""
        self.vectors[text] = vectors
        self.num_bytes += vectors.nbytes
        while self.num_bytes > REMEMBERED_BYTES and len(self.vectors) > 1:
            self.num_bytes -= self.vectors.popitem(last=False)[1].nbytes


class Keeping:
    """What is to be kept of some texts: how much, known before it is encoded, and the way to disk.

    Args:
        kept: what is there, to which the new ones are added.
        texts: each once.
        lengths: tokens of each.
        dtype: fp16 or fp32.
    """

    def __init__(
        self, kept: KeptTexts, texts: Sequence[str], lengths: Sequence[int], dtype: str = "fp16"
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        self.kept, self.texts, self.dtype = kept, texts, dtype
        self.lengths = np.asarray(lengths, dtype=np.int64)

    @property
    def num_tokens(self) -> int:
        return int(self.lengths.sum())

    @property
    def num_bytes(self) -> int:
        """Of the vectors on disk."""
        return self.num_tokens * self.kept.dim * DTYPES[self.dtype].itemsize

    def check_room(self, folder: Path) -> None:
        """Refuse a folder on a disk that is too small.

        Raises:
            ValueError: in one line.
        """
        free = shutil.disk_usage(folder).free
        if self.num_bytes > free:
            raise ValueError(
                f"the vectors of {len(self.texts)} texts take {size_in_words(self.num_bytes)}, and the disk of "
                f"{folder} has {size_in_words(free)} left: name a folder elsewhere with --model.text.kept"
            )

    def write(
        self,
        encode: Callable[[Sequence[str]], Tensor],
        folder: Path,
        report: Callable[[int, int, int], None] | None = None,
    ) -> None:
        """Encode and write all, file after file; what is written stays when the command is stopped.

        Args:
            encode: texts of one length -> ``[N, L, dim]``.
            folder: that exists.
            report: called as ``report(texts done, texts in all, 0)``.

        Raises:
            ValueError: for vectors that fp16 cannot hold.
        """
        done, number = 0, len(list(folder.glob(f"{self.kept.stem}*.safetensors")))
        for part in self.parts():
            keys, ends, values, end = [], [], [], 0
            for rows in batches(part, self.lengths):
                texts = [self.texts[row] for row in rows]
                found = encode(texts).to("cpu", DTYPES[self.dtype])
                if not bool(found.isfinite().all()):
                    raise ValueError(
                        f"the vectors of {texts[0]!r} lie beyond the range of fp16: --dtype fp32 holds them"
                    )
                keys += [key_of(text) for text in texts]
                ends += [end + (k + 1) * found.shape[1] for k in range(len(texts))]
                end = ends[-1]
                values.append(found.flatten(0, 1))
                done += len(texts)
                if report is not None:
                    report(done, len(self.texts), 0)
            content = {"keys": torch.tensor(keys), "ends": torch.tensor(ends), "values": torch.cat(values)}
            file = folder / f"{self.kept.stem}{number:05d}.safetensors"
            atomic.write_bytes(file, safetensors.torch.save(content, {"encoder": self.kept.digest}))
            number += 1
            self.kept.add(folder)

    def parts(self) -> Iterator[np.ndarray]:
        """Rows of the texts of each file, texts of one length together."""
        order = np.argsort(self.lengths, kind="stable")
        size = self.lengths[order] * self.kept.dim * DTYPES[self.dtype].itemsize
        numbers = size.cumsum() // PART_BYTES
        for number in np.unique(numbers):
            yield order[numbers == number]


def size_in_words(num_bytes: int) -> str:
    """Bytes as people read them."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"


def batches(rows: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of one length, few at a time; no text is filled up, so that none depends on the others' lengths."""
    for length in np.unique(lengths[rows]):
        same = rows[lengths[rows] == length]
        for first in range(0, len(same), BATCH):
            yield same[first : first + BATCH]
