"""Conditions on the clip before, or on none (Yu et al. 2023, section 3.3, eq. 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from videodiff.conditioning.base import Conditioner, Example, View, check_share
from videodiff.diffusion import Condition, Window
from videodiff.networks.latents import Latents
from videodiff.networks.network import Network
from videodiff.seeding import send


class PreviousClip(Conditioner):
    """The latent of the clip before, concatenated to ``z``; zeros are the null clip, also for a first clip.

    A training clip of the data holds two neighbouring clips of the model, or just one if the share is 0. Those that
    are given nothing learn one clip that begins at any frame of the pair: all frames of the data are used.

    Args:
        share: share of the training samples that learn the second clip given the first (lambda of eq. 8).
        drop: share of them, again, whose first clip is dropped for classifier-free guidance.
        is_guided: whether guidance moves away from no clip before, too; False keeps the clip in both estimates.

    Raises:
        ValueError: if `share` is no share; from ``attach``, if the network takes no clip to condition on.
    """

    fields = ("concat",)
    answers = ("frames",)
    sets_frames = True

    def __init__(self, share: float = 0.3, drop: float = 0.0, is_guided: bool = True) -> None:
        super().__init__()
        check_share("conditional_share", share)
        self.share, self.drop, self.channels, self.is_guided = share, drop, 0, is_guided

    @property
    def encoded_share(self) -> float:
        """In a batch of one, the first clip is encoded with the second."""
        return (1 + self.share) / 2 if self.share > 0 else 1.0

    @property
    def is_used(self) -> bool:
        return self.channels > 0

    @property
    def null_share(self) -> float:
        return 1 - self.share * (1 - self.drop)

    def attach(self, net: Network, latents: Latents) -> None:
        channels, wanted = net.concat_channels, latents.shape(1)[0]
        if self.share > 0 and channels != wanted:
            raise ValueError(
                f"the network must take the planes of a clip to condition on: concat_channels {wanted}, "
                f"got {channels}"
            )
        self.channels = channels

    def sample_frames(self, latents: Latents) -> int:
        return latents.video_shape[1] + (latents.unit_frames if self.share > 0 else 0)

    def check_frames(self, num_frames: int, latents: Latents) -> None:
        frames, size = self.sample_frames(latents), latents.video_shape[1]
        shared = size - latents.unit_frames
        if num_frames != frames:
            raise ValueError(
                f"data.num_frames must be {frames} (two clips of {size} frames"
                f"{f' that overlap by {shared}' if shared else ''}, the second generated given the first; or one with "
                f"--model.conditional_share 0), got {num_frames}"
            )

    def check_windows(self, windows: Sequence[Window]) -> None:
        if not self.channels and any(window.context for window in windows):
            raise ValueError(
                "this model generates single clips: its network does not see the clip before (concat_channels 0)"
            )

    def learn(self, example: Example) -> Example:
        if self.share == 0:
            target = example.latent[:, :, 0]
            return replace(example, target=target, cond=self._told(example.cond, torch.zeros_like(target)))
        is_pair = example.keys.coins("clip pair") < self.share
        starts = example.keys.coins("clip start")
        stride = example.latents.unit_frames
        pairs = rows_of(is_pair, example.keys.device)
        if "latent" in example.batch:
            # Of a clip that begins between the two nothing is kept: who is given nothing learns one of the two.
            first, second = example.batch["latent"].unbind(2)
            is_second = is_pair | (starts >= 0.5)
            seconds = rows_of(is_second, example.keys.device)
            target, before = first.clone(), first[pairs]
            target[seconds] = second[seconds]
            begins = stride * is_second.astype(int)
        else:
            begins = np.where(is_pair, stride, (starts * np.float32(stride + 1)).astype(int))
            target, before = self._encode(example, pairs, begins.tolist())
        concat = torch.zeros_like(target)
        concat[pairs] = before
        frames = example.latents.video_shape[1]
        example = example.of_frames(begins.tolist(), frames, [1] * len(begins))
        return replace(example, target=target, cond=self._told(example.cond, concat))

    def _encode(self, example: Example, pairs: Tensor, begins: list[int]) -> tuple[Tensor, Tensor]:
        """Targets ``[B, C, N]`` that begin at these frames, and the clips before those of `pairs`; in one pass."""
        latents, video = example.latents, example.batch["video"]
        frames = latents.video_shape[1]
        targets = torch.stack([clip[:, s : s + frames] for clip, s in zip(video, begins, strict=True)])
        both = latents.encode(torch.cat([targets, video[:, :, :frames][pairs]]))[:, :, 0]
        return both[: len(targets)], both[len(targets) :]

    def tell(self, cond: Condition, view: View) -> Condition:
        """A first clip has no condition: the network sees the null clip, and guidance has no effect."""
        return self._told(cond, view.context[:, :, -1]) if view.sees_units else cond

    def _told(self, cond: Condition, clip: Tensor) -> Condition:
        return replace(cond, concat=clip) if self.channels else cond


def rows_of(chosen: np.ndarray, device: torch.device | str) -> Tensor:
    """Where a mask ``[B]`` is true, int64, on the device; the host has decided it, so nothing waits for a GPU."""
    return send(torch.tensor(np.flatnonzero(chosen).tolist(), dtype=torch.long), device)
