"""LVDM: latent video diffusion with masked conditioning (He et al. 2022, arXiv 2211.13221).

Two stages. An :class:`~videodiff.networks.Autoencoder3D` (trained by ``AutoencoderModule``) makes of a clip a latent
with 4 times fewer frames and 8 times fewer rows and columns; here a :class:`~videodiff.networks.UNet3D` learns those
latents. Some latent frames may be given (section 3.3; ``diffusion/masking.py``): the first ones (prediction), both
ends (interpolation), or none. A long video is drawn autoregressively, or hierarchically: key frames first, each from
the ones before, then every gap between two of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from videodiff.diffusion import (
    ClassifierFreeGuidance,
    Condition,
    Denoiser,
    GivenUnits,
    KnownUnits,
    NetworkDenoiser,
    Sampler,
    masked_diffusion_loss,
)
from videodiff.diffusion.noise import normal_like
from videodiff.diffusion.windows import Window, autoregressive, cover, interpolation
from videodiff.models.base import DiffusionModule
from videodiff.models.given import Given
from videodiff.seeding import normals, send, uniforms

GUIDED = (
    "label",
    "concat",
    "concat_time",
)  # what guidance moves away from; the spacing of frames is told always


class LVDM(DiffusionModule):
    """Latent video diffusion model (He et al. 2022).

    The unit of a latent is a latent frame. A network that is to be given frames takes the mask as one more channel
    (``concat_channels: 1``).

    Args:
        prediction_share: share of the training samples whose first frames are given.
        interpolation_share: share of the training samples whose first and last frame are given.
        given_counts: how many first frames may be given to a prediction; each sample draws one of them.
        max_given_noise: given frames are noised to a time drawn from 0 to this (section 3.3, s_max / T = 0.25).
        given_noise: time that given frames are noised to in sampling (0.1 in the published script).
        loss_on_given: count the denoising of the given frames in the loss too, as the published code does.
        strides: distances between the latent frames of a training sample; each sample draws one. 1 is neighbours; a
            model of key frames has the distance of key frames. A network that learns several is told which
            (``vector_dim: 1``, log2 of the distance).
        long_video: how a video longer than a clip is drawn: window after window, or key frames and then the gaps.
        overlap_frames: latent frames of one window that the next one sees; by default the largest of `given_counts`.

    Raises:
        ValueError: for shares, counts or times out of their range, or a network that does not take what it is given.
    """

    def __init__(
        self,
        *args: Any,
        prediction_share: float = 0.0,
        interpolation_share: float = 0.0,
        given_counts: tuple[int, ...] = (1,),
        max_given_noise: float = 0.25,
        given_noise: float = 0.1,
        loss_on_given: bool = False,
        strides: tuple[int, ...] = (1,),
        long_video: Literal["autoregressive", "hierarchical"] = "autoregressive",
        overlap_frames: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.prediction_share, self.interpolation_share = prediction_share, interpolation_share
        self.given_counts, self.strides = tuple(given_counts), tuple(sorted(strides))
        self.max_given_noise, self.given_noise = max_given_noise, given_noise
        self.loss_on_given, self.long_video = loss_on_given, long_video
        self.overlap_frames = max(self.given_counts) if overlap_frames is None else overlap_frames
        self.use_interpolator(self)
        self.check_options()

    def check_options(self) -> None:
        """Raise ValueError for options that do not fit each other or the network."""
        shares, frames = self.prediction_share + self.interpolation_share, self.net.num_frames
        if frames < 2:
            raise ValueError(
                f"LVDM takes clips of 2 latent frames or more (--model.net.num_frames 2), got {frames}; single frames "
                "are learnt by VDM"
            )
        if min(self.prediction_share, self.interpolation_share) < 0 or shares > 1:
            raise ValueError(
                "prediction_share and interpolation_share must be at least 0 and at most 1 together, "
                f"got {self.prediction_share} and {self.interpolation_share}"
            )
        if not 0 <= self.max_given_noise < 1 or not 0 <= self.given_noise < 1:
            raise ValueError(
                f"max_given_noise and given_noise must lie in [0, 1), got {self.max_given_noise} and {self.given_noise}"
            )
        for name, counts in (("given_counts", self.given_counts), ("overlap_frames", (self.overlap_frames,))):
            if not counts or min(counts) < 1 or max(counts) >= frames:
                raise ValueError(f"{name} must lie between 1 and {frames - 1} (num_frames - 1), got {counts}")
        if not self.strides or self.strides[0] < 1:
            raise ValueError(f"strides must be at least 1, got {self.strides}")
        if self.interpolation_share > 0 and frames < 3:
            raise ValueError(f"interpolation needs a network of at least 3 latent frames, got {frames}")
        if shares > 0 and self.net.concat_channels != 1:
            raise ValueError(
                "a network that is given frames takes a mask channel: --model.net.concat_channels 1, "
                f"got {self.net.concat_channels}"
            )
        if len(self.strides) > 1 and self.net.vector_dim != 1:
            raise ValueError(
                "a network that learns several strides is told which: --model.net.vector_dim 1, "
                f"got {self.net.vector_dim}"
            )

    # --- sizes ------------------------------------------------------------------------------------------------

    @property
    def unit_frames(self) -> int:
        """Frames of the video in one latent frame."""
        shape = self.autoencoder.video_shape
        return shape[1] // self.autoencoder.latent_shape(shape)[1]

    @property
    def video_shape(self) -> tuple[int, int, int, int]:
        _, _, height, width = self.autoencoder.video_shape
        return (3, self.net.num_frames * self.unit_frames, height, width)

    @property
    def span(self) -> int:
        """Frames that a training sample must have, so that the widest stride fits."""
        return ((self.net.num_frames - 1) * self.strides[-1] + 1) * self.unit_frames

    def check_data(self, data: Any) -> None:
        """Refuse data whose clips are too short or of another size, or have more classes than the network."""
        frames, side = getattr(data, "num_frames", None), getattr(data, "resolution", None)
        if frames is not None and (frames < self.span or frames % self.unit_frames):
            raise ValueError(
                f"data.num_frames must be a multiple of {self.unit_frames} and at least {self.span} "
                f"({self.net.num_frames} latent frames of {self.unit_frames}, {self.strides[-1]} apart), got {frames}"
            )
        if side is not None and (side, side) != self.video_shape[2:]:
            raise ValueError(
                f"data.resolution must be what the first stage was trained on, {self.video_shape[2]}, got {side}"
            )
        self.check_classes(data)

    # --- training ---------------------------------------------------------------------------------------------

    def prepare(self, batch: dict[str, Any]) -> tuple[Tensor, Condition]:
        """Latent frames ``[B, C, T, h, w]`` at the distance that each sample drew, of a clip or its kept latent."""
        conditional = getattr(self.net, "num_classes", None) is not None
        label = batch.get("label") if conditional else None
        latent = batch["latent"] if "latent" in batch else self.latents_of(batch["video"])
        count, total, positions = self.net.num_frames, latent.shape[2], batch["sample"].tolist()
        coins = uniforms([(self.seed, "stride", p) for p in positions])
        strides = [self.strides[int(u * len(self.strides))] for u in coins.tolist()]
        starts = uniforms([(self.seed, "first unit", p) for p in positions]).tolist()
        rows = []
        for row, stride, u in zip(latent, strides, starts, strict=True):
            first = int(u * (total - (count - 1) * stride))
            rows.append(row[:, first : first + (count - 1) * stride + 1 : stride])
        return torch.stack(rows), self.with_stride(Condition(label), strides)

    def with_stride(self, cond: Condition, strides: Sequence[int]) -> Condition:
        """Tell a network that knows several strides which one each sample has."""
        if self.net.vector_dim is None:
            return cond
        return replace(cond, vector=send(torch.tensor([[math.log2(s)] for s in strides]), self.device))

    def draw_mask(self, positions: Sequence[int]) -> Tensor:
        """Which latent frames are given, ``[B, T]`` bool, by each sample's own coins."""
        mask = torch.zeros(len(positions), self.net.num_frames, dtype=torch.bool)
        coins = uniforms([(self.seed, "task", p) for p in positions]).tolist()
        counts = uniforms([(self.seed, "given count", p) for p in positions]).tolist()
        for row, coin, u in zip(mask, coins, counts, strict=True):
            if coin < self.interpolation_share:
                row[[0, -1]] = True
            elif coin < self.interpolation_share + self.prediction_share:
                row[: self.given_counts[int(u * len(self.given_counts))]] = True
        return send(mask, self.device)

    def losses(self, batch: dict[str, Any], name: str) -> Tensor:
        if self.net.concat_channels == 0:
            return super().losses(batch, name)
        positions = batch["sample"].tolist()
        x, cond = self.prepare(batch)
        if name == "train" and self.condition_drop > 0:
            coins = uniforms([(self.seed, name, "drop", p) for p in positions], self.device)
            cond = cond.drop(coins >= self.condition_drop, ("label",))
        mask = self.draw_mask(positions)
        given = mask.any(1)
        level = self.max_given_noise * uniforms(
            [(self.seed, name, "given time", p) for p in positions], self.device
        )
        level = (
            level * given
        )  # a sample that is given nothing is the unconditional one: no mask, no noise level
        noise = normals(
            [(self.seed, name, "given noise", p) for p in positions], tuple(x.shape[1:]), self.device
        )
        mask = mask.view(len(mask), 1, -1, *[1] * (x.ndim - 3))
        known = KnownUnits(mask, noise, level, self.loss_on_given)
        cond = replace(cond, concat=mask.float().expand(-1, -1, *x.shape[2:]), concat_time=level)
        t, eps = self.draw(positions, name, tuple(x.shape[1:]))
        return masked_diffusion_loss(
            self.net, self.schedule, x, eps, t, cond, known, self.prediction, self.weighting, self.loss_norm,
            self.min_snr_gamma, self.clip_loss,
        )  # fmt: skip

    # --- sampling ---------------------------------------------------------------------------------------------

    def use_interpolator(self, model: "LVDM") -> None:
        """Fill the gaps of hierarchical video with another model of the same first stage.

        Raises:
            ValueError: if its latents are others.
        """
        if model is not self and model.latent_shape(1) != self.latent_shape(1):
            raise ValueError(
                f"the interpolator's latents {model.latent_shape(1)} are not the model's {self.latent_shape(1)}"
            )
        object.__setattr__(
            self, "interpolator", model
        )  # beside the module tree: its weights are its own run's

    @property
    def overlap(self) -> int:
        return self.overlap_frames

    def latent_units(self, num_frames: int) -> int:
        """Latent frames that a video of ``num_frames`` frames begins."""
        return -(-num_frames // self.unit_frames)

    def total_units(self, num_frames: int) -> int:
        """Latent frames to draw; hierarchical video ends with a key frame, and is cut after decoding."""
        units = super().total_units(num_frames)
        if self.is_hierarchical(units):
            units = -(-(units - 1) // self.strides[-1]) * self.strides[-1] + 1
        return units

    def is_hierarchical(self, units: int) -> bool:
        """Whether so many latent frames are drawn by key frames."""
        return self.long_video == "hierarchical" and units > self.net.num_frames and self.strides[-1] > 1

    def plan(self, num_units: int, known: Sequence[int]) -> list[Window]:
        """Window after window; or key frames, then every gap between two of them (section 3.3)."""
        if not self.is_hierarchical(num_units):
            return cover(num_units, self.net.num_frames, self.overlap, known)
        stride, written = self.strides[-1], set(known)
        keys = autoregressive(num_units, self.net.num_frames, self.overlap, stride)
        gaps = interpolation(num_units, stride)
        windows = []
        for window in (*keys, *gaps):
            new = tuple(u for u in window.new if u not in written)
            context = tuple(u for u in (*window.context, *window.new) if u in written)
            written.update(new)
            if new:
                windows.append(Window(new, context))
        return windows

    def encode_given(self, given: Given, latent: Tensor) -> tuple[int, ...]:
        """Known frames must make up whole latent frames; neighbouring ones are encoded together."""
        if given.low_resolution is not None:
            raise ValueError("LVDM continues and fills in; it cannot start from a low-resolution video")
        if given.frames is None:
            return ()
        size, places = self.unit_frames, given.positions
        units = sorted({p // size for p in places})
        if set(places) != {u * size + i for u in units for i in range(size)}:
            raise ValueError(
                f"a latent frame is {size} frames: known frames must be whole groups of {size} "
                f"(0 to {size - 1}, {size} to {2 * size - 1}, ...), got {len(places)} from {places[0]} to {places[-1]}"
            )
        runs: list[list[int]] = []
        for unit in units:
            if runs and unit == runs[-1][-1] + 1:
                runs[-1].append(unit)
            else:
                runs.append([unit])
        done = 0
        for run in runs:
            frames = given.frames[:, :, done : done + len(run) * size].to(self.device)
            latent[:, :, run] = self.autoencoder.encode(frames).float()
            done += len(run) * size
        return tuple(units)

    def denoiser(self, guidance_scale: float | None = None) -> Denoiser:
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        inner = NetworkDenoiser(self.net, self.schedule, self.prediction)
        return inner if scale == 1 else self.guided(inner, scale, GUIDED)

    def condition_on(
        self, denoiser: Denoiser, cond: Condition, known: Tensor, mask: Tensor, low: Tensor | None, noise: Any
    ) -> tuple[Denoiser, Condition]:
        """Give known latent frames, noised once for the whole window, with their mask and noise level."""
        if not bool(mask.any()):
            return denoiser, cond
        if self.net.concat_channels == 0:
            raise ValueError(
                "this model was not trained to be given frames: it draws single clips (train one with "
                "--model.net.concat_channels 1 and --model.prediction_share above 0)"
            )
        level = torch.full((len(known),), self.given_noise, device=known.device)
        noised = self.schedule.add_noise(known, normal_like(known, noise), level)
        inner: Denoiser = GivenUnits(NetworkDenoiser(self.net, self.schedule, self.prediction), noised)
        if isinstance(denoiser, ClassifierFreeGuidance):
            inner = self.guided(inner, denoiser.scale, GUIDED)
        channel = mask.float().view(1, 1, -1, *[1] * (known.ndim - 3)).expand(len(known), 1, *known.shape[2:])
        return inner, replace(cond, concat=channel, concat_time=level)

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
        """Draw one window in place; gaps between key frames are the interpolator's."""
        units = sorted((*window.context, *window.new))
        stride = units[1] - units[0] if len(units) > 1 else 1
        model = self.interpolator if stride == 1 else self
        if stride not in model.strides and len(units) > 1:
            raise ValueError(
                f"{'the interpolator' if model is not self else 'this model'} learnt latent frames "
                f"{' and '.join(map(str, model.strides))} apart, not {stride}"
                + ("; give one that did with --interpolator RUN" if model is self and stride == 1 else "")
            )
        cond = model.with_stride(cond, [stride] * len(latent))
        super(LVDM, model).sample_window(
            latent, window, cond, given, noise, sampler, guidance_scale, progress
        )
