"""Names of weights without the prefixes of torch.compile, FSDP, activation checkpointing and launchers."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

WRAPPERS = (
    "_orig_mod",  # torch.compile
    "_forward_module",  # Lightning Fabric and DeepSpeed under Lightning
    "_fsdp_wrapped_module",
    "_fpw_module",  # FSDP of fairscale
    "_checkpoint_wrapped_module",  # activation checkpointing
)
"""Modules that stand around another anywhere in a network and mean nothing; no network names a part of itself so."""

SEGMENT = re.compile(rf"(?:^|(?<=\.))(?:{'|'.join(WRAPPERS)})\.")
FLATTENED = re.compile(r"(?:^|\.)_?flat_param(?:_\d+)?$")


def without_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict by their names without wrappers, wherever in a name they stand.

    Raises:
        ValueError: in one line, where two different tensors would have one name, or FSDP's flattened shards are given.
    """
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if FLATTENED.search(name):
            raise ValueError(
                f"{name} is a flattened shard of FSDP; gather the weights with its full state dict and save those"
            )
        short = plain_name(name)
        if short in found and not (found[short] is value or torch.equal(found[short], value)):
            raise ValueError(
                f"two different tensors are named {short} once wrappers are taken off, one is {name}"
            )
        found[short] = value
    return found


def plain_name(name: str) -> str:
    """One name without wrappers; an average kept under names without dots (``model_ema.``) has them without dots."""
    name = SEGMENT.sub("", name)
    before, ema, flat = name.rpartition("model_ema.")
    if ema and "." not in flat:
        flat = re.sub("|".join(WRAPPERS), "", flat)
    return before + ema + flat


def without_shared_prefix(tensors: Mapping[str, Tensor], prefix: str = "module.") -> dict[str, Tensor]:
    """The tensors without a prefix that all their names have (DataParallel's and DDP's), as often as they have it."""
    names = dict(tensors)
    while names and all(name.startswith(prefix) for name in names):
        names = {name[len(prefix) :]: value for name, value in names.items()}
    return names
