"""What a diffusion transformer is told, as the vector that modulates its blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..diffusion.condition import Condition
from .blocks import zero_init
from .embeddings import added, sinusoidal_embedding, without_autocast
from .resized import OwnSizes, Resized

TIME_FEATURES = 256  # sinusoids of the time, as in the published code


class ConditionEmbedding(OwnSizes, nn.Module):
    """The vector that modulates every block: time through an MLP, plus class, vector and noise of what is joined.

    As published (facebookresearch/DiT:models.py), classes are added behind the MLP and no class is a learned row, the
    last one. It runs in the dtype of its weights whatever autocast says. What is absent is null.

    Args:
        dim: width of the result.
        num_classes: classes, or None for none. Labels lie in -1 (no class) to ``num_classes - 1``.
        vector_dim: width of a conditioning vector, or None for none.
        has_concat_time: whether it takes the noise level of a concatenated video.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int | None = None,
        vector_dim: int | None = None,
        has_concat_time: bool = False,
    ) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(TIME_FEATURES, dim), nn.Linear(dim, dim)
        self.classes = nn.Embedding(num_classes + 1, dim) if num_classes is not None else None
        self.vector = zero_init(nn.Linear(vector_dim, dim, bias=False)) if vector_dim is not None else None
        self.concat_time = zero_init(nn.Linear(TIME_FEATURES, dim, bias=False)) if has_concat_time else None
        for layer in (self.first, self.second, self.classes):
            if layer is not None:
                nn.init.normal_(layer.weight, std=0.02)

    def resized(self, name: str, value: Tensor) -> Resized | None:
        """Classes keep their rows by number, no class keeps the last; a new class begins as no class."""
        if (
            name != "classes.weight"
            or self.classes is None
            or value.shape[1:] != self.classes.weight.shape[1:]
        ):
            return None
        null, count = value[-1:], self.classes.num_embeddings - 1
        rows = value[:-1][:count]
        rows = torch.cat([rows, null.expand(count - len(rows), -1)])
        return Resized(torch.cat([rows, null]), "class rows kept by number")

    def begun(self, name: str, like: Tensor) -> Tensor | None:
        """A condition that was not there begins as if it were not there."""
        return torch.zeros_like(like) if name.startswith(("classes.", "vector.", "concat_time.")) else None

    def forward(self, time: Tensor, cond: Condition, pooled: Tensor | None = None) -> Tensor:
        """``[B, dim]``, or ``[B, T, dim]`` where the time, the class, the vector or the text is of each frame.

        Args:
            time: ``[B]`` or ``[B, T]``.
            cond: label and vector, of each sample or of each frame, and concat_time ``[B]``.
            pooled: a text, ``[B, dim]`` or ``[B, T, dim]``.
        """
        dtype = self.first.weight.dtype

        def features(of: Tensor) -> Tensor:  # cosines before sines
            found = sinusoidal_embedding(of.flatten(), TIME_FEATURES, is_open=True).roll(
                TIME_FEATURES // 2, -1
            )
            return found.unflatten(0, of.shape).to(dtype)

        with without_autocast(time.device):
            y = self.second(F.silu(self.first(features(time))))
            if self.classes is not None:
                null = self.classes.num_embeddings - 1
                label = (
                    time.new_full((len(time),), -1, dtype=torch.long) if cond.label is None else cond.label
                )
                y = added(y, self.classes(torch.where(label < 0, null, label)))
            if self.vector is not None:
                none = y.new_zeros(len(time), self.vector.in_features)
                y = added(y, self.vector(none if cond.vector is None else cond.vector.to(dtype)))
            if self.concat_time is not None:
                level = time.new_zeros(len(time)) if cond.concat_time is None else cond.concat_time
                y = added(y, self.concat_time(features(1000 * level.float())))
            if pooled is not None:
                y = added(y, pooled)
        return y
