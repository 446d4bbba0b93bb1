"""Statistics of real clips, cached per data set and protocol, so that real clips are decoded once.

A reference is one npz file in the user's cache, named by the hash of everything that decides its numbers; the same
fields stand inside it, and a file whose fields are not the ones asked for is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from videodiff import atomic, weights
from videodiff.evaluation.observed import Observed
from videodiff.evaluation.protocol import FEATURE_SWITCHES, Protocol, as_hashed, read_switches
from videodiff.metrics.moments import FeatureStats, ForeignFileError, read_npz

FORMAT = "videodiff-reference-1"
# Generated pixels are rounded and drawn, real ones are not; the count is that of the clips.
REAL_SWITCHES = tuple(switch for switch in FEATURE_SWITCHES if switch not in ("rounding", "draws"))


def cache_folder() -> Path | None:
    """Folder ``references`` in the package's cache, or None without one."""
    folder = weights.cache_folder()
    return folder and folder / "references"


def reference_key(
    protocol: Protocol, data: Mapping[str, Any], detectors: Mapping[str, str | None], count: int, seed: int
) -> dict[str, Any]:
    """Everything that decides the statistics of real clips, as JSON values.

    Args:
        protocol: its switches as far as real clips feel them.
        data: the data set's fingerprint: listing, split, resolution, resize rule and so on.
        detectors: checksum of each network by name, None where it has no file.
        count: of clips.
        seed: of windows and shuffling.
    """
    switches = {switch: getattr(protocol, switch) for switch in REAL_SWITCHES}
    key = {
        "format": FORMAT,
        "data": dict(data),
        "switches": as_hashed(switches),
        "detectors": dict(detectors),
    }
    return json.loads(json.dumps({**key, "count": count, "seed": seed}, default=str))


def reference_path(key: Mapping[str, Any], folder: Path | None = None) -> Path | None:
    """Where the statistics of a key lie, or None without a folder for them."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    folder = folder or cache_folder()
    return folder and folder / f"{digest[:24]}.npz"


def cached_reference(
    key: Mapping[str, Any], observe_real: Callable[[], Observed], folder: Path | None = None
) -> tuple[Observed, bool]:
    """The statistics of a key, from the cache or freshly observed and then kept; and whether they were cached.

    A cache that is not there or cannot be written costs time, not the result.

    Raises:
        ValueError: if the file under this key holds something else, or is damaged.
    """
    path = reference_path(key, folder)
    if path is None:
        return observe_real(), False
    if path.is_file():
        try:
            return load_reference(path, key), True
        except ValueError as error:
            raise ValueError(
                f"{error} (made by an earlier evaluation: remove it to make it again)"
            ) from error
    side = observe_real()
    if len(side) == key["count"]:  # clips that could not be read may be readable the next time
        with contextlib.suppress(OSError):
            save_reference(side, path, key)
    return side, False


def save_reference(side: Observed, path: str | os.PathLike[str], key: Mapping[str, Any]) -> None:
    """Write a side with its key, whole or not at all; two processes may write the same one."""
    path = Path(path)
    arrays: dict[str, Any] = {"places": side.places, "digests": np.array(side.digests)}
    for name, stats in side.features.items():
        arrays[f"feature/{name}/n"] = np.array(stats.n)
        arrays[f"feature/{name}/sum"], arrays[f"feature/{name}/outer"] = stats.sum, stats.outer
        if stats.features is not None:
            arrays[f"feature/{name}/features"] = stats.features.astype(np.float32)  # what the network gave
    for name, values in side.figures.items():
        arrays[f"figure/{name}"] = values
    header = {"key": key, "sizes": sorted(side.sizes), "constant": side.constant, "digest": _digest(arrays)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.opened(path) as file:
        np.savez(file, header=np.array(json.dumps(header)), **arrays)


def load_reference(path: str | os.PathLike[str], expect: Mapping[str, Any]) -> Observed:
    """Read a side and check its key.

    Args:
        path: the file.
        expect: the entries its key must hold; a nested mapping is compared entry by entry.

    Raises:
        ValueError: if it is damaged, of another format, or its key differs; names the first entry that does.
    """
    header, arrays = read_file(path)
    key, expect = filled(header["key"]), filled(expect)
    for name, there, wanted in _differences(key, expect):
        raise ValueError(
            f"reference {path}: {name} is {there}, {wanted} is asked for; these are statistics of something else"
        )
    features: dict[str, FeatureStats] = {}
    for name in {key.split("/")[1] for key in arrays if key.startswith("feature/")}:
        of = f"feature/{name}"
        if f"{of}/features" in arrays:
            features[name] = FeatureStats.from_features(arrays[f"{of}/features"])
        else:
            features[name] = FeatureStats(int(arrays[f"{of}/n"]), arrays[f"{of}/sum"], arrays[f"{of}/outer"])
    return Observed(
        dict(sorted(features.items())),
        {key.removeprefix("figure/"): values for key, values in arrays.items() if key.startswith("figure/")},
        arrays["places"],
        arrays["digests"].tolist(),
        {tuple(size) for size in header["sizes"]},
        int(header["constant"]),
    )


def filled(key: Mapping[str, Any]) -> dict[str, Any]:
    """A key with the switches that an older one lacks, or that were left out as they stood at their default."""
    return {**key, "switches": read_switches(key.get("switches", {}), key.get("data", {}))}


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a reference file; nothing in it is run.

    Raises:
        ValueError: if it is none, or damaged.
    """
    try:
        arrays, header = read_npz(path)
        whole = header["key"]["format"] == FORMAT and header["digest"] == _digest(arrays)
    except ForeignFileError as error:
        raise ValueError(f"{error}; give the folder of videos") from None
    except Exception as error:  # zip, header and JSON errors have no common base
        raise ValueError(f"reference {path} cannot be read ({error})") from error
    if not whole:
        raise ValueError(f"reference {path} is damaged or of another version")
    return header, arrays


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}{arrays[name].dtype}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _differences(there: Any, wanted: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        found = [_differences(there.get(k), wanted[k], f"{name}.{k}" if name else k) for k in sorted(wanted)]
        return [difference for part in found for difference in part]
    return [] if there == wanted else [(name, there, wanted)]
