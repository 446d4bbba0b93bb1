"""Weights of another size: loading weights of a network with other frames, classes, positions or dimensions.

Each rule keeps the function where it can: on what the old network could be given, the new one says the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Resized(NamedTuple):
    """A weight brought to its new shape, and by which rule."""

    value: Tensor
    how: str


class OwnSizes:
    """A layer that says how weights of another size become its own, and with what those begin that were not there."""

    def resized(self, name: str, value: Tensor) -> Resized | None:
        """The weight ``name`` of a layer of another size as this layer has it; None where there is no rule."""
        return None

    def begun(self, name: str, like: Tensor) -> Tensor | None:
        """What a weight begins with that the other network lacks; None leaves it as it was initialised."""
        return None


def interpolated(table: Tensor, length: int) -> Tensor:
    """Positions ``[L, D]`` at ``length`` places: linear between the old ones, first on first and last on last.

    Constants stay constant, and a table linear in its place stays linear.
    """
    if len(table) == 1:
        return table.expand(length, -1).clone()
    rows = F.interpolate(table.float().mT[None], size=length, mode="linear", align_corners=True)[0].mT
    return rows.to(table.dtype)


def by_distance(table: Tensor, max_distance: int) -> Tensor:
    """Rows of the distances -m ... m ``[2 m + 1, D]`` as those of -m' ... m'.

    A distance keeps its row, one beyond the old table has the row of the farthest, which the old network gave it too.
    """
    old = len(table) // 2
    return table[torch.arange(-max_distance, max_distance + 1).clamp(-old, old) + old]


def rows_kept(table: Tensor, count: int) -> Tensor:
    """The first ``count`` rows of ``[N, D]``; rows that were not there are zero."""
    return F.pad(table[:count], (0, 0, 0, max(0, count - len(table))))


def inflated(layer: nn.Conv3d | nn.ConvTranspose3d, kernel: Tensor) -> Tensor | None:
    """A 2-D kernel ``[O, I, h, w]`` (or one of a single frame) as a 3-D one of the layer; None if it does not fit.

    A convolution gets it at its middle frame and zeros elsewhere, so that each output frame is the picture's (at
    stride 1, also of a video that moves). A transposed one gets it at every frame times stride / kernel size, of which
    each output frame collects the sum. Both return for a still video what the 2-D layer returns for its picture.
    """
    kernel = kernel.squeeze(2) if kernel.ndim == 5 and kernel.shape[2] == 1 else kernel
    shape, frames = layer.weight.shape, layer.weight.shape[2]
    if kernel.ndim != 4 or kernel.shape != (*shape[:2], *shape[3:]):
        return None
    if isinstance(layer, nn.ConvTranspose3d):
        return kernel[:, :, None].expand(shape) * (layer.stride[0] / frames)
    value = kernel.new_zeros(shape)
    value[:, :, frames // 2] = kernel
    return value


def more_inputs(kernel: Tensor, own: Tensor, channels: int) -> Tensor | None:
    """A kernel ``[O, I, ...]`` for other channels that are joined behind the first ``channels``.

    New ones begin at zero, so that nothing given changes nothing; those no longer there are left out. None if both
    kernels see joined channels of different number, or the first ones do not fit.
    """
    fits = kernel.ndim == own.ndim and kernel.shape[0] == own.shape[0] and kernel.shape[2:] == own.shape[2:]
    if not fits or channels not in (kernel.shape[1], own.shape[1]) or kernel.shape[1] < channels:
        return None
    value = torch.zeros(own.shape, dtype=kernel.dtype, device=kernel.device)
    value[:, :channels] = kernel[:, :channels]
    return value


def owners(modules: Mapping[str, nn.Module], name: str) -> Iterator[tuple[nn.Module, str]]:
    """The modules that a weight is below, innermost first, and its name there."""
    parts = name.split(".")
    for at in range(len(parts) - 1, -1, -1):
        module = modules.get(".".join(parts[:at]))
        if module is not None:
            yield module, ".".join(parts[at:])


def resized_weight(modules: Mapping[str, nn.Module], name: str, value: Tensor) -> Resized | None:
    """A weight of another size as the module that owns it has it; None where no rule leads there.

    Args:
        modules: of the model by their names.
        name: of the weight in the model.
        value: as it was stored.
    """
    for module, inner in owners(modules, name):
        if isinstance(module, OwnSizes) and (found := module.resized(inner, value)) is not None:
            return found
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d) and inner == "weight":
            kernel = inflated(module, value)
            return None if kernel is None else Resized(kernel, "kernels of pictures inflated")
    return None


def begun_weight(modules: Mapping[str, nn.Module], name: str, like: Tensor) -> Tensor | None:
    """What a weight begins with that is new; None leaves it as it was initialised."""
    for module, inner in owners(modules, name):
        if isinstance(module, OwnSizes) and (found := module.begun(inner, like)) is not None:
            return found
    return None
