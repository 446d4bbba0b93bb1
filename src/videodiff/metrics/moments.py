"""Statistics of a set of features: count, sum and sum of outer products in float64, optionally the features.

Sums add up, so they do not depend on how clips were split into batches or over processes. The file form is an npz
or a safetensors that holds a record of where the numbers came from and a digest; it is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from torch import Tensor

from videodiff import atomic, placeholder
from videodiff.plain import parse_json

Features: TypeAlias = np.ndarray | Tensor

KEEP_FEATURES = 20_000  # 20,000 clips of 400 numbers: 64 MB
FORMAT = "videodiff-feature-stats-1"


class ForeignFileError(ValueError):
    """A file of arrays that another tool wrote.

    Args:
        path: the file.
        names: of what it holds.
    """

    def __init__(self, path: str | os.PathLike[str], names: Sequence[str]) -> None:
        shown = ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
        super().__init__(f"{os.fspath(path)} was not written by videodiff (it holds {shown or 'nothing'})")


def as_float64(features: Features) -> np.ndarray:
    """A float64 array on the CPU, whatever it was before."""
    if isinstance(features, Tensor):
        features = features.detach().cpu().double().numpy()  # in this order: MPS has no float64
    return np.asarray(features, dtype=np.float64)


def check_features(features: Features, first: int = 0, what: str = "clip") -> np.ndarray:
    """The features as float64 ``[N, D]``, finite.

    Args:
        features: ``[N, D]``, one row per clip.
        first: number of the first row, for the message.
        what: how the message calls a row.

    Raises:
        ValueError: if the shape is another, or a row holds a NaN or an infinity; names the first such clip.
    """
    array = as_float64(features)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"features must have the shape [clips, dim], got {list(array.shape)}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise ValueError(
            f"features of {what} {first + bad[0]}{more} are not finite (NaN or infinite): check that clip"
        )
    return array


class FeatureStats:
    """Count, sum and sum of outer products of features, all float64, and the features themselves if wanted.

    Args:
        n: number of clips.
        sum: sum of the features, ``[D]``.
        outer: sum of ``f f'``, ``[D, D]``.
        features: the features, ``[n, D]``, or None when only the sums are kept.
        keep_features: features are kept up to this many clips and dropped beyond; the sums are always kept.

    Raises:
        ValueError: if the shapes do not fit each other.
    """

    def __init__(
        self,
        n: int,
        sum: np.ndarray,
        outer: np.ndarray,
        features: np.ndarray | None = None,
        keep_features: int = KEEP_FEATURES,
    ) -> None:
        self.n = int(n)
        self.sum, self.outer = as_float64(sum), as_float64(outer)
        if self.n < 0 or self.sum.ndim != 1 or self.outer.shape != (self.dim, self.dim):
            raise ValueError(
                f"statistics do not fit: n {n}, sum {list(self.sum.shape)}, outer {list(self.outer.shape)}"
            )
        if features is not None and np.shape(features) != (self.n, self.dim):
            raise ValueError(
                f"features must have the shape [{self.n}, {self.dim}], got {list(np.shape(features))}"
            )
        self.keep_features = keep_features
        self._chunks: list[np.ndarray] | None = None if features is None else [as_float64(features)]

    @classmethod
    def empty(cls, dim: int, keep_features: int = KEEP_FEATURES) -> FeatureStats:
        """No clips yet; `keep_features` 0 keeps the sums alone."""
        nothing = np.zeros((0, dim)) if keep_features > 0 else None
        return cls(0, np.zeros(dim), np.zeros((dim, dim)), nothing, keep_features)

    @classmethod
    def from_features(cls, features: Features, keep_features: int = KEEP_FEATURES) -> FeatureStats:
        """The statistics of ``[N, D]`` features."""
        array = check_features(features)
        stats = cls.empty(array.shape[1], keep_features)
        stats.update(array)
        return stats

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return len(self.sum)

    @property
    def features(self) -> np.ndarray | None:
        """The features, ``[n, D]``, or None if they were not kept."""
        if self._chunks is None:
            return None
        if len(self._chunks) > 1:
            self._chunks = [np.concatenate(self._chunks)]
        return self._chunks[0]

    @property
    def kept_features(self) -> np.ndarray:
        """The features, ``[n, D]``.

        Raises:
            ValueError: if they were not kept.
        """
        features = self.features
        if features is None:
            raise ValueError(f"the features of {self.n} clips are wanted, their sums alone were kept")
        return features

    def update(self, features: Features) -> None:
        """Add ``[B, D]`` features.

        Raises:
            ValueError: if a feature is not finite (names the clip) or D is another.
        """
        array = check_features(features, first=self.n)
        if array.shape[1] != self.dim:
            raise ValueError(f"features have {array.shape[1]} numbers per clip, earlier ones had {self.dim}")
        self.n += len(array)
        self.sum = self.sum + array.sum(axis=0)
        self.outer = self.outer + array.T @ array
        if self._chunks is not None:
            self._chunks = [*self._chunks, array] if self.n <= self.keep_features else None

    def merge(self, other: FeatureStats) -> FeatureStats:
        """The statistics of both sets together; neither is changed.

        Raises:
            ValueError: if the features have different lengths.
        """
        if self.dim != other.dim:
            raise ValueError(f"features of {self.dim} and of {other.dim} numbers cannot be merged")
        both = None
        if self.features is not None and other.features is not None:
            both = np.concatenate([self.features, other.features])
            both = both if len(both) <= self.keep_features else None
        return FeatureStats(
            self.n + other.n, self.sum + other.sum, self.outer + other.outer, both, self.keep_features
        )

    def mean(self) -> np.ndarray:
        """Mean feature, ``[D]``."""
        return self.sum / max(self.n, 1)

    def covariance(self, ddof: int = 0) -> np.ndarray:
        """Covariance with the divisor ``n - ddof``, ``[D, D]``; from the features where they are kept.

        Raises:
            ValueError: if there are fewer than 2 clips.
        """
        if self.n < 2:
            raise ValueError(f"a covariance needs at least 2 clips, got {self.n}")
        if self.features is not None:
            centred = self.features - self.features.mean(axis=0)
            return centred.T @ centred / (self.n - ddof)
        mean = self.mean()
        return (self.outer - self.n * np.outer(mean, mean)) / (self.n - ddof)

    def save(self, path: str | Path, record: dict[str, object] | None = None) -> None:
        """Write to ``.npz`` or ``.safetensors``: whole under its name, or not at all.

        Args:
            path: where to; the folder is made.
            record: where the numbers come from (data set, split, protocol, ...), JSON values; kept in the file.

        Raises:
            ValueError: if the suffix is another.
        """
        path = Path(path)
        write = _writer(path)
        arrays = {"n": np.array([self.n]), "sum": self.sum, "outer": self.outer}
        if self.features is not None:
            arrays["features"] = self.features
        header = {"format": FORMAT, "record": record or {}, "digest": _digest(arrays, record or {})}
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.opened(path) as file:
            write(file, arrays, json.dumps(header, sort_keys=True))

    @classmethod
    def load(cls, path: str | Path, expect: dict[str, object] | None = None) -> FeatureStats:
        """Read what :meth:`save` wrote; no code from the file is run.

        Args:
            path: the file.
            expect: entries that its record must hold; another value is an error, never a silent reuse.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is damaged, of another kind, or its record says something else.
        """
        path = Path(path)
        arrays, record = _read(path)
        for key, value in (expect or {}).items():
            if record.get(key) != json.loads(json.dumps(value)):
                raise ValueError(
                    f"{path}: {key} is {record.get(key)!r}, wanted {value!r}: statistics of other data"
                )
        stats = cls(int(arrays["n"][0]), arrays["sum"], arrays["outer"], arrays.get("features"))
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError(f"{path}: statistics are not finite")
        return stats


def read_record(path: str | Path) -> dict[str, object]:
    """The record inside a statistics file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or of another kind.
    """
    return _read(Path(path))[1]


def _digest(arrays: dict[str, np.ndarray], record: dict[str, object]) -> str:
    digest = hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        digest.update(name.encode() + str(arrays[name].shape).encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _writer(path: Path) -> Callable[[BinaryIO, dict[str, Any], str], object]:
    """The function ``(file, arrays, header)`` for the suffix of the path."""
    if path.suffix == ".npz":
        return lambda file, arrays, header: np.savez(file, header=np.array(header), **arrays)
    if path.suffix == ".safetensors":
        from safetensors.numpy import save

        return lambda file, arrays, header: file.write(save(arrays, metadata={"header": header}))
    raise ValueError(f"statistics are written to .npz or .safetensors, got {path.name!r}")


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    _writer(path)
    if not path.is_file():
        raise FileNotFoundError(f"no statistics at {path}")
    try:
        if path.suffix == ".npz":
            arrays, header = read_npz(path)
        else:
            from safetensors import safe_open

            with safe_open(path, framework="numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
                header = parse_json((file.metadata() or {})["header"])
        whole = header["format"] == FORMAT and header["digest"] == _digest(arrays, header["record"])
    except ForeignFileError:
        raise
    except Exception as error:  # zip, header and JSON errors have no common base
        raise ValueError(f"{path}: no readable statistics file ({error})") from error
    if not whole:
        raise ValueError(f"{path}: damaged, or written by another version; compute it again from the videos")
    return arrays, header["record"]


def read_npz(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays of a file of statistics, and its header; nothing in it is run.

    Raises:
        ForeignFileError: for a file without a header, with what it holds.
        Exception: of numpy, zip or JSON, for a damaged file.
    """
    placeholder.refuse(path, but=("zip",))
    with np.load(path, allow_pickle=False) as file:
        if "header" not in getattr(file, "files", ()):
            raise ForeignFileError(path, getattr(file, "files", ["one array"]))
        arrays = {name: file[name] for name in file.files}
    return arrays, parse_json(str(arrays.pop("header")))
