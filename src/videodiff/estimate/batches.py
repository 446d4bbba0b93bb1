"""A batch as the data would give it, and random choices that do not depend on numbers in it.

On tensors without numbers none can be read, so the coins that choose rows of a batch (which clip pairs are learnt,
which latent frames are given) are replaced by their largest case. All else is the model's own code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from videodiff.conditioning import Keys
from videodiff.models import VDM, AutoencoderModule


def clip_frames(model: Any, data: Mapping[str, Any]) -> int:
    """Frames of the video of one training sample."""
    if isinstance(model, AutoencoderModule):
        return model.video_shape[1]
    unit = model.latents.unit_frames
    return max(int(data.get("num_frames") or 0) // unit * unit, model.sample_frames)


def num_images(model: Any, data: Mapping[str, Any]) -> int:
    """Still images that training joins to each clip."""
    return int(data.get("images_per_video") or 0) if isinstance(model, VDM) else 0


def make_batch(model: Any, data: Mapping[str, Any], size: int, device: str) -> dict[str, Any]:
    """``size`` samples of the config's data, with ``video [size, 3, T, H, W]`` fp32."""
    _, _, height, width = model.video_shape
    frames, images = clip_frames(model, data), num_images(model, data)
    video = torch.empty(size, 3, frames + images, height, width, device=device)
    batch: dict[str, Any] = {"video": video, "sample": _Positions(size)}
    if images:
        batch["num_images"] = images
    if getattr(getattr(model, "net", None), "num_classes", None) is not None:
        batch["label"] = torch.zeros(size, dtype=torch.long, device=device)
    return batch


def keep_latents(model: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """The same batch as a cache of first-stage latents gives it."""
    return {**{k: v for k, v in batch.items() if k != "video"}, "latent": model.latents_of(batch["video"])}


def without_draws(model: Any) -> None:
    """Replace, on this model alone, what reads numbers of a batch."""
    if isinstance(model, AutoencoderModule):
        model.start_step = 0  # the discriminators' phase, where there are any
    else:
        model.keys_of = lambda batch, split: EvenKeys(
            model.seed, split, batch["sample"].tolist(), model.device
        )


class EvenKeys(Keys):
    """Coins that share a batch out evenly: of a share p of n samples, p n rounded up."""

    def coins(self, *name: str) -> np.ndarray:
        return np.arange(len(self.positions), dtype=np.float32) / np.float32(len(self.positions))


class _Positions:
    """Places in the training stream, which tensors without numbers could not tell."""

    def __init__(self, size: int) -> None:
        self.size = size

    def tolist(self) -> list[int]:
        return list(range(self.size))

    def __len__(self) -> int:
        return self.size
