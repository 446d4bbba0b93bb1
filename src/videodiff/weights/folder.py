"""Folders of published networks, as diffusers and transformers write them: which files hold the weights.

Loads no torch: what is wrong with a folder is told at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from videodiff import placeholder
from videodiff.reading import read_mapping

MAX_BYTES = 1 << 24  # of a config or an index


def weights_of(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of some files that a folder has: its weights, or the index that names their shards."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def weight_files(folder: Path, names: Sequence[str], convert: str, option: str) -> list[Path]:
    """The files of a folder's weights, each looked at for a placeholder in its stead.

    Args:
        folder: of the network.
        names: under which its weights may lie, or the index of their shards; the first that is there counts.
        convert: how the other library rewrites weights in another format, a call with ``{folder}`` in it.
        option: that names the folder.

    Raises:
        FileNotFoundError: without weights, or where a shard is missing.
        ValueError: for weights in another format alone, placeholders, and an index that is none.
    """
    if (index := weights_of(folder, names)) is None:
        if pickles := sorted(file.name for file in folder.glob("*.bin")):
            raise ValueError(
                f"{folder} holds its weights as {pickles[0]} alone, and only safetensors are read: convert it with "
                f"{convert.format(folder=repr(str(folder)))}.save_pretrained(FOLDER), and name FOLDER with {option}"
            )
        raise FileNotFoundError(f"{folder} holds no weights ({names[0]}, or its shards)")
    files = [index] if index.suffix == ".safetensors" else shards(index)
    for file in files:
        placeholder.refuse(file, but=())
    return files


def shards(index: Path) -> list[Path]:
    """The files that an index names.

    Raises:
        FileNotFoundError: naming the first that is missing.
        ValueError: for an index that names none, or files elsewhere.
    """
    placeholder.refuse(index)
    names = read_mapping(index, max_bytes=MAX_BYTES).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise ValueError(f"{index} names no files of weights (weight_map)")
    found = []
    for name in sorted(set(names.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{index} names {name!r}, which is no safetensors file beside it")
        if not (index.parent / name).is_file():
            raise FileNotFoundError(f"{index} names {name}, which is not there: fetch every shard")
        found.append(index.parent / name)
    return found
