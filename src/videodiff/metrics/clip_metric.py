"""What all metrics over clips share: rows with a number per clip, gathered over processes in the clips' order.

States live on the CPU in float64 (MPS has none) and follow neither ``.to(device)`` nor ``.half()`` nor a precision
plugin. Every clip has an index; rows are ordered by it and repeats of an index are dropped, so that a result depends
neither on batches nor on the number of processes nor on the copies with which a sampler fills the last batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from videodiff.metrics.moments import KEEP_FEATURES, FeatureStats, check_features

if TYPE_CHECKING:
    from videodiff.metrics.features import FeatureExtractor


def gather_over_backend(tensor: Tensor, group: Any = None) -> list[Tensor]:
    """All processes' tensors, on the CPU; NCCL moves only what is on the GPU, so it goes there and back."""
    on_gpu = str(dist.get_backend(group)) == "nccl"
    sent = tensor.to("cuda") if on_gpu else tensor
    return [part.cpu() for part in gather_all_tensors(sent, group)]


@contextmanager
def undisturbed() -> Iterator[None]:
    """A network that is made at its first use draws no number of the run, and is made in fp32.

    Lightning's ``precision="bf16-true"`` changes torch's default dtype inside its steps.
    """
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        try:
            torch.set_default_dtype(torch.float32)
            yield
        finally:
            torch.set_default_dtype(before)


@dataclass(frozen=True)
class Table:
    """The rows of one side.

    Args:
        width: numbers in a row.
        dtype: of the rows.
        has_sums: whether the rows are features, whose sums are kept where the rows no longer are.
    """

    width: int
    dtype: torch.dtype = torch.float64
    has_sums: bool = False


