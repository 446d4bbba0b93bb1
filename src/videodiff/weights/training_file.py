"""Reads tensors from a whole training checkpoint of another project, without ever running code from it.

Such a file names classes of its project and of the Lightning of its day (callbacks, configurations), which torch's own
restricted reader refuses for good reason: it would have to import them. Here its pickle is only written down
(:mod:`videodiff.weights.archive`), and a file that names anything but the usual is refused all the same.
"""

import os
import pickletools
import re
import stat
import zipfile
from pathlib import Path

from torch import Tensor

from videodiff import placeholder, reasons

from .archive import MAX_PICKLE_BYTES, is_torchscript, rebuild, tensor_calls, transcribe
from .tensors import load_tensors

MAX_BYTES = 64 * 2**30
# What the pickles of honest checkpoints name. None of it is called or imported, whatever it is.
USUAL = re.compile(
    r"collections (OrderedDict|defaultdict|Counter)"
    r"|torch\._utils _rebuild_(tensor_v2|parameter|tensor)"
    r"|torch (\w+Storage|Size|device|dtype|float16|float32|float64|bfloat16|int64|int32|uint8|bool)"
    r"|torch\.(nn|optim)\.[\w.]+ [A-Z]\w*"
    r"|(__builtin__|builtins) (set|frozenset|dict|list|tuple|int|float|bool|str|complex|bytearray|object|slice|range)"
    r"|_codecs encode|copy_reg _reconstructor|copyreg _reconstructor"
    r"|numpy(\._core|\.core)?\.(multiarray|numeric) (scalar|_reconstruct|_frombuffer)|numpy (dtype|ndarray)"
    r"|(pytorch_lightning|lightning|lightning_fabric|lightning_utilities|lightning_lite)(\.\w+)* [A-Z]\w*"
    r"|omegaconf(\.\w+)* [A-Z]\w*|typing Any|typing (Union|Optional|List|Dict)|pathlib (PosixPath|Path|PurePosixPath)"
    r"|argparse Namespace|datetime (datetime|timedelta)|enum Enum"
)


def load_training_file(path: str | os.PathLike) -> tuple[dict[str, Tensor], list[str]]:
    """Every tensor of a file by its dotted name, wrappers and all, and the top-level entries that hold none.

    Reads what :func:`load_tensors` reads, and PyTorch checkpoints that hold objects beside their tensors.

    Raises:
        FileNotFoundError: without the file.
        ValueError: in one line, for a file that is damaged or names code that no checkpoint needs.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    if (found := placeholder.explain(path, but=("zip",))) is not None:
        raise ValueError(f"checkpoint {path} {found}")
    if not stat.S_ISREG(path.stat().st_mode) or not 0 < path.stat().st_size <= MAX_BYTES:
        raise ValueError(f"checkpoint {path}: a regular file of 1 to {MAX_BYTES} bytes is wanted")
    if not zipfile.is_zipfile(path):
        return load_tensors(path), []
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next((e for e in archive.infolist() if e.filename.endswith("/data.pkl")), None)
            if entry is not None and not is_torchscript(archive):
                return read_archive(archive, entry)
    except Exception as err:  # damaged and hostile files fail in as many ways as there are parsers
        raise ValueError(
            f"checkpoint {path} is damaged or holds more than a checkpoint, refused: {reasons.reason(err)}"
        ) from err
    return load_tensors(path), []


def read_archive(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors that a pickle describes, and its top-level names without any."""
    if entry.file_size > MAX_PICKLE_BYTES:
        raise ValueError(f"a pickle of {entry.file_size} bytes; {MAX_PICKLE_BYTES} are accepted")
    if any(e.file_size > e.compress_size for e in archive.infolist()):
        raise ValueError("compressed records, which torch never writes")
    data = archive.read(entry)
    check_names(data)
    content = transcribe(data)
    root = entry.filename.removesuffix("data.pkl")
    storages: dict[str, bytearray] = {}
    tensors = {name: rebuild(call, archive, root, storages) for name, call in tensor_calls(content)}
    if not tensors:
        raise ValueError("no named tensors")
    tops = {name.split(".")[0] for name in tensors}
    names = content if isinstance(content, dict) else {}
    return tensors, [str(name) for name in names if str(name).split(".")[0] not in tops]


def check_names(data: bytes) -> None:
    """Refuse a pickle that names anything that honest checkpoints do not.

    Raises:
        ValueError: naming the first.
    """
    for opcode, arg, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL" and not USUAL.fullmatch(str(arg)):
            raise ValueError(f"it names {'.'.join(str(arg).split())[:80]}")
