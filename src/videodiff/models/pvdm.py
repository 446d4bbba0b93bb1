"""PVDM: projected latent video diffusion (Yu et al. 2023, arXiv 2302.07685).

Two stages. A :class:`~videodiff.networks.TriplaneAutoencoder` (trained by ``AutoencoderModule``) turns a clip into
three planes, one behind the other as ``[B, C, N]``; here a :class:`~videodiff.networks.TriplaneUNet` learns them,
half of the time given the planes of the clip before (section 3.3, eq. 8). A long video is drawn clip by clip, each from
the finished planes of the last (algorithm 1).
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from videodiff.diffusion import Condition, Denoiser, MeasurementGuidance, Sampler
from videodiff.diffusion.windows import Window
from videodiff.models.base import DiffusionModule
from videodiff.models.given import Given
from videodiff.seeding import send, uniforms


class PVDM(DiffusionModule):
    """Projected latent video diffusion model (Yu et al. 2023).

    The unit of a latent is a clip: a video of U clips is ``[B, C, U, N]``. A training clip of the data holds two
    neighbouring clips of the model (``data.num_frames`` twice the autoencoder's less `shared_frames`), or just one if
    `conditional_share` is 0.

    Args:
        conditional_share: share of the samples that learn the second clip given the first (lambda of eq. 8; the
            published code takes 0.3, and 0.2 on SkyTimelapse, a whole batch at a time; here each sample draws its
            own). The others learn one clip, starting at any frame of the pair, given nothing.
        extension_steps: sampler steps of every clip after the first (the M of "N/M-s" in the paper's tables); none
            is as for the first.
        shared_frames: frames that a clip has in common with the one before it; when a video is drawn, one clip fades
            into the next over them, so that what they draw a little differently does not show as a jump. 0 as
            published.
        reconstruction_weight: how far each sampler step of a later clip moves towards the shared frames as the clip
            before shows them: 1 is the best step along the gradient through network and decoder, 0 (as published)
            none. It changes nothing in training.

    Raises:
        ValueError: if `conditional_share` is no share, `shared_frames` are not fewer than a clip's or not what the
            network was told, the weight is negative or nothing is shared that it could weigh, the network takes no
            planes to condition on, or its planes are not the autoencoder's.
    """

    def __init__(
        self,
        *args: Any,
        conditional_share: float = 0.3,
        extension_steps: int | None = None,
        shared_frames: int = 0,
        reconstruction_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= conditional_share <= 1:
            raise ValueError(f"conditional_share must lie in [0, 1], got {conditional_share}")
        if extension_steps is not None and extension_steps < 1:
            raise ValueError(f"extension_steps must be at least 1, got {extension_steps}")
        if conditional_share > 0 and self.net.concat_channels != self.net.channels:
            raise ValueError(
                f"the network must take the planes of a clip to condition on: concat_channels {self.net.channels}, "
                f"got {self.net.concat_channels}"
            )
        if not 0 <= shared_frames < self.video_shape[1]:
            raise ValueError(
                f"shared_frames must lie in 0 ... {self.video_shape[1] - 1}, got {shared_frames}"
            )
        if self.net.concat_reversed and self.net.concat_shared != shared_frames:
            raise ValueError(
                f"the network sees clips that share {self.net.concat_shared} frames, the model draws clips that share "
                f"{shared_frames}; set --model.net.concat_shared and --model.shared_frames to the same"
            )
        planes, latent = (self.net.channels, self.net.plane_sizes.num_tokens), self.latent_shape(1)
        if planes != (latent[0], latent[2]):
            raise ValueError(
                f"the network is made for planes {planes} (channels, tokens), the autoencoder makes "
                f"{(latent[0], latent[2])}; set channels, num_frames and plane_size of --model.net"
            )
        self.conditional_share, self.extension_steps = conditional_share, extension_steps
        self.shared_frames, self.reconstruction_weight = shared_frames, reconstruction_weight
        self.check_weight()

    def check_weight(self) -> None:
        """Refuse a weight on shared frames where there are none; it may have been set since the model was built."""
        weight = self.reconstruction_weight
        if not 0 <= weight < math.inf or (weight > 0 and not self.shared_frames):
            raise ValueError(
                "reconstruction_weight is of the frames that neighbouring clips share: at least 0, and 0 without "
                f"shared_frames; got {weight} with shared_frames {self.shared_frames}"
            )

    @property
    def video_shape(self) -> tuple[int, int, int, int]:
        return self.autoencoder.video_shape

    @property
    def clip_stride(self) -> int:
        """Frames from the start of one clip to the start of the next."""
        return self.video_shape[1] - self.shared_frames

    @property
    def pair_frames(self) -> int:
        """Frames of a training sample: two clips, or one if no clip is learnt from the one before."""
        return self.video_shape[1] + (self.clip_stride if self.conditional_share > 0 else 0)

    # --- training ---------------------------------------------------------------------------------------------

    def check_data(self, data: Any) -> None:
        """Refuse data whose clips are not pairs of the model's, or have more classes than the network."""
        frames, side = getattr(data, "num_frames", None), getattr(data, "resolution", None)
        height, width = self.video_shape[2:]
        if frames is not None and frames != self.pair_frames:
            raise ValueError(
                f"data.num_frames must be {self.pair_frames} (two clips of {self.video_shape[1]} frames"
                f"{f' that share {self.shared_frames}' if self.shared_frames else ''}, the second "
                f"learnt from the first; or one with --model.conditional_share 0), got {frames}"
            )
        if side is not None and (side, side) != (height, width):
            raise ValueError(
                f"data.resolution must be what the first stage was trained on, {height}, got {side}"
            )
        self.check_classes(data)

    def prepare(self, batch: dict[str, Any]) -> tuple[Tensor, Condition]:
        """Planes ``[B, C, N]`` of one clip, given those of the clip before or zeros (eq. 8)."""
        label = batch.get("label") if self.net.num_classes is not None else None
        positions = batch["sample"].tolist()
        if self.conditional_share == 0:
            kept = batch["latent"][:, :, 0] if "latent" in batch else self.planes(batch["video"])
            return kept, self.no_clip(len(positions), label)
        frames = self.video_shape[1]
        # Coins stay on the host, which cuts clips by them: reading them back would wait for the GPU.
        is_pair = uniforms([(self.seed, "clip pair", p) for p in positions]) < self.conditional_share
        starts = uniforms([(self.seed, "clip start", p) for p in positions])
        if "latent" in batch:
            return self.kept_pairs(
                batch["latent"], send(is_pair, self.device), send(starts, self.device), label
            )
        # An unconditional sample may begin at any frame of the pair: all frames of the data are used.
        starts = starts * (self.clip_stride + 1)
        pairs = is_pair.tolist()
        starts = [
            self.clip_stride if pair else int(s) for pair, s in zip(pairs, starts.tolist(), strict=True)
        ]
        target = torch.stack([v[:, s : s + frames] for v, s in zip(batch["video"], starts, strict=True)])
        rows = send(torch.tensor([i for i, pair in enumerate(pairs) if pair], dtype=torch.long), self.device)
        before = batch["video"][:, :, :frames][rows]
        both = self.planes(torch.cat([target, before]))  # one pass of the encoder
        concat = torch.zeros_like(both[: len(target)])
        concat[rows] = both[len(target) :]
        return both[: len(target)], Condition(label=label, concat=concat)

    def latents_of(self, video: Tensor) -> Tensor:
        """Planes of the one or two clips of a training sample, ``[B, 3, T', H, W]`` -> ``[B, C, U, N]``."""
        clips = self.clips_of(video)
        return self.planes(torch.cat(clips)).unflatten(0, (len(clips), len(video))).permute(1, 2, 0, 3)

    def clips_of(self, video: Tensor) -> list[Tensor]:
        """The clips ``[B, 3, T, H, W]`` of a video ``[B, 3, T', H, W]`` that begin in it and end in it."""
        return list(video.unfold(2, self.video_shape[1], self.clip_stride).movedim(-1, 3).unbind(2))

    def kept_pairs(
        self, pairs: Tensor, is_pair: Tensor, starts: Tensor, label: Tensor | None
    ) -> tuple[Tensor, Condition]:
        """What :meth:`prepare` returns, from kept planes ``[B, C, 2, N]``.

        Planes of a clip that begins between the two are not kept: an unconditional sample is one of the two.
        """
        first, second = pairs.unbind(2)
        is_second = (is_pair | (starts >= 0.5)).view(-1, 1, 1)
        concat = first.masked_fill(~is_pair.view(-1, 1, 1), 0)
        return torch.where(is_second, second, first), Condition(label=label, concat=concat)

    def planes(self, video: Tensor) -> Tensor:
        """The frozen first stage's latent of clips."""
        with torch.no_grad():
            return self.autoencoder.encode(video).float()

    def no_clip(self, num_videos: int, label: Tensor | None) -> Condition:
        """The condition of a first clip: the null clip, zeros, if the network takes one."""
        if self.net.concat_channels == 0:
            return Condition(label=label)
        return Condition(
            label, concat=torch.zeros(num_videos, *self.latent_shape(1)[::2], device=self.device)
        )

    # --- sampling ---------------------------------------------------------------------------------------------

    @property
    def overlap(self) -> int:
        """One clip: the whole of the last one is the condition of the next."""
        return 1

    def latent_units(self, num_frames: int) -> int:
        """Clips that a video of ``num_frames`` frames begins."""
        return max(-(-(num_frames - self.shared_frames) // self.clip_stride), 1)

    def latent_shape(self, num_units: int) -> tuple[int, ...]:
        channels, tokens = self.autoencoder.latent_shape(self.video_shape)
        return (channels, num_units, tokens)

    def plan(self, num_units: int, known: Sequence[int]) -> list[Window]:
        """Clip after clip, each from the one before (algorithm 1)."""
        if self.net.concat_channels == 0 and num_units > 1:
            raise ValueError(
                "this model draws single clips: its network takes no clip before (concat_channels 0)"
            )
        return [Window((k,), (k - 1,) if k else ()) for k in range(num_units) if k not in known]

    def later_sampler(self, sampler: Sampler) -> Sampler:
        """The model's own sampler with `extension_steps`; one that was asked for stays as it is."""
        if self.extension_steps is None or sampler is not self.sampler:
            return sampler
        sampler = copy.copy(sampler)
        sampler.num_steps = self.extension_steps
        return sampler

    def encode_given(self, given: Given, latent: Tensor) -> tuple[int, ...]:
        """Known frames must be whole clips from the start: planes of part of a clip do not exist."""
        if given.low_resolution is not None:
            raise ValueError("PVDM continues clips; it cannot start from a low-resolution video")
        if given.frames is None:
            return ()
        frames = self.video_shape[1]
        count = len(given.positions)
        whole = count >= frames and (count - frames) % self.clip_stride == 0
        if not whole or given.positions != tuple(range(count)):
            more = (
                f"multiple of {frames}"
                if not self.shared_frames
                else f"{frames} + n x {self.clip_stride} frames"
            )
            raise ValueError(
                f"PVDM continues whole clips of {frames} frames: give frames 0 to {frames - 1} (or the first "
                f"{more}), got {count} frames from {given.positions[0]} to {given.positions[-1]}"
            )
        clips = self.clips_of(given.frames.to(self.device))
        for k, clip in enumerate(clips):
            latent[:, :, k] = self.planes(clip)
        return tuple(range(len(clips)))

    def condition_on(
        self, denoiser: Denoiser, cond: Condition, known: Tensor, mask: Tensor, low: Tensor | None, noise: Any
    ) -> tuple[Denoiser, Condition]:
        """Tell the network the planes of the clip before, ``known [B, C, 1, N]``.

        A first clip has no such condition, which is the null clip to the network and leaves guidance nothing to do.
        """
        self.check_weight()
        if not bool(mask.any()):
            return denoiser, cond
        before = known[:, :, 0]
        if self.reconstruction_weight > 0:
            shown = self.decode_clip(before)[:, :, self.clip_stride :]
            denoiser = MeasurementGuidance(
                denoiser,
                lambda planes: self.decode_clip(planes)[:, :, : self.shared_frames],
                shown,
                self.reconstruction_weight,
            )
        return denoiser, replace(cond, concat=before)

    def sample_window(
        self,
        latent: Tensor,
        window: Window,
        cond: Condition,
        given: Given,
        noise: list[torch.Generator],
        sampler: Sampler,
        guidance_scale: float | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Draw the planes of one clip of ``latent`` ``[B, C, U, N]`` in place."""
        (unit,) = window.new
        shape = latent[0, :, unit].shape
        z = torch.stack([torch.randn(shape, generator=g, device=self.device) for g in noise])
        known, mask = latent[:, :, list(window.context)], torch.ones(len(window.context), dtype=torch.bool)
        denoiser, cond = self.condition_on(self.denoiser(guidance_scale), cond, known, mask, None, noise)
        latent[:, :, unit] = sampler.sample(
            self.thresholded(denoiser), self.schedule, z, cond, noise, progress=progress
        )

    def decode_clip(self, planes: Tensor) -> Tensor:
        """The clip ``[B, 3, T, H, W]`` in [-1, 1] of planes ``[B, C, N]``, fp32."""
        return self.autoencoder.decode(planes).clamp(-1, 1).float()

    @torch.no_grad()
    def decode_frames(self, latent: Tensor, num_frames: int) -> Iterator[Tensor]:
        """Clip by clip, each fading into the next over the frames they share: memory does not grow with the length."""
        shared, left = self.shared_frames, num_frames
        # The weight of the new clip rises in equal steps; neither clip is alone in any shared frame.
        weight = torch.arange(1, shared + 1, device=latent.device).view(-1, 1, 1) / (shared + 1)
        tail = None  # the last shared frames of the clip before
        for unit in range(latent.shape[2]):
            clip = self.decode_clip(latent[:, :, unit])
            if tail is not None:
                clip = torch.cat(
                    [torch.lerp(tail, clip[:, :, :shared], weight.to(clip)), clip[:, :, shared:]], dim=2
                )
            is_last = unit == latent.shape[2] - 1
            tail = clip[:, :, clip.shape[2] - shared :] if shared and not is_last else None
            ready = clip[:, :, : min(left, clip.shape[2] if is_last else self.clip_stride)]
            left -= ready.shape[2]
            if ready.shape[2]:
                yield ready
