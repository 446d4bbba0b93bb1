"""The class of a video."""

from __future__ import annotations

from dataclasses import replace

import torch

from videodiff.conditioning.base import Conditioner, Example, View, check_share
from videodiff.conditioning.request import Request
from videodiff.diffusion import Condition
from videodiff.networks.latents import Latents
from videodiff.networks.network import Network


class Label(Conditioner):
    """The class, for a network that was built with some; without, classes of the data are not looked at.

    Still images that a clip is trained with have the classes of their own videos; they are dropped with the clip's.

    Args:
        drop: share of training samples whose class is dropped, for classifier-free guidance.

    Raises:
        ValueError: if that is no share.
    """

    fields = ("label",)
    answers = ("label",)
    learns_from = ("label",)

    def __init__(self, drop: float = 0.1) -> None:
        super().__init__()
        check_share("condition_drop", drop)
        self.drop = drop
        self.num_classes: int | None = None

    def attach(self, net: Network, latents: Latents) -> None:
        self.num_classes = net.num_classes

    @property
    def is_used(self) -> bool:
        return self.num_classes is not None

    def check_request(self, request: Request) -> None:
        label, classes = request.label, self.num_classes
        if label is None:
            return
        if classes is None:
            raise ValueError("this model has no classes; leave the class out")
        if unknown := [number for number in label.tolist() if not -1 <= number < classes]:
            raise ValueError(f"this model has {classes} classes (0 to {classes - 1}), got {unknown[0]}")

    def learn(self, example: Example) -> Example:
        if self.num_classes is None:
            return example
        label, of_images = example.batch.get("label"), example.batch.get("image_labels")
        if label is not None and of_images is not None:  # every image is of another video
            of_clip = label[:, None].expand(-1, example.latents.clip_units)
            label = torch.cat([of_clip, of_images], dim=1)
        return replace(example, cond=replace(example.cond, label=label))

    def tell(self, cond: Condition, view: View) -> Condition:
        return replace(cond, label=view.request.label)
