"""Reads tensors from a file of any usual format, without ever running code from it."""

import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from videodiff import placeholder, reasons

from .archive import is_torchscript, read_torchscript
from .wrappers import without_shared_prefix, without_wrappers

MAX_BYTES = 16 * 2**30
WRAPPERS = ("state_dict", "model", "model_state_dict", "module")


def load_tensors(path: str | os.PathLike) -> dict[str, Tensor]:
    """Named tensors of a ``.safetensors``, ``.npz``, ``.pt`` or ``.pth`` file, on the CPU, in the dtype of the file.

    A TorchScript archive gives its parameters and buffers; its code is not looked at. Names are without wrappers
    (:mod:`videodiff.weights.wrappers`), and without a ``module.`` that all of them begin with.

    Raises:
        FileNotFoundError: without the file.
        ValueError: in one line, for a file that is damaged, holds anything but tensors, or would run code if let.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"weights {path} do not exist")
    if (found := placeholder.explain(path, but=("zip",))) is not None:
        raise ValueError(f"weights {path} {found}")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= MAX_BYTES:
        raise ValueError(f"weights {path}: a regular file of 1 to {MAX_BYTES} bytes is wanted")
    try:
        content = read(path)
    except Exception as err:  # damaged and hostile files fail in as many ways as there are parsers
        raise ValueError(
            f"weights {path} are damaged or hold more than tensors, refused: {reasons.reason(err)}"
        ) from err
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"weights {path} hold no named tensors")
    try:
        return without_shared_prefix(without_wrappers(tensors))
    except ValueError as error:
        raise ValueError(f"weights {path}: {error}") from error


def read(path: Path) -> dict[str, Any]:
    """The file's mapping, by what its first bytes say it is."""
    with path.open("rb") as file:
        head = file.read(9)
    if head[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise ValueError(f"unpacks to more than {MAX_BYTES} bytes")
            is_numpy = any(name.endswith(".npy") for name in archive.namelist())
            torchscript = is_torchscript(archive)
        if is_numpy:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}
        if torchscript:
            return read_torchscript(path)
    elif path.suffix == ".safetensors" or head[8:] == b"{":  # the length of a JSON header, then the header
        return load_file(path)
    return unwrap(torch.load(path, map_location="cpu", weights_only=True))


def unwrap(content: Any) -> dict[str, Any]:
    """The mapping of tensors inside a training checkpoint, or the content itself."""
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise ValueError(f"a mapping of names to tensors is wanted, found a {type(content).__name__}")
    return {str(key): value for key, value in content.items()}
