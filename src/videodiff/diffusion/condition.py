"""The condition of a sample, and how it is dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

UnitState = Literal["given", "generated", "noisy"]


@dataclass(frozen=True, eq=False)
class Condition:
    """Everything that a network may be conditioned on beside the time; ``None`` is a field that is not given.

    The null condition is one state per field: label -1 ("no class"), zeros for all other tensors, or what ``absent``
    says. A network learns it through ``drop`` and classifier-free guidance asks for it through ``null``.

    Args:
        label: class of each sample, ``[B]`` int64, or of each of its frames, ``[B, T]``: still images of joint
            training have classes of their own. -1 is "no class".
        vector: one embedding per sample, ``[B, D]``, or per frame, ``[B, T, D]``.
        context: tokens of a text to attend to, ``[B, L, D]``; of each frame, ``[B, T, L, D]``; or, beside I still
            images, ``[B, 1 + I, L, D]``, of the clip and of each image, which is less work than to repeat the clip's.
        context_mask: which of them there are, bool, as ``context`` without D; None is all, False is not seen. A text
            of which no token is there is one that was not given. It stays where zeros take the context's place.
        concat: joined to ``z`` on the channel axis, ``[B, C', *S]``: known frames with mask, low-res video.
        concat_time: how far ``concat`` was itself noised, ``[B]`` in [0, 1].
        images: of each frame of ``z`` whether it is a still image of its own (joint training), of all samples alike;
            empty is none. On the host, so that nothing waits for a GPU.
        units: of each unit of ``z``, while units have times of their own, whether it is given, generated already or
            still noisy; of all samples alike, on the host. Not the network's, which sees their times: guidance by
            history asks for it.
        absent: fields for which zeros are no null, as each sample has them when they are dropped: the context of the
            empty prompt, or of a negative one, and its mask. One context of other length, or for all frames, is
            brought to the shape of that which it takes the place of. Not the network's.
    """

    label: Tensor | None = None
    vector: Tensor | None = None
    context: Tensor | None = None
    context_mask: Tensor | None = None
    concat: Tensor | None = None
    concat_time: Tensor | None = None
    images: tuple[bool, ...] = ()
    units: tuple[UnitState, ...] = ()
    absent: Condition | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The fields that are there, by name."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in named if isinstance(value, Tensor)}

    def _with(self, tensors: Mapping[str, Any]) -> Condition:
        return replace(self, **tensors)

    def map(self, function: Callable[[Tensor], Tensor]) -> Condition:
        """The condition with ``function`` applied to every tensor."""
        mapped: dict[str, Any] = {name: function(value) for name, value in self.tensors().items()}
        return self._with(mapped | self._absent(lambda absent: absent.map(function)))

    def _absent(self, function: Callable[[Condition], Condition]) -> dict[str, Condition]:
        """What is absent by a function, as an argument; empty where every null is the usual one."""
        return {} if self.absent is None else {"absent": function(self.absent)}

    def drop(self, keep: Tensor, names: Sequence[str] | None = None) -> Condition:
        """The null condition where ``keep`` (``[B]`` bool) is false, this one where it is true; of some fields only."""

        def dropped(value: Tensor, null: Tensor) -> Tensor:
            return torch.where(keep.to(value.device).view(-1, *[1] * (value.ndim - 1)), value, null)

        ours, nulls = self._nulls(names)
        return ours._with({name: dropped(ours.tensors()[name], null) for name, null in nulls.items()})

    def null(self, names: Sequence[str] | None = None) -> Condition:
        """The null condition for every sample, of some fields only; fields that are ``None`` stay so."""
        ours, nulls = self._nulls(names)
        return ours._with({name: null.expand_as(ours.tensors()[name]) for name, null in nulls.items()})

    def _nulls(self, names: Sequence[str] | None) -> tuple[Condition, dict[str, Tensor]]:
        """This condition, padded to what takes its place, and what that is, of some fields only."""
        ours, own = self, Condition() if self.absent is None else self.absent._with_mask()
        if ours.context is not None and own.context is not None:
            if ours.context.ndim > own.context.ndim:  # one text for all frames
                told = {name: getattr(own, name).unsqueeze(1) for name in ("context", "context_mask")}
                own = own._with(told)
            ours, own = _of_one_length(ours, own)
        instead = own.tensors()
        taken = {n: v for n, v in ours.tensors().items() if names is None or n in names}
        return ours, {
            n: instead[n] if n in instead else torch.full_like(v, -1 if n == "label" else 0)
            for n, v in taken.items()
            if n in instead or n != "context_mask"
        }

    def padded(self, length: int) -> Condition:
        """The condition with a context of ``length`` tokens, at least as many as it has; those added are not there."""
        if self.context is None or self.context.shape[-2] == length:
            return self
        more = length - self.context.shape[-2]
        stated = self._with_mask()
        assert stated.context is not None
        assert stated.context_mask is not None
        return replace(
            self,
            context=F.pad(stated.context, (0, 0, 0, more)),
            context_mask=F.pad(stated.context_mask, (0, more)),
        )

    def _with_mask(self) -> Condition:
        """The condition with a mask for its context, of all tokens if it had none."""
        if self.context is None or self.context_mask is not None:
            return self
        seen = torch.ones(self.context.shape[:-1], dtype=torch.bool, device=self.context.device)
        return replace(self, context_mask=seen)

    def cat(self, other: Condition) -> Condition:
        """Both conditions behind each other on the batch axis, contexts padded to the longer.

        Raises:
            ValueError: if one side has a field that the other lacks, or they differ in ``images``.
        """
        one, two = _of_one_length(self, other)
        ours, theirs = one.tensors(), two.tensors()
        sides = [(c.images, c.units, c.absent is None) for c in (self, other)]
        if ours.keys() != theirs.keys() or sides[0] != sides[1]:
            raise ValueError(
                f"conditions joined on the batch axis must have the same fields and still images, "
                f"got {sorted(ours)} with {sum(self.images)} and {sorted(theirs)} with {sum(other.images)}"
            )
        joined: dict[str, Any] = {name: torch.cat([value, theirs[name]]) for name, value in ours.items()}
        if self.absent is not None and other.absent is not None:
            joined["absent"] = self.absent.cat(other.absent)
        return self._with(joined)

    def repeat(self, times: int) -> Condition:
        """``times`` copies behind each other on the batch axis: ``[B, ...]`` -> ``[times * B, ...]``."""
        return self.map(lambda value: value.repeat(times, *[1] * (value.ndim - 1)))

    def chunk(self, parts: int) -> list[Condition]:
        """The reverse of ``cat``: ``parts`` conditions of equal batch size."""
        split: dict[str, Sequence[Any]] = {n: value.chunk(parts) for n, value in self.tensors().items()}
        if self.absent is not None:
            split["absent"] = self.absent.chunk(parts)
        return [self._with({name: values[i] for name, values in split.items()}) for i in range(parts)]

    def cast(self, dtype: torch.dtype) -> Condition:
        """The condition with ``vector``, ``context`` and ``concat`` in ``dtype``; times and labels stay."""
        named = ((name, self.tensors().get(name)) for name in ("vector", "context", "concat"))
        cast: dict[str, Any] = {name: value.to(dtype) for name, value in named if value is not None}
        return self._with(cast | self._absent(lambda absent: absent.cast(dtype)))

    def to(self, device: torch.device | str) -> Condition:
        """The condition with every tensor on ``device``."""
        return self.map(lambda value: value.to(device, non_blocking=True))


def _of_one_length(one: Condition, two: Condition) -> tuple[Condition, Condition]:
    """Two conditions, their contexts padded to the longer; a mask on one side is one on both."""
    if one.context is None or two.context is None:
        return one, two
    length = max(one.context.shape[-2], two.context.shape[-2])
    one, two = one.padded(length), two.padded(length)
    if (one.context_mask is None) != (two.context_mask is None):
        one, two = one._with_mask(), two._with_mask()
    return one, two