class ClipMetric(Metric):
    """A torchmetrics metric with tables of rows, one row per clip (or frame): float64, or int64 for facts.

    ``update`` is the way to feed it; ``forward`` updates too and returns nothing, because a distance between
    distributions has no value for one batch.

    Args:
        num_clips: how many clips the protocol asks for; fewer make ``compute`` warn.
        kwargs: of ``torchmetrics.Metric``; ``sync_on_compute=False`` for a process that evaluates alone.
    """

    is_differentiable = False
    full_state_update = False
    features: FeatureExtractor | None

    def __init__(self, num_clips: int | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("dist_sync_fn", gather_over_backend)
        super().__init__(**kwargs)
        self.num_clips = num_clips
        self._clip_shape: tuple[int, ...] | None = None
        self._tables: dict[str, Table] = {}
        self._numbered: dict[str, bool] = {}

    def _add_table(self, side: str, table: Table) -> None:
        """Make the states of one side: rows ``[n, width]`` with the index of each, and the sums of features."""
        self._tables[side] = table
        self.add_state(f"{side}_rows", [], dist_reduce_fx="cat")
        self.add_state(f"{side}_index", [], dist_reduce_fx="cat")
        if table.has_sums:
            sums = torch.zeros(table.width, dtype=torch.float64)
            self.add_state(f"{side}_sum", sums, dist_reduce_fx="sum")
            self.add_state(f"{side}_outer", torch.outer(sums, sums), dist_reduce_fx="sum")

    def _seen(self, side: str) -> int:
        """Clips of a side that this process has seen."""
        return sum(map(len, getattr(self, f"{side}_index"))) if side in self._tables else 0

    def _append_features(
        self, side: str, features: Tensor | np.ndarray, index: Tensor | None, keep: int, what: str
    ) -> None:
        """Add features ``[B, width]``; beyond `keep` clips of this process their sums alone are kept.

        Raises:
            ValueError: if a feature is not finite (names the clip) or the width is another.
        """
        seen = self._seen(side)
        rows = check_features(features, first=seen, what=what)
        if side not in self._tables:
            self._add_table(side, Table(rows.shape[1], has_sums=True))
        if rows.shape[1] != self._tables[side].width:
            raise ValueError(
                f"features must have {self._tables[side].width} numbers per clip, got {rows.shape[1]}"
            )
        is_kept = seen + len(rows) <= keep
        self._append(side, torch.from_numpy(rows), index, is_kept)
        if not is_kept:
            setattr(self, f"{side}_rows", [])
        if self._tables[side].has_sums:
            sums = {"sum": rows.sum(axis=0), "outer": rows.T @ rows}
            for name, part in sums.items():
                state = f"{side}_{name}"
                setattr(self, state, getattr(self, state) + torch.from_numpy(part))

    def _feature_stats(self, side: str, keep: int = KEEP_FEATURES) -> FeatureStats:
        """Statistics of what was gathered of a side: of the features in the clips' order, or of their sums."""
        rows, index = self._gathered(side)
        if len(rows) == len(index) and len(rows):
            return FeatureStats.from_features(rows, keep_features=keep)
        return FeatureStats(
            len(index), getattr(self, f"{side}_sum").numpy(), getattr(self, f"{side}_outer").numpy()
        )

    def _append(self, side: str, rows: Tensor, index: Tensor | None = None, keep: bool = True) -> None:
        """Add rows ``[B, width]``; the i-th clip of process r of W is number ``i W + r`` if `index` is not given."""
        held: list[Tensor] = getattr(self, f"{side}_index")
        numbered = index is not None
        if self._numbered.get(side, numbered) != numbered:
            raise ValueError("index: give the clips' numbers in every update of a side, or in none")
        if index is None:
            rank, world = self._place()
            seen = sum(map(len, held))
            index = torch.arange(seen, seen + len(rows)) * world + rank
        index = torch.as_tensor(index).detach().cpu().long().flatten()
        if len(index) != len(rows):
            raise ValueError(f"index must hold one number per clip, got {len(index)} for {len(rows)}")
        self._numbered[side] = numbered
        setattr(self, f"{side}_index", [*held, index])
        if keep:
            rows = rows.detach().cpu().to(self._tables[side].dtype)
            setattr(self, f"{side}_rows", [*getattr(self, f"{side}_rows"), rows])

    def _place(self) -> tuple[int, int]:
        """This process's number and how many take part; alone with ``sync_on_compute=False``."""
        if not (self.sync_on_compute and dist.is_available() and dist.is_initialized()):
            return 0, 1
        return dist.get_rank(self.process_group), dist.get_world_size(self.process_group)

    def _over_processes(self) -> AbstractContextManager:
        """States of all processes inside the ``with``; every process must enter it."""
        return self.sync_context(
            dist_sync_fn=self.dist_sync_fn,
            process_group=self.process_group,
            should_sync=self.sync_on_compute,
        )

    def _gathered(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows ``[n, width]`` and indices ``[n]`` of a side, ordered by index, each index once.

        Where rows were dropped, they come back as ``[0, width]`` beside all (ordered) indices.
        """
        rows, index = (_joined(getattr(self, f"{side}_{what}")) for what in ("rows", "index"))
        numbers, first = np.unique(index.numpy(), return_index=True)
        if rows is None or len(rows) != len(index):
            if len(numbers) != len(index):
                raise ValueError(
                    f"{len(index) - len(numbers)} {side} clips came twice and their features were not kept: "
                    "raise keep_features, or use a sampler without padding"
                )
            return np.zeros((0, self._tables[side].width)), numbers
        return rows.numpy()[first], numbers

    def _check_clips(self, clips: Tensor, what: str) -> Tensor:
        """uint8 ``[B, T, H, W, 3]`` with the T of earlier clips; :meth:`_remember` them once they are taken.

        Raises:
            TypeError: if the clips are not uint8.
            ValueError: if the shape or the number of frames is another.
        """
        clips = torch.as_tensor(clips)
        if clips.dtype != torch.uint8:
            raise TypeError(
                f"{what} clips must be uint8 [B, T, H, W, 3], got {str(clips.dtype).removeprefix('torch.')} "
                f"{list(clips.shape)} (videodiff.data.pixels.to_uint8 converts videos in [-1, 1]; then channels last)"
            )
        if clips.ndim != 5 or clips.shape[-1] != 3 or 0 in clips.shape[1:]:
            raise ValueError(f"{what} clips must have the shape [B, T, H, W, 3], got {list(clips.shape)}")
        shape = tuple(clips.shape[1:4])
        earlier = self._clip_shape or shape
        if shape[0] != earlier[0]:
            raise ValueError(
                f"{what} clips have {shape[0]} frames, earlier clips {earlier[0]}: cut them to one length"
            )
        if shape != earlier:
            warnings.warn(
                f"{what} clips are {shape[1]}x{shape[2]}, earlier clips {earlier[1]}x{earlier[2]}: "
                "their sharpness differs, and is measured too",
                stacklevel=4,
            )
        return clips

    def _remember(self, clips: Tensor) -> None:
        self._clip_shape = self._clip_shape or tuple(clips.shape[1:4])

    def _features(self, clips: Tensor) -> Tensor:
        """Features of checked clips."""
        if self.features is None:
            raise ValueError("this metric was made without a network: it takes features, by update_features")
        with undisturbed():
            return self.features(clips)

    def _check_count(self, side: str, count: int) -> None:
        if self.num_clips is not None and count < self.num_clips:
            warnings.warn(
                f"{count} {side} clips where {self.num_clips} were asked for: no value to compare with others",
                stacklevel=4,
            )

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Same as ``update``."""
        self.update(*args, **kwargs)

    def reset(self) -> None:
        super().reset()
        self._clip_shape = None
        self._numbered = {}

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather over processes; one that has seen no clips takes part with empty tables like the others'."""
        self._agree_on_tables()
        for side, table in self._tables.items():
            for what, nothing in (
                ("rows", torch.zeros(0, table.width, dtype=table.dtype)),
                ("index", torch.zeros(0).long()),
            ):
                held = getattr(self, f"{side}_{what}")
                if isinstance(held, list):
                    setattr(self, f"{side}_{what}", [torch.cat([nothing, *held])])
        super().sync(*args, **kwargs)

    def _agree_on_tables(self) -> None:
        """Tables are made as clips come: a process without clips makes those that others have."""
        world = self._place()[1]
        if world == 1:
            return
        tables: list[Any] = [None] * world
        dist.all_gather_object(tables, self._tables, self.process_group)
        for side, table in ((side, table) for found in tables for side, table in found.items()):
            if side not in self._tables:
                self._add_table(side, table)

    def _apply(self, fn: Callable, *args: Any, **kwargs: Any) -> ClipMetric:
        """Nothing moves and nothing is cast: the states are float64 on the CPU, whatever the module around does."""
        return self


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """A gathered or local state as one tensor."""
    if isinstance(state, Tensor):
        return state
    return torch.cat(state) if state else torch.zeros(0)
