"""The interface of a denoising network, and the wrapper that gives it to a plain module."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..config.network_facts import FACTS
from ..diffusion.condition import Condition
from ..frame_size import FrameSize, Resolution
from ..say import counted
from .compilation import compile_each

if TYPE_CHECKING:
    from .latents import Latents

FIELDS = {
    "label": "num_classes",
    "vector": "vector_dim",
    "context": "context_dim",
    "context_mask": "context_dim",
    "concat": "concat_channels",
    "concat_time": "concat_channels",
}
"""Field of a condition -> the fact of a network that takes it."""


class Network(nn.Module, ABC):
    """``(z [B, C, *S], time [B], Condition) -> [B, C, *S]``, and what it was built for.

    A subclass writes ``forward`` and sets what differs from the defaults, on the class or in its constructor. A module
    that is no subclass is asked for the same attributes by :func:`as_network`; those it lacks have these defaults.

    Attributes:
        channels: C of ``z``; None is any.
        num_frames: units of the clip that one call makes: frames of pixels, latent frames; None is what the model says.
        resolution: height and width of its frames in pixels, one number for a square; None is what the model says.
        size_factor: what the height and the width of ``z`` must be multiples of.
        num_classes: number of classes of ``Condition.label``; None = unconditional.
        vector_dim: width of ``Condition.vector``; None = no vector.
        context_dim: width of the tokens of ``Condition.context``; None = no text.
        concat_channels: channels of ``Condition.concat``, which may come with a noise level; 0 = none.
        takes_images: whether still images may stand behind the frames of a clip.
        takes_unit_times: whether ``time`` may be ``[B, U]``, a time of its own for each unit of ``z [B, C, U, *S]``.
        takes_any_shape: whether one batch may hold longer, larger or wider clips than another.
        is_causal: whether no unit of its output depends on a later one of ``z``.
    """

    channels: int | None = None
    num_frames: int | None = None
    resolution: Resolution | list[int] | None = None
    size_factor: int = 1
    num_classes: int | None = None
    vector_dim: int | None = None
    context_dim: int | None = None
    concat_channels: int = 0
    takes_images: bool = False
    takes_unit_times: bool = False
    takes_any_shape: bool = False
    is_causal: bool = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "blocks" and isinstance(value, nn.Module):
            raise TypeError(
                f"{type(self).__name__}.blocks is a method of every Network; name its list of modules otherwise"
            )
        super().__setattr__(name, value)

    @abstractmethod
    def forward(self, z: Tensor, time: Tensor, cond: Condition) -> Tensor:
        """The prediction of what ``z`` is, or of the noise in it.

        Args:
            z: ``[B, C, *S]``, in the dtype of the weights.
            time: ``[B]`` fp32, about 0 to 1000: a function of the noise level alone. ``[B, U]`` only if it says
                ``takes_unit_times``.
            cond: the condition; a field that is not given is None.
        """

    def example_condition(self, space: Sequence[int], device: torch.device | str) -> Condition:
        """A condition with every field that the network takes, for one sample, in zeros.

        Args:
            space: the axes of ``z`` behind the channels.
            device: of the tensors.
        """

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(1, *shape, dtype=dtype, device=device)

        return Condition(
            label=None if self.num_classes is None else zeros(dtype=torch.long),
            vector=zeros(self.vector_dim) if self.vector_dim else None,
            context=zeros(1, self.context_dim) if self.context_dim else None,
            context_mask=zeros(1, dtype=torch.bool) if self.context_dim else None,
            concat=zeros(self.concat_channels, *space) if self.concat_channels else None,
        )

    def check_condition(self, z: Tensor, cond: Condition) -> None:
        """Refuse a condition that it was not built for, or that does not fit ``z``; called by ``forward``.

        A label, vector or context may be of each frame where the network tells frames apart: if it takes still images
        or times of each unit.

        Raises:
            ValueError: naming the field, and the option or the shape.
        """
        kind, images = type(self).__name__, cond.images
        for name, option in FIELDS.items():
            if getattr(cond, name) is not None and getattr(self, option) in (None, 0):
                raise ValueError(f"the condition has a {name} but {kind} was built without {option}")
        if any(images) and not self.takes_images:
            raise ValueError(f"{kind} as built takes no still images beside a clip, got {sum(images)}")
        frames = z.shape[2] if z.ndim == 5 else 1
        if len(images) not in (0, frames):
            raise ValueError(
                f"the condition flags still images for {counted(len(images), 'frame')}, z has {frames}"
            )
        if cond.context_mask is not None and cond.context is None:
            raise ValueError("the condition has a context_mask but no context")
        length = cond.context.shape[-2] if cond.context is not None and cond.context.ndim > 2 else 1
        groups: list[tuple[int, ...]] = [()]
        if self.takes_images or self.takes_unit_times:
            groups.append((frames,))
        parts = [*groups, (1 + sum(images),)] if any(images) else groups
        expected: dict[str, list[tuple[int | None, ...]]] = {
            "label": [(len(z), *group) for group in groups],
            "vector": [(len(z), *group, self.vector_dim) for group in groups],
            "context": [(len(z), *group, length, self.context_dim) for group in parts],
            "concat": [(len(z), self.concat_channels, *z.shape[2:])],
        }
        if cond.context is not None:
            expected["context_mask"] = [tuple(cond.context.shape[:-1])]
        for name, shapes in expected.items():
            value = getattr(cond, name)
            if value is not None and tuple(value.shape) not in shapes:
                raise ValueError(
                    f"{name} must have shape {' or '.join(str(list(shape)) for shape in shapes)}, got "
                    f"{list(value.shape)}"
                )
        if cond.context_mask is not None and cond.context_mask.dtype != torch.bool:
            raise TypeError(
                f"context_mask must be bool, True where a token is there, got {cond.context_mask.dtype}"
            )

    def blocks(self) -> Sequence[nn.Module]:
        """Its repeated blocks, each compiled by itself and none inside another.

        By default the members of its lists of modules; of a network without lists, the network.
        """
        return repeated_blocks(self)

    def compile_blocks(self, **options: Any) -> None:
        """Compile each block in place (``torch.compile`` options); names of parameters stay as they are."""
        compile_each(self.blocks(), **options)

    def check_latents(self, latents: Latents) -> None:
        """Refuse latents that it was not made for.

        Raises:
            ValueError: naming the option to change.
        """
        _, *axes = latents.network_shape(latents.clip_units)
        if len(axes) != 3:  # time, height and width
            return
        _, _, height, width = latents.video_shape
        each = FrameSize(
            max(height // axes[1], 1), max(width // axes[2], 1)
        )  # pixels to a place of the latent
        reason = "patches and halvings of the network"
        if each.pixels > 1:
            reason = (
                f"{each} of the first stage times {self.size_factor} of the network's patches and halvings"
            )
        factor = each.height * self.size_factor, each.width * self.size_factor
        FrameSize(height, width).check_multiple(factor, reason, "resolution of the clips")


class PlainNetwork(Network):
    """Wraps a plain module as a network: its own values of the declared attributes, defaults for the rest.

    It is a view: the module keeps its place in the model and the names of its weights.

    Args:
        module: with ``forward(z, time, cond)``.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        for name, kind in FACTS.items():
            value = getattr(module, name, None)
            is_pair = name == "resolution" and isinstance(value, tuple | list) and len(value) == 2
            if is_pair or isinstance(value, kind):  # a list of widths under the same name says something else
                setattr(self, name, value)

    def forward(self, z: Tensor, time: Tensor, cond: Condition) -> Tensor:
        return self.module(z, time, cond)

    def blocks(self) -> Sequence[nn.Module]:
        return repeated_blocks(self.module)

    def compile_blocks(self, **options: Any) -> None:
        """By the module's own ``compile_blocks`` where it has one."""
        own = getattr(self.module, "compile_blocks", None)
        if own is None:
            super().compile_blocks(**options)
        else:
            own(**options)


