"""How a trained model draws videos, short and long: latents window by window, then frames piece by piece."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from videodiff.diffusion import (
    ClassifierFreeGuidance,
    Condition,
    Denoiser,
    NetworkDenoiser,
    NoiseSchedule,
    Prediction,
    Sampler,
    Threshold,
)
from videodiff.diffusion.windows import Window, cover
from videodiff.models.given import Given
from videodiff.networks import Autoencoder
from videodiff.seeding import generator

OnWindow = Callable[[Tensor, int], None]


class SamplingModule(pl.LightningModule):
    """Drawing, for a module that has the parts named below.

    A latent is counted in units along axis 2: frames in pixel space, latent frames, or whole clips. A long video is a
    plan of windows (:mod:`videodiff.diffusion.windows`); each is one run of the sampler that writes some units and
    sees others. Latents are kept whole, as they are small; frames are decoded in pieces.

    Attributes:
        net: the network.
        schedule: its noise schedule.
        sampler: the loop over time.
        autoencoder: latent to video.
        prediction: what the network's output means.
        guidance_scale: classifier-free guidance; 1 is none.
        guidance_rescale: share of a guided estimate brought back to the conditional one's standard deviation.
        threshold: static, dynamic or none.
        threshold_quantile: of the dynamic threshold.
    """

    net: nn.Module
    schedule: NoiseSchedule
    sampler: Sampler
    autoencoder: Autoencoder
    prediction: Prediction
    guidance_scale: float
    guidance_rescale: float
    threshold: str
    threshold_quantile: float

    # --- what a family says of itself -------------------------------------------------------------------------

    @property
    def video_shape(self) -> tuple[int, int, int, int]:
        """Shape ``(3, T, H, W)`` of the clip that one call of the network draws."""
        raise TypeError(f"{type(self).__name__} must define video_shape")

    @property
    def overlap(self) -> int:
        """Units of one window that the next one sees when a video is longer than a clip."""
        raise TypeError(f"{type(self).__name__} must define overlap")

    def condition_on(
        self, denoiser: Denoiser, cond: Condition, known: Tensor, mask: Tensor, low: Tensor | None, noise: Any
    ) -> tuple[Denoiser, Condition]:
        """Make the denoiser respect units that are already there.

        Args:
            denoiser: estimates x without knowing them.
            cond: class or vector of each video.
            known: ``[B, C, U, ...]``, the window's latent units; rows outside ``mask`` are meaningless.
            mask: ``[U]`` bool, True where a unit is known; it may be all False.
            low: the window's part of a low-resolution video ``[B, 3, T, h, w]``, or None.
            noise: the generators of the window, one per video.
        """
        raise TypeError(f"{type(self).__name__} must define condition_on")

    def latent_units(self, num_frames: int) -> int:
        """How many units a video of ``num_frames`` frames has, or begins; one per frame here."""
        return num_frames

    def total_units(self, num_frames: int) -> int:
        """Units to draw for ``num_frames`` frames; a video shorter than a clip is the start of one."""
        return max(self.latent_units(num_frames), self.latent_units(self.video_shape[1]))

    def latent_shape(self, num_units: int) -> tuple[int, ...]:
        """Shape ``(C, U, ...)`` of a latent of ``num_units`` units."""
        channels, _, *space = self.autoencoder.latent_shape(self.video_shape)
        return (channels, num_units, *space)

    def plan(self, num_units: int, known: Sequence[int]) -> list[Window]:
        """The windows that write every unit that is not known, each once."""
        return cover(num_units, self.latent_units(self.video_shape[1]), self.overlap, known)

    def encode_given(self, given: Given, latent: Tensor) -> tuple[int, ...]:
        """Write known frames into a latent ``[B, C, U, ...]``.

        Returns:
            The units that are known now.
        """
        if given.frames is None:
            return ()
        latent[:, :, list(given.positions)] = self.autoencoder.encode(given.frames.to(self.device)).float()
        return given.positions

    def later_sampler(self, sampler: Sampler) -> Sampler:
        """The sampler of every window after the first, given that of the first; the same here."""
        return sampler

    # --- drawing ----------------------------------------------------------------------------------------------

    def denoiser(self, guidance_scale: float | None = None) -> Denoiser:
        """The network as a denoiser, with classifier-free guidance if the scale is not 1."""
        denoiser: Denoiser = NetworkDenoiser(self.net, self.schedule, self.prediction)
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        return denoiser if scale == 1 else self.guided(denoiser, scale)

    def guided(self, denoiser: Denoiser, scale: float, names: Sequence[str] | None = None) -> Denoiser:
        """Classifier-free guidance with the model's rescaling, away from the condition without ``names``, or at all."""
        return ClassifierFreeGuidance(denoiser, scale, rescale=self.guidance_rescale, names=names)

    def thresholded(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser under the model's threshold, if it has one."""
        if self.threshold == "none":
            return denoiser
        return Threshold(denoiser, self.threshold, self.threshold_quantile)

    @property
    def drawing_options(self) -> dict[str, Any]:
        """What shapes a drawn video beside sampler and guidance scale, where it is not the usual; for records."""
        found: dict[str, Any] = {"guidance_rescale": self.guidance_rescale} if self.guidance_rescale else {}
        if self.threshold == "dynamic":
            found |= {"threshold": self.threshold, "threshold_quantile": self.threshold_quantile}
        return found

    def generate(
        self, num_videos: int, num_frames: int | None = None, seed: int = 0, **options: Any
    ) -> Tensor:
        """Draw videos ``[num_videos, 3, num_frames, H, W]`` in [-1, 1], as fp32 on the module's device.

        Args:
            num_videos: how many, in one batch.
            num_frames: length; longer than a clip means several windows. None is one clip.
            seed: of all noise.
            options: see :meth:`draw_latent`.
        """
        num_frames = self.video_shape[1] if num_frames is None else num_frames
        latent = self.draw_latent(num_videos, num_frames, seed, **options)
        return torch.cat(list(self.decode_frames(latent, num_frames)), dim=2)

    @torch.no_grad()
    def draw_latent(
        self,
        num_videos: int,
        num_frames: int,
        seed: int = 0,
        *,
        indices: Sequence[int] | None = None,
        label: Tensor | None = None,
        given: Given | None = None,
        sampler: Sampler | None = None,
        later_sampler: Sampler | None = None,
        guidance_scale: float | None = None,
        progress: Callable[[int, int], None] | None = None,
        drawn: tuple[Tensor, int] | None = None,
        on_window: OnWindow | None = None,
    ) -> Tensor:
        """Draw latents ``[num_videos, C, U, ...]``, fp32 on the module's device.

        A video depends on the seed, its index and its own condition, not on the videos beside it.

        Args:
            num_videos: how many, in one batch.
            num_frames: length of the video in frames.
            seed: of all noise.
            indices: index of each video, for work that is split over batches or processes; 0, 1, ... if None.
            label: class of each video ``[num_videos]`` int64 (-1: none), or None.
            given: known frames or a low-resolution video.
            sampler: in place of the model's own.
            later_sampler: for every window after the first; None is what :meth:`later_sampler` says.
            guidance_scale: in place of the model's own.
            progress: called as ``progress(done, total)`` after each sampler step.
            drawn: latent and number of windows done of an earlier call with the same arguments, to go on from.
            on_window: called as ``on_window(latent, windows_done)`` after each window.

        Raises:
            ValueError: if a count is below 1 or a known frame lies outside the video.
        """
        given = given or Given()
        indices = range(num_videos) if indices is None else indices
        if num_videos < 1 or num_frames < 1:
            raise ValueError(
                f"num_videos and num_frames must be at least 1, got {num_videos} and {num_frames}"
            )
        if len(indices) != num_videos:
            raise ValueError(f"{len(indices)} indices were given for {num_videos} videos")
        if given.positions and given.positions[-1] >= num_frames:
            raise ValueError(f"known frame {given.positions[-1]} lies outside a video of {num_frames} frames")
        self.check_label(label)
        sampler = sampler or self.sampler
        later_sampler = later_sampler or self.later_sampler(sampler)
        total = self.total_units(num_frames)
        latent = torch.zeros(num_videos, *self.latent_shape(total), device=self.device)
        windows = self.plan(total, self.encode_given(given, latent))
        first = 0
        if drawn is not None:
            first = drawn[1]
            latent.copy_(drawn[0])
        cond = Condition(label=None if label is None else label.to(self.device))
        for k, window in enumerate(windows[first:], first):

            def report(done: int, steps: int, k: int = k) -> None:
                progress(k * steps + done, len(windows) * steps)

            noise = [generator(seed, "sample", index, k, device=self.device) for index in indices]
            self.sample_window(
                latent,
                window,
                cond,
                given,
                noise,
                later_sampler if k else sampler,
                guidance_scale,
                report if progress else None,
            )
            if on_window is not None:
                on_window(latent, k + 1)
        return latent

    @torch.no_grad()
    def decode_frames(self, latent: Tensor, num_frames: int) -> Iterator[Tensor]:
        """The first ``num_frames`` frames of a latent in order, as pieces ``[B, 3, t, H, W]`` fp32 in [-1, 1]."""
        done = 0
        for piece in self.autoencoder.decode_stream(latent):
            piece = piece[:, :, : num_frames - done].clamp(-1, 1).float()
            done += piece.shape[2]
            if piece.shape[2]:
                yield piece
            if done == num_frames:
                return

    def check_label(self, label: Tensor | None) -> None:
        """Refuse classes that the network was not built for."""
        classes = getattr(self.net, "num_classes", None)
        if label is None:
            return
        if classes is None:
            raise ValueError("this model has no classes; leave the class out")
        if int(label.max()) >= classes or int(label.min()) < -1:
            raise ValueError(
                f"this model has {classes} classes (0 to {classes - 1}), got {label.tolist()[0]}"
            )

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
        """Draw one window of ``latent`` ``[B, C, U, ...]`` in place; units in its context are left as they are."""
        units = sorted((*window.context, *window.new))
        mask = torch.tensor([u in set(window.context) for u in units], device=self.device)
        z = torch.stack(
            [torch.randn(latent[0, :, units].shape, generator=g, device=self.device) for g in noise]
        )
        low = given.low_resolution
        if low is not None:
            low = low[:, :, [min(u, low.shape[2] - 1) for u in units]].to(self.device)
        denoiser, cond = self.condition_on(
            self.denoiser(guidance_scale), cond, latent[:, :, units], mask, low, noise
        )
        x = sampler.sample(self.thresholded(denoiser), self.schedule, z, cond, noise, progress=progress)
        place = {u: i for i, u in enumerate(units)}
        latent[:, :, list(window.new)] = x[:, :, [place[u] for u in window.new]]
