"""Parameters of a TorchScript archive, read without running it.

``torch.jit.load`` compiles the code of an archive and runs parts of it. Its tensors, however, are described by
``data.pkl``, a pickle, and stored as raw bytes beside it. Here the pickle's opcodes are only *written down*: a class
name stays a string, a call stays a record of its name and arguments, and the one call that is understood is the one
that describes a tensor.
"""

import math
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MAX_NODES = 1_000_000
MAX_PICKLE_BYTES = 64 * 2**20
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
MARK = object()


@dataclass
class Call:
    """What a pickle would have called: a dotted name, the arguments, and the state it would have set."""

    name: Any
    args: Any
    state: Any = None


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """Whether a zip holds a compiled module rather than a plain ``torch.save``."""
    return any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())


def read_torchscript(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a TorchScript module under the dotted names of its state dict.

    Raises:
        ValueError: for an archive with anything in it that this reader does not know.
    """
    with zipfile.ZipFile(path) as archive:
        entry = next((e for e in archive.infolist() if e.filename.endswith("/data.pkl")), None)
        if entry is None or entry.file_size > MAX_PICKLE_BYTES:
            raise ValueError("a TorchScript archive without a data.pkl of sane size")
        root = entry.filename.removesuffix("data.pkl")
        module = transcribe(archive.read(entry))
        storages: dict[str, bytearray] = {}
        tensors = {}
        for name, call in tensor_calls(module):
            tensors[name] = rebuild(call, archive, root, storages)
    return tensors


def transcribe(data: bytes) -> Any:
    """The object graph of a pickle with every call left undone."""
    stack: list[Any] = []
    memo: dict[Any, Any] = {}  # by the number that an opcode carries
    for opcode, arg, _ in pickletools.genops(data):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else arg] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[arg])
        elif name in STRUCTURE:
            STRUCTURE[name](stack)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name]())
        elif name in LITERALS:
            stack.append(arg)
        else:
            raise ValueError(f"pickle opcode {name} in a TorchScript archive")
    raise ValueError("a pickle without an end")


def since_mark(stack: list[Any]) -> list[Any]:
    """Pop what lies above the last mark, and the mark."""
    index = next((i for i in range(len(stack) - 1, -1, -1) if stack[i] is MARK), None)
    if index is None:
        raise ValueError("a pickle that closes what it never opened")
    items = stack[index + 1 :]
    del stack[index:]
    return items


def set_items(stack: list[Any], items: list[Any]) -> None:
    """Add keys and values to the mapping on top of the stack; one that a call would have made keeps them as state."""
    mapping = stack[-1]
    if isinstance(mapping, Call):
        mapping.state = mapping.state or {}
        mapping = mapping.state
    mapping.update(zip(items[::2], items[1::2], strict=True))


def take(stack: list[Any], count: int) -> tuple[Any, ...]:
    """Pop that many items, in their order."""
    items = tuple(stack[len(stack) - count :])
    del stack[len(stack) - count :]
    return items


def call(stack: list[Any]) -> None:
    """Note down a call instead of making it."""
    function, args = take(stack, 2)
    stack.append(Call(function, args))


def build(stack: list[Any]) -> None:
    """Give the call below it the state on top of the stack."""
    state = stack.pop()
    if not isinstance(stack[-1], Call):
        raise ValueError("a pickle that sets the state of a plain value")
    if isinstance(state, dict) and isinstance(
        stack[-1].state, dict
    ):  # attributes of a mapping, beside its items
        state = stack[-1].state | state
    stack[-1].state = state


CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: MARK,
}
LITERALS = (
    "GLOBAL", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "SHORT_BINSTRING", "BINSTRING", "INT", "LONG", "UNICODE",
)  # fmt: skip
STRUCTURE = {
    "TUPLE1": lambda s: s.append(take(s, 1)),
    "TUPLE2": lambda s: s.append(take(s, 2)),
    "TUPLE3": lambda s: s.append(take(s, 3)),
    "TUPLE": lambda s: s.append(tuple(since_mark(s))),
    "SETITEM": lambda s: set_items(s, list(take(s, 2))),
    "SETITEMS": lambda s: set_items(s, since_mark(s)),
    "APPEND": lambda s: s[-2].append(s.pop()),
    "APPENDS": lambda s: (lambda items: s[-1].extend(items))(since_mark(s)),
    "BINPERSID": lambda s: s.append(Call("persistent", s.pop())),
    "REDUCE": call,
    "NEWOBJ": call,
    "BUILD": build,
}


def tensor_calls(module: Any) -> Iterator[tuple[str, Call]]:
    """(dotted name, description) of every tensor under a module, depth first."""
    pending, seen = [("", module)], 0
    while pending:
        name, node = pending.pop()
        seen += 1
        if seen > MAX_NODES or len(name) > 1000:
            raise ValueError("a TorchScript archive nested without end")
        if isinstance(node, Call) and node.name == "torch._utils _rebuild_parameter":
            node = node.args[0]
        if isinstance(node, Call) and node.name == "torch._utils _rebuild_tensor_v2":
            yield name, node
            continue
        children = node.state if isinstance(node, Call) else node
        if isinstance(children, dict):
            inner = [(f"{name}.{key}" if name else str(key), value) for key, value in children.items()]
            pending.extend(reversed(inner))


def rebuild(tensor: Call, archive: zipfile.ZipFile, root: str, storages: dict[str, bytearray]) -> Tensor:
    """The tensor that a ``_rebuild_tensor_v2`` call describes, out of the bytes of its storage."""
    storage, offset, size, stride = tensor.args[:4]
    kind, dtype_name, key = storage.args[:3]
    dtype = DTYPES.get(str(dtype_name).split(" ")[-1])
    if kind != "storage" or dtype is None:
        raise ValueError(f"a tensor of {dtype_name}")
    if key not in storages:
        storages[key] = bytearray(archive.read(f"{root}data/{key}"))
    if math.prod(size) == 0:
        return torch.empty(size, dtype=dtype)
    flat = torch.frombuffer(storages[key], dtype=dtype)
    if math.prod(size) > flat.numel():
        raise ValueError("a tensor larger than its storage")
    return flat.as_strided(tuple(size), tuple(stride), offset).contiguous()
