"""The interface of a conditioner, and its view of a training batch and of a window that is generated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from videodiff.conditioning.request import Request
from videodiff.diffusion import Condition, Denoiser, KnownUnits, NoiseSchedule, Window
from videodiff.networks.latents import Latents
from videodiff.networks.network import Network
from videodiff.seeding import coins, normals, uniforms


@dataclass(frozen=True)
class Keys:
    """The random numbers of a batch, each a function of (seed, name, position of its sample).

    Args:
        seed: of the run.
        split: train, val or test; a part of the name where a number shall differ between them.
        positions: of the samples in their stream.
        device: of the tensors.
    """

    seed: int
    split: str
    positions: Sequence[int]
    device: torch.device | str = "cpu"

    def coins(self, *name: str) -> np.ndarray:
        """One uniform number in [0, 1) for each sample, ``[B]`` fp32: to choose by."""
        return coins([(self.seed, *name, p) for p in self.positions])

    def uniforms(self, *name: str) -> Tensor:
        """The same as a tensor on the device: to count with."""
        return uniforms([(self.seed, *name, p) for p in self.positions], self.device)

    def normals(self, *name: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal noise ``[B, *shape]``, fp32 on the device."""
        return normals([(self.seed, *name, p) for p in self.positions], shape, self.device)


@dataclass(frozen=True, eq=False)
class Example:
    """A training batch on its way to the loss; each conditioner returns it with what it adds.

    Attributes:
        batch: from the data: ``sample``, and ``video`` or the stored ``latent``; ``label``.
        latents: of the model.
        keys: the batch's random numbers.
        target: the training target, ``[B, *network_shape]``, once a conditioner has chosen it.
        cond: the condition of the network.
        known: units of the target that are given, or None.
        times: uniform numbers in [0, 1) that times are drawn by, ``[B, U]``, where units have times of their own; None
            is one for each sample.
    """

    batch: dict[str, Any]
    latents: Latents
    keys: Keys
    target: Tensor | None = None
    cond: Condition = field(default_factory=Condition)
    known: KnownUnits | None = None
    times: Tensor | None = None

    @property
    def x(self) -> Tensor:
        """The target; by default the whole clip's latent."""
        return self.latent if self.target is None else self.target

    @property
    def latent(self) -> Tensor:
        """The latent of the batch's clips, stored or encoded now, ``[B, C, U, *S]``."""
        kept, count = self.batch.get("latent"), self.num_images
        if kept is not None:
            return kept
        video = self.batch["video"]
        return self.latents.encode(video[:, :, : video.shape[2] - count] if count else video)

    @property
    def num_images(self) -> int:
        """Still images behind each clip of the batch."""
        return int(self.batch.get("num_images", 0))

    def of_frames(self, firsts: Sequence[int], num_frames: int, steps: Sequence[int]) -> Example:
        """The example with the captions of a part of each clip: `num_frames` from `firsts` on, `steps` apart.

        A conditioner that makes a part of a clip the target calls it, so that ``batch["caption"]`` is always of the
        target's frames. Only captions that are told from frames differ; a file's caption is of all its frames.
        """
        scenes = self.batch.get("scene_caption")
        if scenes is None:
            return self
        parts = zip(scenes, firsts, steps, strict=True)
        texts = [scene.of(first, num_frames, step) for scene, first, step in parts]
        return replace(self, batch={**self.batch, "caption": texts})


@dataclass(frozen=True, eq=False)
class View:
    """One window while it is generated, as conditioners see it.

    Attributes:
        request: the conditions of the videos, on the device.
        window: the units it writes and those it sees.
        units: of the video, in the order in which the network sees them.
        known: ``[B, C, len(units), *S]``; units outside the mask are those of the request's source, or meaningless.
        mask: ``[len(units)]`` bool, True where a unit is given; it may be all False.
        context: ``[B, C, n, *S]``, the units that the window sees; n may be 0.
        noise: one generator for each video.
        schedule: of the model.
        latents: of the model.
    """

    request: Request
    window: Window
    units: Sequence[int]
    known: Tensor
    mask: Tensor
    context: Tensor
    noise: list[torch.Generator]
    schedule: NoiseSchedule
    latents: Latents

    @property
    def sees_units(self) -> bool:
        """Whether any unit of the window is given."""
        return bool(self.window.context)


