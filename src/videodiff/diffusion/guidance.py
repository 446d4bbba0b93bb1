"""Guidance, as denoisers that wrap denoisers: classifier-free, thresholding, replacement, reconstruction.

They stack, the innermost first:
``Threshold(ReconstructionGuidance(ClassifierFreeGuidance(NetworkDenoiser(...))))``. Thresholding belongs
outermost, classifier-free guidance next to the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from videodiff.diffusion.condition import Condition
from videodiff.diffusion.denoiser import Denoiser
from videodiff.diffusion.gradient import estimate_and_gradient
from videodiff.diffusion.noise import Generator, normal_like
from videodiff.diffusion.schedule import NoiseSchedule


class ClassifierFreeGuidance(Denoiser):
    """``x = x_null + scale * (x_cond - x_null)`` (Ho & Salimans 2022, who write w = scale - 1).

    Scale 1 is no guidance.

    Args:
        denoiser: estimate of x, trained with dropped conditions.
        scale: 0 is unconditional, 1 conditional, above 1 guided.
        batched: ask for both estimates in one batch of 2B instead of two of B.
        rescale: share of the guided estimate that is brought back to the conditional one's standard deviation
            (Lin et al. 2024, section 3.4, here on x); they recommend 0.7.
        names: fields of the condition that the unconditional estimate is without; None is all of them.

    Raises:
        ValueError: if ``scale`` is negative or ``rescale`` outside [0, 1].
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float,
        batched: bool = True,
        rescale: float = 0.0,
        names: Sequence[str] | None = None,
    ) -> None:
        if not 0 <= scale < math.inf:
            raise ValueError(f"scale must be at least 0 (1 is no guidance), got {scale}")
        if not 0 <= rescale <= 1:
            raise ValueError(f"rescale must lie in [0, 1], got {rescale}")
        self.denoiser, self.scale, self.batched, self.rescale = denoiser, scale, batched, rescale
        self.names = names
        self.is_joined = False

    @property
    def fraction(self) -> Tensor | None:
        """The conditional estimate's."""
        fraction = self.denoiser.fraction
        return fraction.chunk(2)[1] if self.is_joined and fraction is not None else fraction

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        self.is_joined = False
        there = cond.tensors() if self.names is None else set(self.names) & cond.tensors().keys()
        if self.scale == 1 or not there:
            return self.denoiser(z, t, cond)
        null = cond.null(self.names)
        if self.scale == 0:
            return self.denoiser(z, t, null)
        if self.batched:
            self.is_joined = True
            x_null, x_cond = self.denoiser(torch.cat([z, z]), torch.cat([t, t]), null.cat(cond)).chunk(2)
        else:
            x_null, x_cond = self.denoiser(z, t, null), self.denoiser(z, t, cond)
        x = x_null + self.scale * (x_cond - x_null)
        if self.rescale:
            axes = tuple(range(1, x.ndim))
            ratio = x_cond.std(axes, keepdim=True) / x.std(axes, keepdim=True).clamp(
                min=1e-8
            )  # not of a blank x
            x = x * (self.rescale * ratio + 1 - self.rescale)
        return x


