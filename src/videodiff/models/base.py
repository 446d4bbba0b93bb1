"""What every diffusion model shares: the training step, the optimiser, and sampling of short and long videos.

A family overrides three methods and nothing else:

- ``prepare``: batch -> (latent, condition), for training;
- ``condition_on``: what to do with frames that are already there, for sampling;
- ``units``: how many latent units a call writes and a video of T frames has.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from videodiff.diffusion import (
    ClassifierFreeGuidance,
    Condition,
    Denoiser,
    NetworkDenoiser,
    NoiseSchedule,
    Prediction,
    Sampler,
    Threshold,
    Weighting,
    diffusion_loss,
)
from videodiff.diffusion.windows import Window, cover
from videodiff.models.given import Given
from videodiff.networks import Autoencoder, PixelSpace
from videodiff.seeding import generator, key_to_seed, normals, uniforms

OptimizerCallable = Callable[[Iterable[nn.Parameter]], Optimizer]
LRSchedulerCallable = Callable[[Optimizer], LRScheduler]


class DiffusionModule(pl.LightningModule):
    """A denoising network, its noise schedule and its sampler, trained and sampled as one.

    Args:
        net: the network, ``(z [B, C, *S], time [B], Condition) -> [B, C, *S]``.
        schedule: the noise schedule, shared by training and sampling.
        sampler: the loop over time that ``generate`` runs.
        autoencoder: video <-> latent; none means pixels. It is frozen: its own training is another run.
        prediction: what the network's output means: noise (eps), data (x) or velocity (v).
        weighting: weight of each noise level in the loss.
        loss_norm: l2 (mean squared error) or l1 (mean absolute error).
        condition_drop: share of training samples whose class and vector are dropped, for classifier-free guidance.
        guidance_scale: classifier-free guidance at sampling; 1 is no guidance.
        threshold: keep estimates of x in [-1, 1] while sampling: static clamp, dynamic (Imagen) or none.
        optimizer: parameters -> optimizer.
        lr_scheduler: optimizer -> learning-rate scheduler, stepped once per optimizer step; none keeps the rate.
        seed: of training noise, times and condition drops; the command line sets it from ``seed_everything``.
        compile: compile the network's repeated blocks in place before training (worth it on a GPU).
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: NoiseSchedule,
        sampler: Sampler,
        autoencoder: Autoencoder | None = None,
        prediction: Prediction = "v",
        weighting: Weighting = "simple",
        loss_norm: Literal["l2", "l1"] = "l2",
        condition_drop: float = 0.1,
        guidance_scale: float = 1.0,
        threshold: Literal["static", "dynamic", "none"] = "static",
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=1e-4),
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= condition_drop <= 1:
            raise ValueError(f"condition_drop must lie in [0, 1], got {condition_drop}")
        self.net, self.schedule, self.sampler = net, schedule, sampler
        self.autoencoder = (autoencoder or PixelSpace()).requires_grad_(False)
        self.prediction, self.weighting, self.loss_norm = prediction, weighting, loss_norm
        self.condition_drop, self.guidance_scale, self.threshold = condition_drop, guidance_scale, threshold
        self.make_optimizer, self.make_lr_scheduler = optimizer, lr_scheduler
        self.seed, self.compile_net = seed, compile

    # --- what a family says of itself -------------------------------------------------------------------------

    @property
    def video_shape(self) -> tuple[int, int, int, int]:
        """Shape ``(3, T, H, W)`` of the clip that one call of the network draws."""
        raise TypeError(f"{type(self).__name__} must define video_shape")

    def prepare(self, batch: dict[str, Any]) -> tuple[Tensor, Condition]:
        """A batch -> latent ``[B, C, *S]`` to be learnt, and what it is conditioned on (before any drop)."""
        raise TypeError(f"{type(self).__name__} must define prepare")

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

    @property
    def overlap(self) -> int:
        """Units of one window that the next one sees when a video is longer than a clip."""
        raise TypeError(f"{type(self).__name__} must define overlap")

    # --- training ---------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        self.check_data(getattr(self.trainer, "datamodule", None))
        if stage == "fit" and self.compile_net:
            self.net.compile_blocks()

    def check_data(self, data: Any) -> None:
        """Refuse data whose clips or classes are not what the network was built for."""
        frames, side = getattr(data, "num_frames", None), getattr(data, "resolution", None)
        if None not in (frames, side) and (3, frames, side, side) != self.video_shape:
            raise ValueError(
                f"data.num_frames and data.resolution ({frames}, {side}) must be what the model draws "
                f"({self.video_shape[1]}, {self.video_shape[2]}); set both parts, e.g. --model.net.resolution {side}"
            )
        known, needed = getattr(self.net, "num_classes", None), getattr(data, "num_classes", None)
        if known is not None and needed is not None and needed > known:
            raise ValueError(
                f"the data have {needed} classes, the network {known}; set --model.net.num_classes {needed}, "
                "or --data.classes none to train without them"
            )

    def draw(self, positions: Sequence[int], name: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Times ``[B]`` and noise ``[B, *shape]``, each a function of (seed, name, position) alone."""
        times = uniforms([(self.seed, name, "time", p) for p in positions], self.device)
        eps = normals([(self.seed, name, "noise", p) for p in positions], shape, self.device)
        return self.schedule.draw_times(times), eps

    def losses(self, batch: dict[str, Any], name: str) -> Tensor:
        """The loss of each sample, ``[B]`` fp32."""
        positions = batch["sample"].tolist()
        latent, cond = self.prepare(batch)
        if name == "train" and self.condition_drop > 0:
            coins = uniforms([(self.seed, name, "drop", p) for p in positions], self.device)
            cond = cond.drop(coins >= self.condition_drop)
        t, eps = self.draw(positions, name, tuple(latent.shape[1:]))
        return diffusion_loss(
            self.net, self.schedule, latent, eps, t, cond, self.prediction, self.weighting, self.loss_norm
        )

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        # Dropout is the one consumer of the global generator: give it a key too, so that a resumed step repeats it.
        first = int(batch["sample"][0])
        torch.manual_seed(key_to_seed(self.seed, "dropout", first, self.global_rank))
        loss = self.losses(batch, "train").mean()
        self.log(
            "train/loss",
            loss.detach(),
            batch_size=len(batch["sample"]),
            sync_dist=self.trainer.world_size > 1,
        )
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log_losses(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log_losses(batch, "test")

    def log_losses(self, batch: dict[str, Any], name: str) -> None:
        """Log the mean over the whole set; every sample has its own fixed noise, so two checkpoints see the same."""
        loss = self.losses(batch, name).mean()
        self.log(
            f"{name}/loss",
            loss,
            batch_size=len(batch["sample"]),
            on_epoch=True,
            on_step=False,
            sync_dist=True,
        )

    def configure_optimizers(self) -> Any:
        params = [p for p in self.net.parameters() if p.requires_grad]
        optimizer = self.make_optimizer(params)
        if self.make_lr_scheduler is None:
            return optimizer
        # "step": Lightning's own default would change the rate once per epoch, and our stream is one epoch.
        return [optimizer], [{"scheduler": self.make_lr_scheduler(optimizer), "interval": "step"}]

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as Lightning would, also where it refuses: a fused optimizer under bf16-mixed.

        It cannot tell that case from fp16, whose gradients are still scaled when it clips; bf16 has no scaler.
        """
        if not gradient_clip_val or getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if gradient_clip_algorithm == "value":
            nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        else:
            nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    # --- sampling ---------------------------------------------------------------------------------------------

    def denoiser(self, guidance_scale: float | None = None) -> Denoiser:
        """The network as a denoiser, with classifier-free guidance if the scale is not 1."""
        denoiser: Denoiser = NetworkDenoiser(self.net, self.schedule, self.prediction)
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        return denoiser if scale == 1 else ClassifierFreeGuidance(denoiser, scale)

    def latent_units(self, num_frames: int) -> int:
        """How many latent units (axis 2 of a latent) a video of ``num_frames`` frames has; one per frame here."""
        return num_frames

    @torch.no_grad()
    def generate(
        self,
        num_videos: int,
        num_frames: int | None = None,
        seed: int = 0,
        *,
        indices: Sequence[int] | None = None,
        label: Tensor | None = None,
        given: Given | None = None,
        sampler: Sampler | None = None,
        guidance_scale: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Draw videos ``[num_videos, 3, num_frames, H, W]`` in [-1, 1], as fp32 on the module's device.

        A video depends on the seed, its index and its own condition, not on the videos beside it.

        Args:
            num_videos: how many, in one batch.
            num_frames: length; longer than a clip means several windows. None is one clip.
            seed: of all noise.
            indices: index of each video, for work that is split over batches or processes; 0, 1, ... if None.
            label: class of each video ``[num_videos]`` int64 (-1: none), or None.
            given: known frames or a low-resolution video.
            sampler: in place of the model's own.
            guidance_scale: in place of the model's own.
            progress: called as ``progress(done, total)`` after each sampler step.

        Raises:
            ValueError: if a count is below 1 or a known frame lies outside the video.
        """
        given = given or Given()
        indices = range(num_videos) if indices is None else indices
        num_frames = self.video_shape[1] if num_frames is None else num_frames
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
        clip = self.latent_units(self.video_shape[1])
        total = max(self.latent_units(num_frames), clip)  # a shorter video is the start of a clip
        latent = torch.zeros(num_videos, *self.latent_shape(total), device=self.device)
        if given.frames is not None:
            latent[:, :, list(given.positions)] = self.autoencoder.encode(
                given.frames.to(self.device)
            ).float()
        windows = cover(total, clip, self.overlap, known=given.positions)
        cond = Condition(label=None if label is None else label.to(self.device))
        for k, window in enumerate(windows):

            def report(done: int, steps: int, k: int = k) -> None:
                progress(k * steps + done, len(windows) * steps)

            noise = [generator(seed, "sample", index, k, device=self.device) for index in indices]
            self.sample_window(
                latent, window, cond, given, noise, sampler, guidance_scale, report if progress else None
            )
        return self.autoencoder.decode(latent)[:, :, :num_frames].clamp(-1, 1).float()

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

    def latent_shape(self, num_units: int) -> tuple[int, ...]:
        """Shape ``(C, U, ...)`` of a latent of ``num_units`` units."""
        channels, _, *space = self.autoencoder.latent_shape(self.video_shape)
        return (channels, num_units, *space)

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
        if self.threshold != "none":
            denoiser = Threshold(denoiser, self.threshold)
        x = sampler.sample(denoiser, self.schedule, z, cond, noise, progress=progress)
        place = {u: i for i, u in enumerate(units)}
        latent[:, :, list(window.new)] = x[:, :, [place[u] for u in window.new]]
