"""The description of one kind of published checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Shapes = Mapping[str, tuple[int, ...]]
Sizes = dict[str, Any]
Placed = tuple[str, Tensor]
Extras = dict[str, tuple[Any, str]]
Place = Callable[[str, Tensor, Sizes, Mapping[str, Tensor]], Placed | None]


class Ignore(Exception):  # noqa: N818 - a message from a place, no error
    """A key that is no weight; the message is the reason."""


def no_extras(tensors: Mapping[str, Tensor], prefix: str) -> Extras:
    """Takes nothing beside the network."""
    return {}


@dataclass(frozen=True)
class Format:
    """One kind of checkpoint.

    Args:
        kind: its name.
        anchor: a key that every file of the kind has.
        network: our class.
        read_sizes: shapes by their names -> arguments of our class.
        place: a key, its tensor, the sizes and all tensors -> our name and value; None for a key it does not know.
            Raises Ignore for keys that are no weights.
        fits: whether names below the anchor's prefix are of this kind.
        extras: tensors of the whole file and the prefix -> values that our network holds and the published does not,
            with what to report.
        scale_arguments: of our class, what a latent is multiplied by and what is taken off it before; None where the
            scale is a weight.
    """

    kind: str
    anchor: str
    network: type[nn.Module]
    read_sizes: Callable[[Shapes], Sizes]
    place: Place
    fits: Callable[[Mapping[str, Tensor]], bool] = field(default=lambda names: True)
    extras: Callable[[Mapping[str, Tensor], str], Extras] = no_extras
    scale_arguments: tuple[str, str] | None = None


def equal(a: Tensor, b: Tensor, tolerance: float = 0.0) -> bool:
    """Whether two tensors hold the same numbers; on the meta device, the same shape."""
    if a.shape != b.shape:
        return False
    if a.is_meta or b.is_meta:
        return True
    return bool(((a.double() - b.double()).abs() <= tolerance).all())


def heads_first(packed: Tensor, heads: int) -> Tensor:
    """Rows in the order (q, k, v), head, D -> head, (q, k, v), D."""
    return packed.unflatten(0, (3, heads, -1)).transpose(0, 1).flatten(0, 2)


def halves_swapped(weight: Tensor) -> Tensor:
    """A first layer of sinusoids for sines before cosines, from one for cosines before sines."""
    return torch.cat(weight.chunk(2, dim=1)[::-1], dim=1)
