"""Checkpoint files: written whole or not at all, verified before they are read.

A file is a zip archive of ``torch.save`` whose archive comment holds a CRC-32 over every byte before it. The records'
own CRCs, which torch writes but never looks at, leave headers and padding uncovered; ours covers the whole file.
This is the only file of the package that calls ``torch.load``.
"""

import errno
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor

from videodiff import atomic, placeholder, reasons
from videodiff.checkpoints.exported import is_pipeline, read_exported, verify_exported
from videodiff.migrations import migrated
from videodiff.say import counted

SEAL = b"videodiff-crc32:"
END_RECORD = 22  # bytes of a zip's end record without its comment
MAX_BYTES = 256 * 2**30
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PLACED_ENCODER = re.compile(r"^conditioners\.\d+\.encoder\.")
FOREIGN = ("hyper_parameters", "datamodule_hyper_parameters", "hparams_name", "hparams_type")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is one line with the file, the reason and the way out."""


class SealingWriter:
    """A file to ``torch.save`` into, which sums what passes."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.crc, self.count = file, 0, 0

    def write(self, data: Any) -> int:
        self.crc = zlib.crc32(data, self.crc)
        self.count += len(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()

    def seal(self) -> None:
        """Append the checksum as the archive's comment; the sum was taken with the comment's length still 0."""
        comment = SEAL + f"{self.crc:08x}".encode()
        self.file.seek(self.count - 2)
        self.file.write(struct.pack("<H", len(comment)) + comment)


def save_checkpoint(obj: Any, path: str | os.PathLike) -> None:
    """Write ``obj`` beside ``path``, sync it and rename it over ``path``, so that one whole file is always there.

    Raises:
        OSError: when it cannot be written, in one line with the path and, for a full disk, the missing bytes. The old
            file is untouched and the unfinished one removed.
    """
    path = Path(path)
    try:
        with atomic.opened(path) as file:
            writer = SealingWriter(file)
            torch.save(obj, cast(IO[bytes], writer))  # it has what torch calls of a file
            writer.seal()
    except (OSError, RuntimeError) as err:
        raise write_error(err, obj, path, free_bytes(path.parent)) from err


def unlink(path: Path) -> None:
    """Remove a file that may not be there."""
    try:
        path.unlink(missing_ok=True)
    except OSError:  # its folder is gone or read-only: the error that brought us here is the one to tell
        return


def free_bytes(folder: Path) -> int | None:
    """Free bytes on the file system of a folder, or None when the folder is gone."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def write_error(err: OSError | RuntimeError, obj: Any, path: Path, free: int | None) -> OSError:
    """One line for a failed save; torch hides a full disk behind a RuntimeError about ``unexpected pos``."""
    code = getattr(err, "errno", None)
    cause = err.__cause__ or err.__context__
    while code is None and cause is not None:
        code = getattr(cause, "errno", None)
        cause = cause.__cause__ or cause.__context__
    if free is None:
        return OSError(
            f"cannot save checkpoint {path}: its folder is gone (create it and go on from the newest checkpoint)"
        )
    need = num_bytes(obj)
    if code in NO_SPACE or (code is None and free < need):
        limit = " or the file-size limit" if code == errno.EFBIG else ""
        return OSError(
            f"cannot save checkpoint {path}: disk full{limit}, {need} bytes needed and {free} free, "
            f"{max(need - free, 0)} missing (free some space; the previous checkpoint is intact)"
        )
    reason = os.strerror(code) if code else reasons.reason(err)
    return OSError(f"cannot save checkpoint {path}: {reason} (the previous checkpoint is intact)")


def tensors(obj: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of nested dicts, lists and tuples with its dotted name."""
    if isinstance(obj, Tensor):
        yield name, obj
    elif isinstance(obj, Mapping):
        for key, value in obj.items():
            yield from tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(obj, list | tuple):
        for key, value in enumerate(obj):
            yield from tensors(value, f"{name}.{key}")


def num_bytes(obj: Any) -> int:
    """Bytes of all tensors in ``obj``, shared ones once, with a margin for the archive."""
    sizes = {t.data_ptr() or id(t): t.numel() * t.element_size() for _, t in tensors(obj)}
    return sum(sizes.values()) + 256 * len(sizes) + 65536


def non_finite(checkpoint: Mapping[str, Any]) -> list[str]:
    """Names of the weights (averaged and raw) and optimizer moments that hold NaN or infinity."""
    parts = {key: checkpoint.get(key, {}) for key in ("state_dict", "raw_state_dict", "optimizer_states")}
    found = []
    for name, tensor in tensors(parts):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            found.append(name)
    return found


def verify_checkpoint(path: str | os.PathLike, max_bytes: int = MAX_BYTES) -> None:
    """Check that a file is a whole, undamaged archive, without unpickling anything.

    Raises:
        CheckpointError: in one line, when it is not.
    """
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"checkpoint {path} is not a regular file")
        if (found := placeholder.explain(path, but=("zip",))) is not None:
            raise CheckpointError(f"checkpoint {path} {found}")
        if not 0 < status.st_size <= max_bytes:
            raise CheckpointError(
                f"checkpoint {path} has {status.st_size} bytes; 1 to {max_bytes} are accepted"
            )
        if path.suffix == ".safetensors":
            verify_exported(path)
        else:
            check_archive(path, status.st_size)
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {path} does not exist") from None
    except CheckpointError:
        raise
    except Exception as err:  # zipfile raises a dozen types on damaged files
        raise CheckpointError(
            f"checkpoint {path} is damaged or no checkpoint: {reasons.reason(err)} (use another one)"
        ) from err


