"""Embeddings of time, conditions and the distance between frames."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from rotary_embedding_torch import RotaryEmbedding
from torch import Tensor, nn

from .resized import OwnSizes, Resized, by_distance, rows_kept


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """A context in which autocast is off (the meta device, on which FLOPs are counted, knows no autocast)."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def sinusoidal_embedding(time: Tensor, dim: int, is_open: bool = False) -> Tensor:
    """Sines, then cosines, of ``time`` at ``dim / 2`` frequencies from 1 down to 1e-4 (Ho et al. 2020).

    Args:
        time: ``[B]``, in steps of about 0 to 1000.
        dim: width of the result, even and at least 4.
        is_open: stop one frequency short of 1e-4, as networks after Dhariwal & Nichol 2021 do.

    Returns:
        ``[B, dim]`` fp32.
    """
    half = dim // 2
    ranks = torch.arange(half, device=time.device, dtype=torch.float32)
    angles = time.float()[:, None] * torch.exp(ranks * (-math.log(10_000) / (half if is_open else half - 1)))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class TimeEmbedding(OwnSizes, nn.Module):
    """The vector every residual block sees: time, class, vector and noise of the joined video, through an MLP.

    ``Linear``, the sum with what conditions the sample, then ``num_layers - 1`` times ``SiLU, Linear``. It runs in the
    dtype of its weights whatever autocast says: at 1000 a bf16 time is wrong by up to 2 steps. An absent condition is
    the null one (class -1, zero vector, noise level 0), so that every parameter has a gradient in every step.

    Args:
        width: width of the sinusoids.
        dim: width of the result.
        num_layers: linear layers, at least 1.
        num_classes: classes, or None for none. Labels lie in -1 (no class) to ``num_classes - 1``.
        vector_dim: width of a conditioning vector, or None for none.
        has_concat_time: whether it takes the noise level of a concatenated video.
        noise_levels: number of learned vectors that encode it, level l by number ``round(1000 l)``, as LVDM's published
            networks do, added behind the MLP; None = sinusoids.
        is_open: which of the two usual sets of frequencies (``sinusoidal_embedding``).
    """

    def __init__(
        self,
        width: int,
        dim: int,
        num_layers: int,
        num_classes: int | None = None,
        vector_dim: int | None = None,
        has_concat_time: bool = False,
        is_open: bool = False,
        noise_levels: int | None = None,
    ) -> None:
        super().__init__()
        self.width = width
        self.is_open = is_open
        self.vector_dim = vector_dim
        self.first = nn.Linear(width, dim)
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(num_layers - 1))
        self.classes = nn.Embedding(num_classes, dim) if num_classes is not None else None
        self.vector = nn.Linear(vector_dim, dim, bias=False) if vector_dim is not None else None
        self.noise_levels = noise_levels
        self.concat_time = None
        if has_concat_time:
            self.concat_time = (
                nn.Linear(width, dim) if noise_levels is None else nn.Embedding(noise_levels, dim)
            )

    def resized(self, name: str, value: Tensor) -> Resized | None:
        """Classes keep their rows by number; a new one begins as no class."""
        if (
            name != "classes.weight"
            or self.classes is None
            or value.shape[1:] != self.classes.weight.shape[1:]
        ):
            return None
        return Resized(rows_kept(value, self.classes.num_embeddings), "class rows kept by number")

    def begun(self, name: str, like: Tensor) -> Tensor | None:
        """A condition that was not there begins as if it were not there."""
        return torch.zeros_like(like) if name.startswith(("classes.", "vector.", "concat_time.")) else None

    def forward(
        self,
        time: Tensor,
        label: Tensor | None = None,
        vector: Tensor | None = None,
        concat_time: Tensor | None = None,
        pooled: Tensor | None = None,
    ) -> Tensor:
        """The embedding of each sample, or, where a time, label or vector differs from frame to frame, of each frame.

        Args:
            time: ``[B]`` or ``[B, T]``.
            label: ``[B]`` or ``[B, T]``.
            vector: ``[B, vector_dim]`` or ``[B, T, vector_dim]``.
            concat_time: ``[B]``.
            pooled: a text, ``[B, dim]`` or ``[B, T, dim]``.

        Returns:
            ``[B, dim]`` or ``[B, T, dim]``.
        """
        if time.ndim == 2:  # frame by frame, so that equal times give what one time gives, to the last bit
            frames = [
                self(t, _of_frame(label, 2, j), _of_frame(vector, 3, j), concat_time, _of_frame(pooled, 3, j))
                for j, t in enumerate(time.unbind(1))
            ]
            return torch.stack(frames, dim=1)
        dtype = self.first.weight.dtype
        level = torch.zeros_like(time) if concat_time is None else concat_time
        level = 1000 * level.float()
        with without_autocast(time.device):
            y = self.first(sinusoidal_embedding(time, self.width, self.is_open).to(dtype))
            if self.classes is not None:
                label = torch.full_like(time, -1, dtype=torch.long) if label is None else label
                y = added(y, self.classes(label.clamp(min=0)) * (label >= 0).to(dtype)[..., None])
            if self.vector is not None:
                vector = y.new_zeros(len(time), self.vector_dim) if vector is None else vector
                y = added(y, self.vector(vector.to(dtype)))
            if self.noise_levels is None and self.concat_time is not None:
                y = added(
                    y, self.concat_time(sinusoidal_embedding(level, self.width, self.is_open).to(dtype))
                )
            if pooled is not None:
                y = added(y, pooled)
            for layer in self.layers:
                y = layer(F.silu(y))
            if self.noise_levels is not None and self.concat_time is not None:
                y = added(y, self.concat_time(level.round().long().clamp(max=self.noise_levels - 1)))
        return y


