"""Transport of batches from loader workers: through shared memory if it has room, else through pipes.

Containers give ``/dev/shm`` 64 MiB unless told otherwise. A worker that finds it full is killed, or waits, long after
the start; so the need is counted before the first step. Workers, pipes or none: the samples are the same.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from videodiff.memory import FOLDER, PAGE, room, shared_need, shown, size_to_ask


@dataclass(frozen=True)
class Route:
    """How a run's batches come from its workers.

    Args:
        num_workers: of each loader.
        by_pipe: whether batches go through pipes.
        note: one line for the user, or None where all is as asked for.
    """

    num_workers: int
    by_pipe: bool = False
    note: str | None = None


def choose_route(
    num_workers: int, batch_bytes: list[int], processes: int = 1, free: tuple[int, int] | None = None
) -> Route:
    """How the batches of some loaders that are open together are to come.

    Args:
        num_workers: of each loader, as asked for.
        batch_bytes: of a batch of each loader.
        processes: training processes that share the memory.
        free: what :func:`room` found.
    """
    if num_workers == 0 or free is None:
        return Route(num_workers)
    locks, batches = shared_need(num_workers, batch_bytes, processes)
    has = f"{FOLDER} has {shown(free[0])} free of {shown(free[1])}"
    cure = f"start the container with --shm-size {size_to_ask(free[1] - free[0] + locks + batches)}"
    if locks > free[0]:
        return Route(
            0,
            note=f"{has}, the locks of loader workers need {shown(locks)}: clips are read between the "
            f"steps, as with --data.num_workers 0, which is slower; {cure}",
        )
    if locks + batches > free[0]:
        return Route(
            num_workers,
            by_pipe=True,
            note=f"{has}, the batches of loader workers need {shown(locks + batches)}: they go through "
            f"pipes, which is slower; {cure}, or read in this process with --data.num_workers 0",
        )
    return Route(num_workers)


def tell(note: str) -> None:
    """One line on stderr, before the first step."""
    print(f"videodiff: {note}", file=sys.stderr, flush=True)


def crowded() -> str:
    """What to add to a worker's death when shared memory is nearly full, by whoever uses it; empty when it is not."""
    found = room()
    if found is None or found[0] > found[1] / 20:
        return ""
    return f" ({FOLDER} has {shown(found[0])} free of {shown(found[1])})"


class Piped:
    """A collate function whose tensors go to the other process as bytes, through its pipe.

    Args:
        collate: makes a batch of nested dicts, lists and tensors.
    """

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        batch = self.collate(samples)
        return batch if get_worker_info() is None else packed(batch)


class Packed:
    """A tensor that is pickled by value and comes out as the tensor, in the same order of memory."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> tuple[Any, ...]:
        tensor = self.tensor
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.numel() * tensor.element_size():
            tensor = tensor.contiguous().clone()
            storage = tensor.untyped_storage()
        content = bytes(torch.tensor([], dtype=torch.uint8).set_(storage).numpy())
        return unpacked, (content, tensor.dtype, tuple(tensor.shape), tensor.stride())


def unpacked(content: bytes, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """The tensor that was packed."""
    if not content:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype).as_strided(shape, stride)


def packed(batch: Any) -> Any:
    """The batch with its tensors packed."""
    if isinstance(batch, Tensor):
        return Packed(batch)
    if isinstance(batch, dict):
        return {key: packed(value) for key, value in batch.items()}
    return [packed(value) for value in batch] if isinstance(batch, list) else batch


def shared_int64(size: int, value: int) -> Tensor:
    """Numbers that this process and its workers see alike; where shared memory is full, workers forked from it."""
    found = room()
    if found is None or found[0] >= 16 * PAGE:
        return torch.full((size,), value, dtype=torch.int64).share_memory_()
    return torch.frombuffer(mmap.mmap(-1, 8 * size), dtype=torch.int64).fill_(value)