class Conditioner(nn.Module):
    """One condition of a sample, in training and in sampling. The base class adds nothing.

    Attributes:
        fields: of ``Condition`` that it fills.
        is_guided: whether guidance drops them in its unconditional call; False for conditions that always apply.
        drop: share of training samples whose condition is dropped, in [0, 1].
        answers: fields of ``Request`` that it uses.
        learns_from: entries of a training batch, beside its clips, that it uses.
        sets_frames: whether it decides how long the clips of the data must be.
        frames_each: frames of the video for each frame of the given low-resolution one.
        takes_images: whether still images of a batch are appended to its clips.
        encoded_share: clips that training encodes for a sample on average, over those of a batch of one.
        keeps_frames: whether it sees to known frames by itself, so that they need not be whole units of a latent.
        has_unit_times: whether every unit has a noise level of its own, in training and while it is generated.
        noise_limit: what noise is clamped to, in training and where sampling starts.
    """

    fields: tuple[str, ...] = ()
    is_guided: bool = True
    drop: float = 0.0
    answers: tuple[str, ...] = ()
    learns_from: tuple[str, ...] = ()
    sets_frames: bool = False
    frames_each: int = 1
    takes_images: bool = False
    keeps_frames: bool = False
    has_unit_times: bool = False
    noise_limit: float = math.inf

    @property
    def encoded_share(self) -> float:
        return 1.0

    @property
    def is_used(self) -> bool:
        """Whether the network takes the condition at all."""
        return bool(self.fields)

    @property
    def null_share(self) -> float:
        """Share of the training samples that have no such condition: what guidance moves away from."""
        return self.drop

    def attach(self, net: Network, latents: Latents) -> None:
        """Read from the network and the latents what the conditioner needs of them.

        Raises:
            ValueError: if they do not take the condition.
        """

    def check_frames(self, num_frames: int, latents: Latents) -> None:
        """Refuse data of a length that it cannot be trained on; called only if ``sets_frames``.

        Raises:
            ValueError: naming ``data.num_frames``.
        """

    def check_data(self, data: Any) -> None:
        """Refuse a data module whose annotations are not what it learns from.

        Raises:
            ValueError: naming the option of the data.
        """

    def check_training(self, annotations: Mapping[str, str]) -> None:
        """Refuse to train on data without what it cannot learn without, before the first step.

        Args:
            annotations: what batches hold beside their clips, by its key in them, in words.

        Raises:
            ValueError: naming the option of the data.
        """

    def example(self, size: int, frames: int, device: torch.device | str) -> dict[str, Any]:
        """What it learns from beside clips and classes, of a training batch of so many clips: zeros of its shape."""
        return {}

    def compute_once(self) -> None:
        """Compute, for an example, what it does once for a window that is generated: where costs are counted."""

    def sample_frames(self, latents: Latents) -> int:
        """Smallest number of frames that a clip of the data must have."""
        return latents.video_shape[1]

    def check_request(self, request: Request) -> None:
        """Refuse a request that it cannot fulfil, before anything is generated.

        Raises:
            ValueError: in one line.
        """

    def guided_fields(self, request: Request) -> Sequence[str]:
        """Those of its fields that guidance drops in its unconditional call, of what is asked."""
        return self.fields if self.is_guided else ()

    def check_windows(self, windows: Sequence[Window]) -> None:
        """Refuse windows that it was not trained for, before anything is generated.

        Raises:
            ValueError: in one line.
        """

    def learn(self, example: Example) -> Example:
        """Add this condition to the training batch: target, condition, given units."""
        return example

    def tell(self, cond: Condition, view: View) -> Condition:
        """Add this condition to that of a window."""
        return cond

    def within(self, denoiser: Denoiser, view: View) -> Denoiser:
        """The denoiser wrapped next to the network, so that guidance calls the wrapped one for every estimate."""
        return denoiser

    def around(self, denoiser: Denoiser, view: View) -> Denoiser:
        """The denoiser wrapped around guidance."""
        return denoiser

    def record(self) -> dict[str, Any]:
        """Its options that shape a generated video, if not the default; for records."""
        return {}

    def start(self, noise: Tensor, view: View) -> tuple[Tensor, float]:
        """Where the sampler starts: ``z [B, *network_shape]`` and its time in (0, 1]; by default noise, at 1."""
        return noise, 1.0


class Conditioners(nn.Module):
    """The conditioners of a model, in their order, each registered by the name of its class.

    The weights of one, ``conditioners.Text.encoder...``, are so called the same whatever stands before it; a second one
    of a class is ``Text2``.
    """

    def __init__(self, conditioners: Iterable[Conditioner] = ()) -> None:
        super().__init__()
        for conditioner in conditioners:
            self.append(conditioner)

    def append(self, conditioner: Conditioner) -> None:
        """Put one behind the others."""
        name = type(conditioner).__name__
        alike = sum(type(other).__name__ == name for other in self)
        self.add_module(f"{name}{alike + 1}" if alike else name, conditioner)

    def __iter__(self) -> Iterator[Conditioner]:
        return iter(cast("Iterable[Conditioner]", self._modules.values()))

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, place: int) -> Conditioner:
        return list(self)[place]


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless a share lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")