def _of_frame(value: Tensor | None, ndim: int, frame: int) -> Tensor | None:
    """What a frame is told, of a value for all frames or, with so many axes, for each."""
    return value if value is None or value.ndim < ndim else value[:, frame]


def frame_by_frame(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer of few features for each frame: ``[T, B, E]`` -> ``[T B, E']``.

    On a CPU the last bits of a row of a product depend on how many rows there are. One frame at a time has as many as
    a call for whole samples, so that frames that are all told the same come out as if the sample had been told it.
    """
    if x.device.type != "cpu":
        return layer(x.flatten(0, 1))
    return torch.cat([layer(frame) for frame in x])


def added(ours: Tensor, theirs: Tensor) -> Tensor:
    """The sum of two embeddings, each ``[B, dim]`` for all frames of a sample or ``[B, T, dim]`` for every one."""
    dims = max(ours.ndim, theirs.ndim)
    ours, theirs = (y if y.ndim == dims else y[:, None] for y in (ours, theirs))
    return ours + theirs


def relative_distance(length: int, device: torch.device | str = "cpu") -> Tensor:
    """``j - i`` for query ``i`` and key ``j``: ``[length, length]`` int64."""
    i = torch.arange(length, device=device)
    return i[None, :] - i[:, None]


def relative_position_bucket(distance: Tensor, num_buckets: int = 32, max_distance: int = 32) -> Tensor:
    """The bucket of a distance ``j - i``: exact when near, logarithmic when far (Raffel et al. 2020).

    Half of the buckets are for keys behind or at the query, half for those ahead; a quarter of them is exact.
    """
    half = num_buckets // 2
    exact = half // 2
    n = distance.abs()
    ratio = torch.log(n.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (ratio * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(n < exact, n, far) + half * (distance > 0)


class BucketBias(nn.Module):
    """A learned number per head and bucket of distance, added to the attention logits (Raffel et al. 2020)."""

    def __init__(self, heads: int, num_buckets: int = 32, max_distance: int = 32) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.bias = nn.Embedding(num_buckets, heads)
        nn.init.normal_(self.bias.weight, std=0.02)

    def forward(self, length: int) -> Tensor:
        """The bias ``[heads, length, length]``, row ``i`` for query ``i``."""
        distance = relative_distance(length, self.bias.weight.device)
        return self.bias(
            relative_position_bucket(distance, self.bias.num_embeddings, self.max_distance)
        ).movedim(-1, 0)


class ShawPositions(OwnSizes, nn.Module):
    """One learned vector per distance for keys and one for values, shared by the heads (Shaw et al. 2018).

    Args:
        head_dim: width of a vector.
        max_distance: distances beyond it share the vector of the last.
    """

    def __init__(self, head_dim: int, max_distance: int) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.keys = nn.Parameter(0.02 * torch.randn(2 * max_distance + 1, head_dim))
        self.values = nn.Parameter(0.02 * torch.randn(2 * max_distance + 1, head_dim))

    def resized(self, name: str, value: Tensor) -> Resized | None:
        """Vectors keep their distances; those farther than any before share the vector of the farthest."""
        if value.ndim != 2 or value.shape[1:] != self.keys.shape[1:] or len(value) % 2 == 0:
            return None
        return Resized(by_distance(value, self.max_distance), "positions kept by distance")

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        """The vectors of every pair, two of ``[length, length, head_dim]``."""
        distance = relative_distance(length, self.keys.device)
        index = distance.clamp(-self.max_distance, self.max_distance) + self.max_distance
        return self.keys[index], self.values[index]


def rotary_table(frequencies: Tensor, length: int) -> Tensor:
    """Cosine and sine of position times frequency: ``[D / 2]`` -> ``[2, length, D / 2]`` fp32 (Su et al. 2021)."""
    positions = torch.arange(length, device=frequencies.device, dtype=torch.float32)
    angles = positions[:, None] * frequencies.float()
    return torch.stack([angles.cos(), angles.sin()])


class RotaryTables:
    """Rotary tables built once per length and device and kept, with the frequencies of rotary-embedding-torch.

    Not a module: the tables are constants, which must not be rounded by ``.to(bfloat16)`` nor stand in a checkpoint.
    """

    def __init__(self, head_dim: int) -> None:
        self.head_dim = head_dim
        self.tables: dict[tuple[int, torch.device], Tensor] = {}

    def __call__(self, length: int, device: torch.device) -> Tensor:
        """The table ``[2, length, head_dim / 2]`` fp32."""
        if (length, device) not in self.tables:
            with (
                torch.inference_mode(False),
                torch.no_grad(),
            ):  # an inference tensor could not be trained with later
                frequencies = RotaryEmbedding(self.head_dim, cache_max_seq_len=1).freqs.detach()
                self.tables[length, device] = rotary_table(frequencies, length).to(device)
        return self.tables[length, device]


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn each pair of neighbouring features by its frame's angle.

    Args:
        x: ``[T, ..., D]``.
        table: ``[2, T, D / 2]``, cosine and sine.
    """
    cos, sin = table.to(x.dtype).unflatten(1, (-1, *[1] * (x.ndim - 2)))
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