class Threshold(Denoiser):
    """Keeps x_hat in [-1, 1]; for pixels and other bounded data only.

    Args:
        denoiser: estimate of x.
        mode: ``static`` cuts at 1; ``dynamic`` cuts at the quantile of ``|x_hat|`` in each sample, at least
            1, and divides by it (Saharia et al. 2022, section 2.3).
        quantile: of the dynamic mode.

    Raises:
        ValueError: if the mode is unknown or ``quantile`` outside (0, 1].
    """

    def __init__(
        self, denoiser: Denoiser, mode: Literal["static", "dynamic"] = "static", quantile: float = 0.995
    ) -> None:
        if mode not in ("static", "dynamic"):
            raise ValueError(f"mode must be static or dynamic, got {mode!r}")
        if not 0 < quantile <= 1:
            raise ValueError(f"quantile must lie in (0, 1], got {quantile}")
        self.denoiser, self.mode, self.quantile = denoiser, mode, quantile

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        return self.estimate(z, t, cond)[0]

    def estimate(self, z: Tensor, t: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        raw = self.denoiser(z, t, cond)
        if self.mode == "static":
            return raw.clamp(-1, 1), raw
        limit = _quantile(raw.abs().flatten(1), self.quantile).clamp(min=1)  # [B]
        limit = limit.view(-1, *[1] * (raw.ndim - 1))
        return raw.clamp(-limit, limit) / limit, raw


@dataclass(frozen=True, eq=False)
class KnownFrames:
    """Frames that are given: the others follow from them.

    Args:
        x: video with the given frames in their places, ``[B, C, *S]``; the rest is not read.
        mask: true where given, ``[T]`` or any shape that broadcasts to ``x``.
        weight: guidance weight w_r; 50 for 1 given frame of 16, 9 for 5 of 16 in Ho et al. 2022; 0 is
            replacement.
    """

    x: Tensor
    mask: Tensor
    weight: float


@dataclass(frozen=True, eq=False)
class LowResolution:
    """A low-resolution version of the video to generate, as made by ``downsample``.

    Args:
        video: ``[B, C, T, h, w]``.
        weight: guidance weight w_r.
        frames: which frames it is given for, ``[T]`` bool; all if ``None``.
    """

    video: Tensor
    weight: float
    frames: Tensor | None = None


def downsample(video: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with anti-aliasing, frame by frame: ``[B, C, T, H, W]`` -> ``[B, C, T, h, w]``."""
    frames = video.transpose(1, 2).flatten(0, 1)  # [B * T, C, H, W]
    small = F.interpolate(frames, size=size, mode="bilinear", align_corners=False, antialias=True)
    return small.unflatten(0, (len(video), -1)).transpose(1, 2)


class Replacement(Denoiser):
    """Puts the given frames, noised afresh, into z before each call and into x_hat after it.

    The other frames only see them; nothing makes them agree. It is the baseline of reconstruction guidance.

    Args:
        denoiser: estimate of x of the joint model.
        schedule: noise level of each time.
        known: video with the given frames in their places, ``[B, C, *S]``.
        mask: true where given, ``[T]`` or any shape that broadcasts to ``known``.
        generator: source of the noise on the given frames.

    Raises:
        ValueError: if the mask does not broadcast to ``known``.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        schedule: NoiseSchedule,
        known: Tensor,
        mask: Tensor,
        generator: Generator = None,
    ) -> None:
        self.denoiser, self.schedule, self.generator = denoiser, schedule, generator
        self.known, self.mask = _normal(known), _mask_like(mask, known)

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        z_known = self.schedule.add_noise(self.known, normal_like(z, self.generator), t)
        x = self.denoiser(torch.where(self.mask, z_known, z), t, cond)
        return torch.where(self.mask, self.known.to(x.dtype), x)


class ReconstructionGuidance(Denoiser):
    """``x - (alpha_t / 2) grad_z sum_i w_i |a_i - a_i(x)|^2`` (Ho et al. 2022, eq. 7 and 8).

    Given frames are first put into z as in ``Replacement``; then the estimate, with its gradient through the
    network with respect to all of z, is moved towards the observations, and given frames of the result are
    the given ones. Several observations are one sum and one gradient. It costs about the memory of a training
    step, and leaves ``torch.inference_mode`` and autocast for itself; the network's weights must have been
    made outside inference mode.

    Args:
        denoiser: estimate of x of the joint model.
        schedule: noise level of each time.
        observations: what is known of x.
        generator: source of the noise on given frames.

    Raises:
        ValueError: if there is no observation, a weight is negative, or a mask does not broadcast to its
        frames. RuntimeError: from a call, if no gradient reaches z.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        schedule: NoiseSchedule,
        observations: Sequence[KnownFrames | LowResolution],
        generator: Generator = None,
    ) -> None:
        if not observations:
            raise ValueError("reconstruction guidance needs at least one observation, got none")
        for observation in observations:
            if not 0 <= observation.weight < math.inf:
                raise ValueError(f"weight of an observation must be at least 0, got {observation.weight}")
        self.denoiser, self.schedule, self.generator = denoiser, schedule, generator
        known = [observation for observation in observations if isinstance(observation, KnownFrames)]
        self.known = [(_normal(o.x), _mask_like(o.mask, o.x), o.weight) for o in known]
        small = [observation for observation in observations if isinstance(observation, LowResolution)]
        self.small = [(_normal(o.video), _frames_like(o.frames, o.video), o.weight) for o in small]
        self.guided = any(observation.weight > 0 for observation in observations)

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        for known, mask, _ in self.known:
            z = torch.where(mask, self.schedule.add_noise(known, normal_like(z, self.generator), t), z)
        x = self._guided(z, t, cond) if self.guided else self.denoiser(z, t, cond)
        for known, mask, _ in self.known:
            x = torch.where(mask, known.to(x.dtype), x)
        return x

    def _guided(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        x, gradient = estimate_and_gradient(self.denoiser, z, t, cond, self._distance)
        alpha, _ = self.schedule.alpha_sigma(t, z.ndim)
        return x - (0.5 * alpha) * gradient

    def _distance(self, x: Tensor) -> Tensor:
        """The weighted sum (never a mean) of squared differences over all observations."""
        total = x.new_zeros(())
        for known, mask, weight in self.known:
            total = total + weight * (known - x).square().mul(mask).sum()
        for video, frames, weight in self.small:
            height, width = video.shape[-2:]
            error = (video - downsample(x, (height, width))).square()
            total = total + weight * error.mul(frames).sum()
        return total


def _normal(tensor: Tensor) -> Tensor:
    """A copy that autograd may keep, even of a tensor made under torch.inference_mode."""
    with torch.inference_mode(False):
        return tensor.detach().clone()


def _frames_like(frames: Tensor | None, video: Tensor) -> Tensor:
    """``[T]`` bool as ``[T, 1, 1]``; all true if there is none."""
    num_frames = video.shape[2]
    frames = torch.ones(num_frames, dtype=torch.bool) if frames is None else frames
    if frames.shape != (num_frames,):
        raise ValueError(f"frames must be a mask over {num_frames} frames, got shape {list(frames.shape)}")
    return _normal(frames.bool().to(video.device).view(-1, 1, 1))


def _mask_like(mask: Tensor, x: Tensor) -> Tensor:
    """A bool mask that broadcasts to ``x``; ``[T]`` is taken as frames of ``[B, C, T, ...]``."""
    mask = mask.bool().to(x.device)
    if mask.ndim == 1 and x.ndim > 2:
        mask = mask.view(-1, *[1] * (x.ndim - 3))
    try:
        torch.broadcast_to(mask, x.shape)
    except RuntimeError:
        raise ValueError(
            f"mask must be [T] or broadcast to the known frames {list(x.shape)}, got {list(mask.shape)}"
        ) from None
    return _normal(mask)


def _quantile(values: Tensor, q: float) -> Tensor:
    """Linear quantile of each row, ``[B, N] -> [B]``; torch.quantile refuses more than 2^24 values."""
    position = q * (values.shape[1] - 1)
    below = int(position)
    top = values.topk(values.shape[1] - below, dim=1).values  # descending; its last is at `below`
    lower, upper = top[:, -1], top[:, max(top.shape[1] - 2, 0)]
    return torch.lerp(lower, upper, position - below)
