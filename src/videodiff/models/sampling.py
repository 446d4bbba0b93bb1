"""Generation by a trained model: latents window by window, then frames piece by piece."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from videodiff.conditioning import Conditioner, Conditioners, FillIn, FromSource, Request, View
from videodiff.conditioning.fill_in import check_places
from videodiff.conditioning.source import visible
from videodiff.diffusion import (
    ClassifierFreeGuidance,
    Condition,
    Denoiser,
    NetworkDenoiser,
    NoiseSchedule,
    Prediction,
    Sampler,
    Threshold,
    sample_units,
)
from videodiff.diffusion.windows import Window
from videodiff.networks import Autoencoder, Latents, Network
from videodiff.sampling import LongVideo, StageModel
from videodiff.sampling.call import Call
from videodiff.say import counted

# What steers any model while it samples; nothing of it is trained, and it holds nothing of a model.
STEERING: tuple[Conditioner, ...] = (FromSource(), FillIn())


class SamplingModule(pl.LightningModule, StageModel):
    """Generating, for a module that has the parts named below.

    A latent is counted in units along axis 2: frames in pixel space, latent frames, or whole clips. A long video is a
    plan of windows (:mod:`videodiff.diffusion.windows`); each is one run of the sampler that writes some units and
    sees others. Latents are kept whole, as they are small; frames are decoded in pieces.

    Attributes:
        net: the network, as it was given.
        network: what it says of itself; the same object, or a view of a plain module.
        schedule: its noise schedule.
        sampler: the loop over time.
        autoencoder: latent to video.
        conditioners: the conditions of a video.
        plan: the windows of a long video.
        prediction: what the network's output means.
        guidance_scale: classifier-free guidance; 1 is none.
        guidance_rescale: share of a guided estimate brought back to the conditional one's standard deviation.
        threshold: static, dynamic or none.
        threshold_quantile: of the dynamic threshold.
    """

    net: nn.Module
    network: Network
    schedule: NoiseSchedule
    sampler: Sampler
    autoencoder: Autoencoder
    conditioners: Conditioners
    plan: LongVideo
    prediction: Prediction
    guidance_scale: float
    guidance_rescale: float
    threshold: Literal["static", "dynamic", "none"]
    threshold_quantile: float

    # --- sizes ------------------------------------------------------------------------------------------------

    @property
    def latents(self) -> Latents:
        """Videos as latents of any length, as the autoencoder makes them."""
        return self.autoencoder.latents(self.network, self.plan.overlap_frames)

    @property
    def video_shape(self) -> tuple[int, int, int, int]:
        """Shape ``(3, T, H, W)`` of the clip that the network generates at once."""
        return self.latents.video_shape

    @property
    def num_classes(self) -> int | None:
        """Classes that the network was built for."""
        return self.network.num_classes

    @property
    def answers(self) -> frozenset[str]:
        """Fields of a request that one of the conditioners makes use of, or that steer any model.

        One whose units have times of their own is not steered: they do not start together.
        """
        steering = () if self.has_unit_times else STEERING
        return frozenset(name for c in (*self.conditioners, *steering) for name in c.answers)

    @property
    def first_stage(self) -> Autoencoder | None:
        """The autoencoder; None in pixel space."""
        return None if self.autoencoder.is_identity else self.autoencoder

    def parts(self) -> Mapping[str, nn.Module]:
        """The children, and of the conditioners those that have weights, by their names."""
        inner = {
            name.lower(): c
            for name, c in self.conditioners.named_children()
            if next(c.parameters(), None) is not None
        }
        return {name: part for name, part in self.named_children() if name != "conditioners"} | inner

    def is_long(self, num_frames: int) -> bool:
        return self.latents.units(num_frames) > self.latents.clip_units

    def total_units(self, num_frames: int) -> int:
        """Units to generate for ``num_frames`` frames; a video shorter than a clip is the start of one."""
        return self.plan.total(self.latents.units(num_frames), self.latents.clip_units)

    def windows(self, num_units: int, known: Sequence[int] = ()) -> list[Window]:
        """The windows that write every unit that is not known, each once.

        Raises:
            ValueError: if this model was not trained for them.
        """
        windows = self.plan.windows(num_units, self.latents.clip_units, known)
        self.check_windows(windows)
        return windows

    def check_windows(self, windows: Sequence[Window]) -> None:
        """Refuse windows that this model was not trained for.

        Raises:
            ValueError: in one line.
        """
        if any(window.context for window in windows) and "frames" not in self.answers:
            raise ValueError(
                "this model generates single clips: none of its conditioners sees earlier frames"
            )
        self.latents.check_windows([(*window.context, *window.new) for window in windows])
        for conditioner in self.conditioners:
            conditioner.check_windows(windows)

    @property
    def frames_each(self) -> int:
        """Frames that it generates for each frame of the given low-resolution video."""
        return max((c.frames_each for c in self.conditioners if "low_resolution" in c.answers), default=1)

    def conditioner(self, kind: type[Conditioner]) -> Conditioner:
        """The one conditioner of a class."""
        (found,) = (c for c in self.conditioners if type(c) is kind)
        return found

    @property
    def has_unit_times(self) -> bool:
        """Whether every unit has a noise level of its own."""
        return any(conditioner.has_unit_times for conditioner in self.conditioners)

    def levels(self, sampler: Sampler, window: Window) -> Tensor:
        """The noise levels of a window's units, moment by moment, ``[M, len(window.units)]`` int64."""
        return self.plan.levels(len(sampler.plan(self.schedule).times), window, self.latents.clip_units)

    def limited(self, noise: Tensor) -> Tensor:
        """Noise within the smallest limit that a conditioner sets."""
        limit = min((conditioner.noise_limit for conditioner in self.conditioners), default=math.inf)
        return noise if limit == math.inf else noise.clamp(-limit, limit)

    def later_sampler(self, sampler: Sampler) -> Sampler:
        """The sampler of every window after the first, given that of the first.

        The model's own with the steps that the plan has for them; one that was asked for stays as it is.
        """
        if self.plan.extension_steps is None or sampler is not self.sampler:
            return sampler
        sampler = copy.deepcopy(sampler)
        sampler.num_steps = self.plan.extension_steps
        return sampler

    def check_samplers(self) -> None:
        """Refuse a sampler that cannot take its steps through the schedule, before anything is trained for it.

        Raises:
            ValueError: in one line.
        """
        for sampler in (self.sampler, self.later_sampler(self.sampler)):
            sampler.plan(self.schedule)

    # --- generating ----------------------------------------------------------------------------------------------

    @property
    def generation_options(self) -> dict[str, Any]:
        """Options beside sampler and guidance scale that shape a generated video, if not the default; for records."""
        found: dict[str, Any] = {"guidance_rescale": self.guidance_rescale} if self.guidance_rescale else {}
        if self.threshold == "dynamic":
            found |= {"threshold": self.threshold, "threshold_quantile": self.threshold_quantile}
        for conditioner in self.conditioners:
            found |= conditioner.record()
        return found | self.plan.record()

    def generation_record(self, num_frames: int, guidance_scale: float | None = None) -> dict[str, Any]:
        later = self.later_sampler(self.sampler)
        return {
            **super().generation_record(num_frames, guidance_scale),
            **({"later_steps": later.num_steps} if self.is_long(num_frames) else {}),
            "long_video": getattr(self, "long_video", None),
            "reconstruction_weight": getattr(self, "reconstruction_weight", None),
            **self.plan.record(),
        }

    def generate_windows(self, call: Call) -> Tensor:
        """Latents ``[num_videos, C, U, *S]``."""
        sampler = call.sampler or self.sampler
        later_sampler = call.later_sampler or self.later_sampler(sampler)
        total = self.total_units(call.num_frames)
        windows = self.windows(total, self.known_units(call.request.positions))
        latent = self.blank(len(call.indices), total, call.request)
        first = 0
        if call.generated is not None:
            first = call.generated[1]
            latent.copy_(call.generated[0])
        for k, window in enumerate(windows[first:], first):
            chosen, report = later_sampler if k else sampler, call.report(k, len(windows))
            self.generate_window(
                latent, window, call.request, call.noise(k), chosen, call.guidance_scale, report
            )
            call.finish(latent, k + 1)
        return latent

    def known_units(self, positions: Sequence[int]) -> tuple[int, ...]:
        """Units that known frames at these positions fill; none where a conditioner sees to the frames by itself.

        Raises:
            ValueError: for frames that are not whole units.
        """
        if not positions or any(c.keeps_frames for c in self.conditioners):
            return ()
        return self.latents.units_at(positions)

    def never_given(self, length: int) -> str:
        if "frames" not in self.answers:
            return super().never_given(length)
        clip = self.video_shape[1]
        return (
            f"clips of {counted(length, 'frame')} are too short to be continued: this model generates {clip} at once, "
            f"and is given whole units of its latent; give clips of {2 * clip} frames (--data.num_frames {2 * clip}, "
            f"or a protocol P:{2 * clip}:given={clip})"
        )

    def blank(self, num_videos: int, units: int, request: Request) -> Tensor:
        """A latent ``[num_videos, C, units, *S]`` that is yet to be generated: the source's; given units are placed."""
        latent = torch.zeros(num_videos, *self.latents.shape(units), device=self.device)
        if request.source is not None:
            latent[:] = self.latents.encode(self.latents.filled(visible(request), units))
        if request.frames is not None and self.known_units(request.positions):
            self.latents.place(request.frames, request.positions, latent)
        return latent

    def decode_frames(self, latent: Tensor, num_frames: int) -> Iterator[Tensor]:
        """The first ``num_frames`` frames of a latent in order, as pieces ``[B, 3, t, H, W]`` fp32 in [-1, 1]."""
        return self.latents.stream(latent, num_frames)

    def check_request(self, request: Request, num_frames: int) -> None:
        """Refuse what no conditioner answers, given frames outside the video, or a length it cannot generate."""
        self.check_guidance(request)
        self.check_conditions(request, num_frames)
        self.windows(self.total_units(num_frames), self.known_units(request.positions))

    @property
    def takes_guidance(self) -> bool:
        return any(c.is_guided and c.is_used for c in self.conditioners)

    def check_conditions(self, request: Request, num_frames: int) -> None:
        """Refuse what no conditioner answers, or known frames outside the video."""
        if request.positions and request.positions[-1] >= num_frames:
            raise ValueError(
                f"given frame {request.positions[-1]} lies outside a video of {num_frames} frames"
            )
        for name in request.told:
            if name not in self.answers:
                raise ValueError(
                    f"this model cannot be given {name.replace('_', '-')}: none of its conditioners takes it "
                    f"({', '.join(type(c).__name__ for c in self.conditioners) or 'it has none'})"
                )
        for conditioner in self.conditioners:
            conditioner.check_request(request)
        check_places(request, self.latents, self.total_units(num_frames))
        scale = self.guidance_scale if request.guidance is None else request.guidance
        if request.negative_prompt and scale == 1:
            raise ValueError(
                "a negative prompt is what guidance moves away from, and guidance 1 is none: ask for more, as with "
                "--guidance 3, or leave it out"
            )
        for conditioner in self.conditioners if scale != 1 else ():
            asked = sorted(set(conditioner.answers) & set(request.told))
            if "negative_prompt" in asked:  # it moves away from that
                continue
            if asked and conditioner.is_guided and conditioner.is_used and not conditioner.null_share:
                warnings.warn(
                    f"guidance {scale:g} moves away from a video without {asked[0]}, which this model has never "
                    f"learnt: no training sample was without ({type(conditioner).__name__}, drop 0); 1 is no guidance",
                    stacklevel=2,
                )

    def generate_window(
        self,
        latent: Tensor,
        window: Window,
        request: Request,
        noise: list[torch.Generator],
        sampler: Sampler,
        guidance_scale: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Draw one window of ``latent`` ``[B, C, U, *S]`` in place; units in its context are left as they are."""
        latents, new = self.latents, list(window.new)
        units = window.units if latents.sees_context else new
        shape = latents.network_shape(len(units))
        z = self.limited(torch.stack([torch.randn(shape, generator=g, device=self.device) for g in noise]))
        context = set(window.context)
        mask = torch.tensor([u in context for u in units], device=self.device)
        view = View(
            request, window, units, latent[:, :, units], mask, latent[:, :, list(window.context)], noise,
            self.schedule, latents,
        )  # fmt: skip
        denoiser, cond = self.denoiser(view, guidance_scale)
        if self.has_unit_times:
            known = [place for place, unit in enumerate(units) if unit in context]
            z[:, :, known] = view.known[:, :, known]
            levels = self.levels(sampler, window)
            width = latents.clip_units
            x = sample_units(sampler, denoiser, self.schedule, z, cond, levels, width, noise, progress)
        else:
            z, start = min((steer.start(z, view) for steer in STEERING), key=lambda begun: begun[1])
            repeats = request.resample or 1
            x = sampler.sample(denoiser, self.schedule, z, cond, noise, progress, start, repeats)
            x = latents.of_network(x)
        place = {u: i for i, u in enumerate(units)}
        latent[:, :, new] = x[:, :, [place[u] for u in new]]

    def denoiser(self, view: View, guidance_scale: float | None = None) -> tuple[Denoiser, Condition]:
        """The denoiser of a window and its condition.

        From the network outwards: conditioners next to it, guidance away from what they tell, conditioners around
        that, what steers any model, the threshold.
        """
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        denoiser: Denoiser = NetworkDenoiser(self.net, self.schedule, self.prediction)
        cond = Condition()
        for conditioner in self.conditioners:
            cond, denoiser = conditioner.tell(cond, view), conditioner.within(denoiser, view)
        if scale != 1:
            names = [name for c in self.conditioners for name in c.guided_fields(view.request)]
            denoiser = ClassifierFreeGuidance(denoiser, scale, rescale=self.guidance_rescale, names=names)
        for conditioner in (*self.conditioners, *STEERING):
            denoiser = conditioner.around(denoiser, view)
        if self.threshold != "none":
            denoiser = Threshold(denoiser, self.threshold, self.threshold_quantile)
        return denoiser, cond