def as_network(
    net: nn.Module, num_frames: int | None = None, resolution: Resolution | None = None
) -> Network:
    """A module as a :class:`Network`: itself, or a view of a plain one.

    Args:
        net: the module.
        num_frames: for one that states none.
        resolution: for one that states none.

    Raises:
        ValueError: for a size other than the one that the module states.
    """
    network = net if isinstance(net, Network) else PlainNetwork(net)
    for name, size in (("num_frames", num_frames), ("resolution", resolution)):
        stated = getattr(network, name)
        if size is None:
            continue
        if stated is not None:
            made, told = FrameSize.of(stated, name), FrameSize.of(size, name)
            if made == told:
                continue
            raise ValueError(
                f"{name} must be that of the network: {type(net).__name__} is built for {made}, --model.{name} (or "
                f"else data.{name}) is {told}; set both to the same"
            )
        setattr(network, name, size)
    return network


def unstated(kind: Any) -> tuple[str, ...]:
    """Which of ``num_frames`` and ``resolution`` a class of networks neither takes as an argument nor has itself."""
    try:
        taken = inspect.signature(kind).parameters
    except (TypeError, ValueError):
        return ()
    return tuple(n for n in ("num_frames", "resolution") if n not in taken and getattr(kind, n, None) is None)


def repeated_blocks(net: nn.Module) -> list[nn.Module]:
    """The members of a module's outermost lists, in their order; without lists, the module itself."""

    def members(module: nn.Module, is_in_list: bool) -> Iterator[nn.Module]:
        for child in module.children():
            if isinstance(child, nn.ModuleList | nn.ModuleDict):
                yield from members(child, True)
            elif is_in_list:
                yield child
            else:
                yield from members(child, False)

    return list(members(net, False)) or [net]