def check_archive(path: Path, size: int) -> None:
    """Stored zip entries only, and the seal's CRC-32; without a seal (another program's file) the records' CRCs."""
    with zipfile.ZipFile(path) as archive:
        names = [entry.filename for entry in archive.infolist()]
        if len(set(names)) != len(names):
            raise CheckpointError(f"checkpoint {path} holds two records of one name")
        if any(e.compress_type != zipfile.ZIP_STORED or e.file_size > size for e in archive.infolist()):
            raise CheckpointError(f"checkpoint {path} holds compressed records, which torch never writes")
        comment = archive.comment
        if not comment and (bad := archive.testzip()) is not None:
            raise CheckpointError(f"checkpoint {path} is damaged: wrong checksum of {bad} (use another one)")
    with path.open("rb") as file:
        file.seek(size - len(comment) - END_RECORD)
        end = file.read(END_RECORD)
        if end[:4] != b"PK\x05\x06" or struct.unpack("<H", end[-2:])[0] != len(comment):
            raise CheckpointError(f"checkpoint {path} is damaged: bytes after its end (use another one)")
        if comment and comment != SEAL + f"{crc_before(file, size - len(comment) - 2):08x}".encode():
            raise CheckpointError(f"checkpoint {path} is damaged: wrong checksum (use another one)")


def is_sealed(path: Path) -> bool:
    """Whether a file ends as :func:`save_checkpoint` leaves it: one of ours, undamaged or not."""
    size = len(SEAL) + 8
    with path.open("rb") as file:
        file.seek(-min(size, path.stat().st_size), os.SEEK_END)
        return file.read(len(SEAL)) == SEAL


def crc_before(file: BinaryIO, count: int) -> int:
    """CRC-32 of the first ``count`` bytes and two zeros, the comment's length when the sum was taken."""
    file.seek(0)
    crc = 0
    while count > 0:
        chunk = file.read(min(count, 2**22))
        if not chunk:
            break
        crc = zlib.crc32(chunk, crc)
        count -= len(chunk)
    return zlib.crc32(b"\0\0", crc)


def load_file(path: str | os.PathLike, finite: bool = False, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read the checkpoint of one run to the CPU: regular file, size, checksum, ``weights_only`` unpickling, schema.

    Args:
        path: the file.
        finite: also refuse NaN and infinite weights.
        max_bytes: refuse larger files.

    Raises:
        CheckpointError: in one line, for whatever is wrong with the file. Nothing in it is ever imported or run.
    """
    if is_pipeline(Path(path)):
        raise CheckpointError(f"{path} is a pipeline of several runs; name the checkpoint of one")
    verify_checkpoint(path, max_bytes)
    is_exported = Path(path).suffix == ".safetensors"
    try:
        checkpoint = (
            read_exported(Path(path))
            if is_exported
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as err:  # a hostile or foreign pickle fails in as many ways as there are opcodes
        if is_exported:
            raise CheckpointError(f"checkpoint {' '.join(str(err).split())}") from err
        raise CheckpointError(
            f"checkpoint {path} holds more than tensors and plain values, refused: {reasons.reason(err)}"
        ) from err
    check_schema(checkpoint, Path(path))
    try:
        checkpoint["videodiff"] = migrated(
            "checkpoint", checkpoint.get("videodiff", {}), f"checkpoint {path}"
        )
    except ValueError as err:
        raise CheckpointError(str(err)) from err
    for part in ("state_dict", "raw_state_dict"):
        if part in checkpoint:
            checkpoint[part] = named_as_today(checkpoint[part])
    if finite and (bad := non_finite(checkpoint)):
        raise CheckpointError(f"checkpoint {path} holds {len(bad)} non-finite tensors, the first is {bad[0]}")
    return checkpoint


def named_as_today(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by the names that they have now; of a text encoder that was named by its place among conditions."""
    return {PLACED_ENCODER.sub(r"conditioners.Text.encoder.", name): value for name, value in weights.items()}


def check_schema(checkpoint: Any, path: Path) -> None:
    """A dict with a dict of named dense tensors, and none of the keys through which Lightning imports classes."""
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError(f"checkpoint {path} has no state_dict (not a training checkpoint)")
    for part in ("state_dict", "raw_state_dict"):
        for key, value in dict(checkpoint.get(part) or {}).items():
            if not isinstance(key, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
                raise CheckpointError(
                    f"checkpoint {path}: {part} entry {str(key)[:80]!r} is not a named dense tensor"
                )
    if found := [key for key in FOREIGN if key in checkpoint]:
        raise CheckpointError(f"checkpoint {path} holds {found[0]}, which names code to import; refused")
    ours = checkpoint.get("videodiff", {})
    if not isinstance(ours, dict) or not isinstance(ours.get("config", ""), str):
        raise CheckpointError(f"checkpoint {path}: its videodiff entry holds no config text")


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's door to the functions above; refuses to write non-finite weights."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        if bad := non_finite(checkpoint):
            raise RuntimeError(
                f"checkpoint {path} not written: {counted(len(bad), 'tensor')} not finite, the first is {bad[0]} "
                "(resume from the last good checkpoint with a lower learning rate)"
            )
        Path(path).parent.mkdir(exist_ok=True)  # but not the run's: one that vanished is not begun anew
        save_checkpoint(checkpoint, path)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> Any:
        return load_file(path)

    def remove_checkpoint(self, path: Any) -> None:
        unlink(Path(path))

    def link(self, source: Path, path: Path) -> None:
        """Give a saved checkpoint a second name, see :func:`~videodiff.atomic.second_name`."""
        atomic.second_name(source, path)

    def clean(self, folder: Path) -> None:
        """Remove what killed saves left behind."""
        atomic.clear_parts(folder)
