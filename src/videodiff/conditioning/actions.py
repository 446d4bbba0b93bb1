"""What a robot, or whoever moves the scene, does at each frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from videodiff.conditioning.base import Conditioner, Example, View, check_share
from videodiff.conditioning.request import Request
from videodiff.diffusion import Condition
from videodiff.networks.latents import Latents
from videodiff.networks.network import Network


class Actions(Conditioner):
    """A vector for each frame, for a network of frames that was built with ``vector_dim``; the null action is zeros.

    The action of a frame leads to the next. Without a ``vector_dim`` the actions of data are not looked at.

    Args:
        drop: share of training samples whose actions are dropped, for classifier-free guidance.

    Raises:
        ValueError: if that is no share.
    """

    fields = ("vector",)
    learns_from = ("actions",)

    def __init__(self, drop: float = 0.1) -> None:
        super().__init__()
        check_share("condition_drop", drop)
        self.drop = drop
        self.vector_dim: int | None = None

    def attach(self, net: Network, latents: Latents) -> None:
        if latents.unit_frames == 1 and latents.sees_context:
            self.vector_dim = net.vector_dim
        self.answers = ("actions",) if self.is_used else ()

    @property
    def is_used(self) -> bool:
        return self.vector_dim is not None

    def check_data(self, data: Any) -> None:
        found = getattr(data, "action_dim", None)
        if self.vector_dim is not None and found not in (None, self.vector_dim):
            raise ValueError(
                f"the actions of the data are {found} numbers, the network takes {self.vector_dim}; set "
                f"--model.net.vector_dim {found}"
            )

    def example(self, size: int, frames: int, device: torch.device | str) -> dict[str, Tensor]:
        if self.vector_dim is None:
            return {}
        return {"actions": torch.zeros(size, frames, self.vector_dim, device=device)}

    def check_request(self, request: Request) -> None:
        actions = request.actions
        if actions is None:
            return
        if actions.shape[2] != self.vector_dim:
            raise ValueError(f"an action of this model is {self.vector_dim} numbers, got {actions.shape[2]}")
        if request.num_frames is not None and actions.shape[1] < request.num_frames - 1:
            raise ValueError(
                f"a video of {request.num_frames} frames has {request.num_frames - 1} actions that lead from one to "
                f"the next, got {actions.shape[1]}"
            )

    def learn(self, example: Example) -> Example:
        actions = example.batch.get("actions")
        if self.vector_dim is None or actions is None:
            return example
        return replace(example, cond=replace(example.cond, vector=actions))

    def tell(self, cond: Condition, view: View) -> Condition:
        actions = view.request.actions
        if actions is None:
            return cond
        lacking = max(view.units) + 1 - actions.shape[1]  # behind the last frame, or of a clip that is cut
        return replace(cond, vector=pad(actions, (0, 0, 0, max(lacking, 0)))[:, list(view.units)])
