"""The interface of a module that ``fit`` trains, beside Lightning's own hooks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from videodiff.conditioning import Keys
from videodiff.networks import Autoencoder

OptimizerCallable = Callable[[Iterable[nn.Parameter]], Optimizer]


class TrainedModule(pl.LightningModule, ABC):
    """A module that ``fit`` trains. Callbacks, estimates and imports ask one nothing else.

    Attributes:
        autoencoder: video <-> latent: what is trained, or a frozen one.
        make_optimizer: parameters -> optimizer.
        seed: of all that training draws.
        rebuilds: whether it gives clips back (``rebuild``); False for one that draws.
    """

    autoencoder: Autoencoder
    make_optimizer: OptimizerCallable
    seed: int
    rebuilds: bool = False

    @property
    @abstractmethod
    def video_shape(self) -> tuple[int, int, int, int]:
        """Shape ``(3, T, H, W)`` of a clip."""

    @property
    @abstractmethod
    def core(self) -> nn.Module:
        """The part that the run is about: the network, or the autoencoder without its discriminators."""

    @property
    def is_averaged(self) -> bool:
        """Whether training keeps an average of its weights."""
        return not self.rebuilds

    @property
    def sample_frames(self) -> int:
        """Frames that a clip of the data must have at least."""
        return self.video_shape[1]

    @property
    def first_stage(self) -> Autoencoder | None:
        """The frozen autoencoder that encodes its clips; None where there is none."""
        return None

    @abstractmethod
    def training_loss(self, batch: dict[str, Any]) -> Tensor:
        """The loss of a training batch, a scalar."""

    def example_batch(self, data: Mapping[str, Any], size: int, device: torch.device | str) -> dict[str, Any]:
        """A batch as the data would give it, but for the places of its samples (``sample``) and what it shows.

        Args:
            data: ``init_args`` of a config's data.
            size: clips.
            device: of its tensors.
        """
        _, frames, height, width = self.video_shape
        return {"video": torch.empty(size, 3, frames, height, width, device=device)}

    @abstractmethod
    def forward_once(self, device: torch.device | str) -> Tensor:
        """One forward pass of :attr:`core` for one clip of zeros, with every condition that it takes."""

    def compute_once(self) -> None:
        """Compute, for an example, what :attr:`core` is conditioned on and is computed once for a clip."""

    @property
    def calls_per_clip(self) -> int:
        """Network calls for generating one clip; 0 if it does not generate."""
        return 0

    @property
    def encoded_share(self) -> float:
        """Clips that the first stage encodes for a sample on average, over those of a batch of one."""
        return 1.0

    @abstractmethod
    def use_keys(self, keys: type[Keys]) -> None:
        """Draw the coins of training by these keys, in its last phase: for steps that are counted and not run."""


def trained_module(model: object, what: str) -> TrainedModule:
    """A module as one that ``fit`` trains.

    Raises:
        TypeError: for any other, beginning with `what`.
    """
    if isinstance(model, TrainedModule):
        return model
    raise TypeError(f"{what} of a DiffusionModule or an AutoencoderModule, not of {type(model).__name__}")
