"""Diffusion transformers on video: a clip or its latent cut into patches in space and time, and no U-Net.

The block is that of DiT (Peebles & Xie 2023), the layouts are those of Latte (Ma et al. 2024, section 3.2,
Vchitect/Latte:models/latte.py): attention over all tokens, over space and time in turn, or over both in each block.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..diffusion.condition import Condition
from ..frame_size import FrameSize, Resolution
from .blocks import zero_init
from .context import Context, ContextBy, context_layers
from .dit_block import DiTBlock, Sequences, TableModulation, modulated
from .dit_condition import ConditionEmbedding
from .dit_places import PlaceTables, with_time
from .dit_sizes import (
    Layout,
    Size,
    check_choices,
    check_heads,
    check_latent,
    check_patch,
    check_planes,
    planes_of,
    sized,
)
from .embeddings import without_autocast
from .network import Network
from .patches import from_patches, from_plane_patches, patches, plane_patches
from .resized import OwnSizes, Resized

if TYPE_CHECKING:
    from .latents import Latents


class SpacetimeDiT(OwnSizes, Network):
    """A diffusion transformer on the patches of a clip or of a latent, of any length and size.

    Tokens of a clip are ``[B, N_t, N_s, D]``. In the layout ``joint`` all of them attend to each other; ``alternating``
    blocks attend within a frame and over time in turn, from the first one on (Latte's variant 1); ``factorised`` blocks
    do both, one after the other (its variant 3). The latent of three planes (``plane_size``) is one sequence of the
    tokens of all of them. A clip of one frame is a still image: nothing attends over time, no place in time is added.

    Gates and the head start at zero, so an untrained network returns exactly zero and its blocks are the identity.
    Positions are computed from the shape of ``z``, whose every multiple of the patches is taken.

    Args:
        channels: channels of ``z``.
        out_channels: channels of the output; None is as ``channels``. Twice as many are a prediction and, behind it,
            the interpolation between the two variances of a step (Nichol & Dhariwal 2021, eq. 15).
        size: depth, width and heads of DiT-S, B, L or XL: 12, 384, 6; 12, 768, 12; 24, 1024, 16; 28, 1152, 16. None if
            these are given one by one.
        depth: number of blocks, in place of that of ``size``.
        width: D, in place of that of ``size``; a multiple of 4.
        num_heads: of attention, in place of that of ``size``.
        patch_size: places of the latent in a token, along time, height and width.
        layout: which tokens attend to each other.
        positions: ``sincos``, added to the tokens (in time before the first attention over time), or ``rotary`` angles
            of queries and keys, which depend on distances alone.
        columns_first: have the column in the first half of the features, as Latte's and DiT's published tables do.
        causal: a frame attends to no later one. With times of each frame, and norms of each token, nothing then passes
            from a frame to those before it.
        mlp_ratio: width of an MLP over D.
        num_frames: units of the clip that one call makes: frames of pixels, latent frames; None is what the model says.
            Any other number is taken too.
        resolution: height and width of the clips in pixels; None is what the model says. Any other is taken too.
        plane_size: height and width of the spatial plane of a triplane latent of ``num_frames`` frames; None for a
            latent with axes of time, height and width.
        num_classes: number of classes; None = unconditional.
        vector_dim: width of the vector condition; None = no vector.
        context_dim: width of a text's tokens; None = no text.
        context_by: how the network is told the text: "attention" to its tokens behind each attention within frames (as
            diffusers' text-to-video Latte), or "pooling" into the vector that modulates every block.
        concat_channels: channels of a latent to condition on, joined to ``z``; its noise level may come with it.
        shared_modulation: compute the modulation of the blocks once for all of them, each adding a table of its own
            (adaLN-single; Chen et al. 2023, PixArt): a quarter fewer parameters. Text-to-video Latte is built so.
        recompute: forget the inside of each block in the forward pass and compute it again in the backward pass:
            less memory for a third more arithmetic.

    Raises:
        ValueError: if sizes, heads, patches or layout do not fit each other.
    """

    takes_images = True
    takes_unit_times = True
    channels: int

    def __init__(
        self,
        channels: int = 3,
        out_channels: int | None = None,
        size: Size | None = "S",
        depth: int | None = None,
        width: int | None = None,
        num_heads: int | None = None,
        patch_size: tuple[int, int, int] = (1, 2, 2),
        layout: Layout = "alternating",
        positions: Literal["sincos", "rotary"] = "sincos",
        columns_first: bool = False,
        causal: bool = False,
        mlp_ratio: float = 4.0,
        num_frames: int | None = None,
        resolution: Resolution | None = None,
        plane_size: Resolution | None = None,
        num_classes: int | None = None,
        vector_dim: int | None = None,
        context_dim: int | None = None,
        context_by: ContextBy = "attention",
        concat_channels: int = 0,
        shared_modulation: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        depth, width, num_heads = sized(size, depth=depth, width=width, num_heads=num_heads)
        self.patch_size = check_patch(patch_size)
        self.plane_sizes = planes_of(plane_size, num_frames)
        check_choices(layout, positions, depth, self.plane_sizes, self.patch_size, causal)
        check_heads(width, num_heads, positions, layout)
        self.channels, self.out_channels = channels, channels if out_channels is None else out_channels
        self.layout, self.positions = layout, positions
        self.width, self.head_dim = width, width // num_heads
        self.num_frames = num_frames
        self.size_factor = math.lcm(*self.patch_size[1:])
        if resolution is not None:
            FrameSize.of(resolution).check_multiple(self.patch_size[1:], "patch_size")
        self.resolution = None if resolution is None else FrameSize.of(resolution).written
        self.num_classes, self.vector_dim, self.concat_channels = num_classes, vector_dim, concat_channels
        self.context_dim, self.recompute = context_dim, recompute
        # a token of several units has one time, and is no still image
        self.is_causal = causal
        self.takes_any_shape = self.plane_sizes is None
        self.takes_unit_times = self.takes_images = self.plane_sizes is None and self.patch_size[0] == 1
        volume = math.prod(self.patch_size) if self.plane_sizes is None else self.patch_size[1] ** 2
        self.embedding = ConditionEmbedding(width, num_classes, vector_dim, concat_channels > 0)
        self.patch_in = nn.Linear(volume * channels, width)
        self.concat_in = (
            zero_init(nn.Linear(volume * concat_channels, width, bias=False)) if concat_channels else None
        )
        self.context_in, self.pooling = context_layers(context_dim, context_by, width)

        def sees_context(number: int) -> bool:  # blocks over time attend to no text
            return self.context_in is not None and not (layout == "alternating" and number % 2)

        is_factorised = layout == "factorised"
        self.layers = nn.ModuleList(
            DiTBlock(width, num_heads, mlp_ratio, is_factorised, sees_context(i), shared_modulation)
            for i in range(depth)
        )
        count = 9 if is_factorised else 6
        self.modulation = nn.Linear(width, count * width) if shared_modulation else None
        self.last_modulation: nn.Module = (
            TableModulation(2, width) if shared_modulation else nn.Linear(width, 2 * width)
        )
        self.patch_out = nn.Linear(width, volume * self.out_channels)
        self.places = PlaceTables(
            layout, positions, columns_first, causal, width, self.head_dim, self.patch_size, self.plane_sizes
        )
        self.begin()

    def begin(self) -> None:
        """Initialise as the published code does: gates and head at zero, so that the network returns zero."""
        for name, module in self.named_modules():
            if not isinstance(module, nn.Linear):
                continue
            if name.endswith(("modulation", "patch_out", "context.out", "pooling.out")):
                zero_init(module)
            elif not name.startswith(("embedding.", "concat_in")):
                nn.init.xavier_uniform_(module.weight)
        for name, parameter in self.named_parameters():
            if name.endswith(".bias"):
                nn.init.zeros_(parameter)

    def forward(self, z: Tensor, time: Tensor, cond: Condition) -> Tensor:
        """The network's prediction.

        Args:
            z: ``[B, C, U, H, W]``, of whose frames ``cond.images`` are still images of their own, or, of planes,
                ``[B, C, N]``. U, H and W are multiples of ``patch_size``, and need not be what it was built for.
            time: ``[B]``, about 0 to 1000 (``NoiseSchedule.network_time``), or ``[B, U]``, of each unit. Times that are
                all equal give what one time gives, on a CPU to the bit.
            cond: label, vector, context, concat and concat_time as far as the network was built for them; label, vector
                and context of each sample or of each unit.

        Returns:
            ``[B, out_channels, U, H, W]`` or ``[B, out_channels, N]``; fp32 under autocast.

        Raises:
            ValueError: if the shapes do not fit or the condition has a field the network was not built for.
        """
        self.check_input(z, time, cond)
        # times that are all equal are one, which is less work; elsewhere the host would wait for the answer
        if time.ndim == 2 and z.is_cpu and bool((time == time[:, :1]).all()):
            time = time[:, 0]
        x = self.tokens(z, cond.concat)
        pooled = None if self.pooling is None else self.pooling(cond, z)
        context = None if self.context_in is None else self.context_in(cond, z)
        embedding = self.embedding(time, cond, pooled)
        embedding = (
            embedding[:, None, None] if embedding.ndim == 2 else embedding[:, :, None]
        )  # [B, 1 or N_t, 1, D]
        condition, last = F.silu(embedding), None
        if self.modulation is not None:
            condition, last = self.modulation(condition), embedding
        video = x.shape[1] - sum(cond.images)
        # one vector for all tokens of a sample, and more of them than it is wide: see ``of_one``
        if z.is_cpu and condition.shape[1] == 1 and x.shape[1:3].numel() > self.width:
            pieces = []
            for i in range(len(x)):
                of_sample = slice(i, i + 1)
                told = None if context is None else context.of_samples(i, i + 1)
                head = None if last is None else last[of_sample]
                pieces.append(self.predict(x[of_sample], condition[of_sample], head, told, z, video))
            x = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        else:
            x = self.predict(x, condition, last, context, z, video)
        if self.plane_sizes is not None:
            return from_plane_patches(x, self.plane_sizes, self.patch_size[1]).contiguous()
        return from_patches(x, self.patch_size, z.shape[2:]).contiguous()

    def tokens(self, z: Tensor, concat: Tensor | None) -> Tensor:
        """Patches of ``z``, and of what is joined to it, as tokens ``[B, N_t, N_s, D]``; planes have one frame."""

        def cut(latent: Tensor) -> Tensor:
            if self.plane_sizes is not None:
                return plane_patches(latent, self.plane_sizes, self.patch_size[1])
            return patches(latent, self.patch_size)

        x = self.patch_in(cut(z))
        if self.concat_in is not None:
            known = z.new_zeros(len(z), self.concat_channels, *z.shape[2:]) if concat is None else concat
            x = x + self.concat_in(cut(known.to(z.dtype)))
        return x

    def predict(
        self,
        x: Tensor,
        condition: Tensor,
        last: Tensor | None,
        context: Context | None,
        z: Tensor,
        video: int,
    ) -> Tensor:
        """Tokens through all blocks and the head: ``[B, N_t, N_s, D]`` -> ``[B, N_t, N_s, values of a patch]``.

        Args:
            x: the tokens.
            condition: ``[B, N_t or 1, 1, D]``, behind its SiLU, or the modulation that the blocks share.
            last: what the head is told in its place where blocks share a modulation: the embedding itself.
            context: the texts, of a network that attends to them.
            z: the latent, for its shape.
            video: how many frames at the front are a video; the others are still images.
        """
        is_still = video == 1 and self.plane_sizes is None  # a video of one frame is an image
        at = self.places(z, video)
        video = 0 if is_still and self.layout != "joint" else video
        if at.in_space is not None:
            x = x + at.in_space.to(x.dtype)
        if self.layout != "alternating" and not is_still:
            x = with_time(x, at.in_time, video)
        for i, block in enumerate(self.layers):
            if self.layout == "alternating" and i % 2:
                if i == 1:
                    x = with_time(x, at.in_time, video)
                x = self.run_over_time(block, x, condition, at.over_time, video)
            else:
                over_time = at.over_time if self.layout == "factorised" and video else None
                x = self.run(block, x, condition, at.space, over_time, context)
        with without_autocast(x.device):
            told = condition if last is None else last
            x, told = x.to(self.patch_out.weight.dtype), told.to(self.patch_out.weight.dtype)
            shift, scale = self.last_modulation(told).split(self.width, -1)
            return modulated(self.patch_out, x, shift, scale)

    def run(
        self,
        block: nn.Module,
        x: Tensor,
        condition: Tensor,
        among: Sequences,
        over_time: Sequences | None = None,
        context: Context | None = None,
    ) -> Tensor:
        """One block, or its forward alone if its inside shall be computed again in the backward pass."""
        inputs = (x, condition, among, over_time, context)
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def run_over_time(
        self, block: nn.Module, x: Tensor, condition: Tensor, over_time: Sequences, video: int
    ) -> Tensor:
        """A block over the frames of the video at each place; still images pass it by."""
        if video == 0:
            return x
        of_video = condition[:, :video].transpose(1, 2)
        moved = self.run(block, x[:, :video].transpose(1, 2).contiguous(), of_video, over_time).transpose(
            1, 2
        )
        return moved.contiguous() if video == x.shape[1] else torch.cat([moved, x[:, video:]], dim=1)

    def resized(self, name: str, value: Tensor) -> Resized | None:
        """Channels to condition on that are no longer there, or of another number, begin anew."""
        if name != "concat_in.weight" or self.concat_in is None:
            return None
        return Resized(torch.zeros_like(self.concat_in.weight), "joined channels begun at zero")

    def check_latents(self, latents: Latents) -> None:
        """Refuse latents that cannot be cut into patches, or planes of another size."""
        if self.plane_sizes is None:
            check_latent(self.channels, self.patch_size, latents)
        else:
            check_planes(self.channels, self.plane_sizes, latents)

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def check_input(self, z: Tensor, time: Tensor, cond: Condition) -> None:
        """Raise ValueError for what the network cannot take."""
        if self.plane_sizes is not None:
            self.plane_sizes.check(z)
        elif z.ndim != 5:
            raise ValueError(
                f"SpacetimeDiT takes z of shape [B, {self.channels}, U, H, W], got {list(z.shape)}"
            )
        if z.shape[1] != self.channels:
            raise ValueError(f"SpacetimeDiT takes z of {self.channels} channels, got {z.shape[1]}")
        if self.plane_sizes is None and any(
            side % p for side, p in zip(z.shape[2:], self.patch_size, strict=True)
        ):
            raise ValueError(
                f"frames, height and width of z must be multiples of patch_size {self.patch_size}, got "
                f"{list(z.shape[2:])}"
            )
        self.check_condition(z, cond)
        if list(cond.images) != sorted(cond.images):
            raise ValueError("still images must stand behind the frames of the video")
        shapes = [[len(z)], [len(z), z.shape[2]]] if self.takes_unit_times else [[len(z)]]
        if list(time.shape) not in shapes:
            raise ValueError(f"time must have shape {' or '.join(map(str, shapes))}, got {list(time.shape)}")
