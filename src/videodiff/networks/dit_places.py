"""Where the tokens of a diffusion transformer lie, and which of them attend to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .dit_block import Sequences
from .dit_sizes import Layout
from .embeddings import sinusoidal_embedding
from .patches import Patch
from .planes import PlaneSizes
from .positions import (
    Coordinates,
    grid_coordinates,
    plane_coordinates,
    rotary_angles,
    sincos,
    sincos_in_space,
)

if TYPE_CHECKING:
    pass


class Places(NamedTuple):
    """What the shape of a latent alone decides.

    Attributes:
        in_space: added to the tokens, ``[N_s, D]``, or None.
        in_time: added to the video's frames before the first attention over time, ``[N_t, 1, D]``, or None.
        space: which tokens attend to each other in a block over space, or over all.
        over_time: the same in a block over time.
    """

    in_space: Tensor | None
    in_time: Tensor | None
    space: Sequences
    over_time: Sequences


class PlaceTables:
    """What the shape of a latent alone decides, computed once for a shape and kept; it stands in no checkpoint.

    Args:
        layout: which tokens attend to each other.
        positions: sincos or rotary.
        columns_first: have the column in the first half of the features.
        causal: a frame attends to no later one.
        width: D.
        head_dim: features of a head.
        patch_size: places of the latent in a token, along time, height and width.
        plane_sizes: of a triplane latent, or None.
    """

    def __init__(
        self,
        layout: Layout,
        positions: str,
        columns_first: bool,
        causal: bool,
        width: int,
        head_dim: int,
        patch_size: Patch,
        plane_sizes: PlaneSizes | None,
    ) -> None:
        self.layout, self.positions, self.columns_first, self.causal = (
            layout,
            positions,
            columns_first,
            causal,
        )
        self.width, self.head_dim = width, head_dim
        self.patch_size, self.plane_sizes = patch_size, plane_sizes
        self.tables: dict[tuple[object, ...], Places] = {}

    def __call__(self, z: Tensor, frames: int) -> Places:
        """Positions, and which tokens attend to each other; computed once for a shape and kept."""
        key = (z.shape[2:], frames, z.device)
        if key not in self.tables:
            with (
                torch.inference_mode(False),
                torch.no_grad(),
            ):  # an inference tensor could not be trained with later
                self.tables[key] = self.make_places(self.coordinates(z, max(frames, 1)), frames)
        return self.tables[key]

    def coordinates(self, z: Tensor, frames: int) -> Coordinates:
        """Where the tokens of a latent lie, ``frames`` of it being a video."""
        if self.plane_sizes is not None:
            return plane_coordinates(self.plane_sizes, self.patch_size[1], z.device)
        height, width = (side // p for side, p in zip(z.shape[3:], self.patch_size[1:], strict=True))
        return grid_coordinates(frames, height, width, z.device)

    def make_places(self, at: Coordinates, frames: int) -> Places:
        """Positions, and which tokens attend to each other, from where they lie."""
        is_joint, each, axes = self.layout == "joint", len(at.row), [at.row, at.column]
        of_space, of_time = sincos_in_space(at, self.width, self.columns_first), sincos(at.time, self.width)
        in_space: Tensor | None = of_space
        in_time: Tensor | None = of_time[:, None]
        in_plane = None
        if self.plane_sizes is not None:  # each token has a time of its own; a vector tells planes apart
            plane = (at.row < 0) + 2.0 * (at.column < 0)
            in_plane = sinusoidal_embedding(1000 / 3 * plane, self.width)
            in_space, in_time = of_space + of_time + in_plane, None
            axes = [at.time, *axes]
        elif is_joint:
            axes = [at.time.repeat_interleave(each), *(axis.repeat(len(at.time)) for axis in axes)]
        angles = angles_over_time = None
        if self.positions == "rotary":
            in_space, in_time = in_plane, None
            angles, angles_over_time = (
                rotary_angles(axes, self.head_dim),
                rotary_angles([at.time], self.head_dim),
            )
        mask = mask_over_time = None
        if self.causal:
            seen = torch.ones(len(at.time), len(at.time), dtype=torch.bool, device=at.time.device).tril()
            mask_over_time = None if is_joint else seen
            mask = seen.repeat_interleave(each, 0).repeat_interleave(each, 1) if is_joint else None
        groups = None if self.plane_sizes is not None else frames
        return Places(
            in_space,
            in_time,
            Sequences(is_joint, angles, mask, groups),
            Sequences(False, angles_over_time, mask_over_time, groups),
        )


def with_time(x: Tensor, in_time: Tensor | None, video: int) -> Tensor:
    """Tokens ``[B, N_t, N_s, D]``, those of the video's frames with their positions in time ``[N_t, 1, D]``."""
    if video == 0 or in_time is None:
        return x
    placed = x[:, :video] + in_time.to(x.dtype)
    return placed if video == x.shape[1] else torch.cat([placed, x[:, video:]], dim=1)
