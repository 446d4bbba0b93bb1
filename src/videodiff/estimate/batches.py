"""A batch as the data would give it, and the steps of a family's preparation that depend on numbers in it.

On tensors without numbers none can be read, so the draws that choose rows of a batch (which clip pairs are learnt,
which latent frames are given) are replaced by their largest case. All else is the model's own code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from videodiff.diffusion import Condition
from videodiff.models import LVDM, PVDM, VDM, AutoencoderModule


def clip_frames(model: Any, data: Mapping[str, Any]) -> int:
    """Frames of the video of one training sample."""
    if isinstance(model, PVDM):
        return model.pair_frames
    if isinstance(model, LVDM):
        return max(int(data.get("num_frames") or 0) // model.unit_frames * model.unit_frames, model.span)
    return model.video_shape[1]


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
    elif isinstance(model, PVDM):
        model.prepare = lambda batch: _prepare_pvdm(model, batch)
    elif isinstance(model, LVDM):
        model.prepare = lambda batch: _prepare_lvdm(model, batch)
        model.draw_mask = lambda positions: torch.zeros(
            len(positions), model.net.num_frames, dtype=torch.bool, device=model.device
        )


def _prepare_pvdm(model: PVDM, batch: dict[str, Any]) -> tuple[Tensor, Condition]:
    """As ``PVDM.prepare``; the share of pairs is rounded up."""
    label, size = batch.get("label"), len(batch["sample"])
    if "latent" in batch:
        latent = batch["latent"].unbind(2)[0].clone()
        return latent, Condition(label, concat=latent.clone()) if model.pair_frames > model.video_shape[
            1
        ] else (model.no_clip(size, label))
    frames = model.video_shape[1]
    if model.conditional_share == 0:
        return model.planes(batch["video"]), model.no_clip(size, label)
    pairs = -int(-model.conditional_share * size // 1)
    target = torch.stack([video[:, :frames] for video in batch["video"].unbind(0)])
    before = batch["video"][:pairs, :, :frames].clone()
    both = model.planes(torch.cat([target, before]))
    concat = torch.zeros_like(both[:size])
    concat[:pairs] = both[size:]
    return both[:size], Condition(label, concat=concat)


def _prepare_lvdm(model: LVDM, batch: dict[str, Any]) -> tuple[Tensor, Condition]:
    """As ``LVDM.prepare``, every sample from its first latent frame on."""
    latent = batch["latent"] if "latent" in batch else model.latents_of(batch["video"])
    rows = torch.stack([row[:, : model.net.num_frames] for row in latent.unbind(0)])
    return rows, model.with_stride(Condition(batch.get("label")), [1] * len(rows))


class _Positions:
    """Places in the training stream, which tensors without numbers could not tell."""

    def __init__(self, size: int) -> None:
        self.size = size

    def tolist(self) -> list[int]:
        return list(range(self.size))

    def __len__(self) -> int:
        return self.size
