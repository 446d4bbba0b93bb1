"""Training of a first stage: reconstruction, perception, KL and adversaries, with one optimizer.

Two published recipes are settings of this one module:

- LVDM (He et al. 2022, section 3.1; YingqingHe/LVDM): L1 + LPIPS on every frame, a PatchGAN on frames from step 50,001
  on, its weight adapted to the reconstruction's gradient (Esser et al. 2021).
- PVDM (Yu et al. 2023, appendix B; sihyun-yu/PVDM): 4 L1 + 4 LPIPS on one random frame of each clip; then, as a second
  phase, discriminators of frames and of clips with weight 1 and feature matching.

The published code steps two optimizers in turn. Here both players move at once on one loss: the generator's terms look
through a discriminator whose weights are detached, the discriminator sees a detached reconstruction.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from videodiff.conditioning import Keys
from videodiff.diffusion import clamp_through
from videodiff.models.autoencoder_losses import (
    all_frames,
    balance,
    feature_matching,
    frozen,
    hinge,
    one_frame_each,
)
from videodiff.models.clip_shapes import check_buckets, check_clip_shape
from videodiff.models.clipping import check_unscaled, clip
from videodiff.models.diffusion import num_counted
from videodiff.models.optimizer import LRSchedulerCallable, with_rate
from videodiff.models.trained import OptimizerCallable, TrainedModule
from videodiff.networks import Autoencoder
from videodiff.seeding import key_to_seed, normals, uniforms

if TYPE_CHECKING:
    from videodiff.metrics.features import LPIPS


class AutoencoderModule(TrainedModule):
    """An autoencoder and its discriminators, trained as one.

    Losses are means over pixels, so that a weight means the same at any size. The published KL weights go with sums
    over a frame's pixels: the KL of a clip's latent is divided by the 3 H W of a frame.

    Batch norm in a discriminator sees the batch of one process; group norm is the default for that reason. Before
    ``start_step`` discriminators are not run, and their optimizer state begins there.

    Args:
        autoencoder: the network to train.
        frame_discriminator: discriminator of single frames ``[N, 3, H, W]``; None = none.
        clip_discriminator: discriminator of clips ``[B, 3, T, H, W]``; None = none.
        pixel_loss: l1 (mean absolute error) or l2 (mean squared error).
        pixel_weight: weight of the pixel loss.
        clamp_loss: clip reconstructions to [-1, 1] before any loss sees them, as whoever shows them does; gradients
            pass as if they were not. Black that is blacker than black is then no error.
        perceptual_weight: weight of LPIPS over VGG16; 0 needs no weights of VGG.
        perceptual_weights: file or folder of the LPIPS weights; by default they are looked for.
        kl_weight: weight of the KL divergence from N(0, I), on the published scale (see above).
        adversarial_weight: weight of the adversarial loss.
        adaptive: multiply that weight by the ratio of gradient norms (pixels / adversarial) at the last layer.
        feature_matching_weight: weight of feature matching.
        start_step: optimizer step from which the discriminators take part.
        frames: which frames of a clip LPIPS and the frame discriminator see: all, or one at random.
        optimizer: parameters -> optimizer.
        discriminator_lr: learning rate of the discriminators; None = the optimizer's.
        discriminator_clip: norm to which the gradient of each discriminator is clipped, by itself, in place of the
            trainer's ``gradient_clip_val``, which the autoencoder alone then has; none leaves both to the trainer's.
        lr_scheduler: optimizer -> learning-rate scheduler, stepped once per optimizer step; none keeps the rate.
        seed: of the posterior's noise and the frames chosen; the command line sets it from ``seed_everything``.

    Raises:
        ValueError: for a negative weight or step, a norm that is not above 0, or an unknown choice.
    """

    rebuilds = True

    def __init__(
        self,
        autoencoder: Autoencoder,
        frame_discriminator: nn.Module | None = None,
        clip_discriminator: nn.Module | None = None,
        pixel_loss: Literal["l1", "l2"] = "l1",
        pixel_weight: float = 1.0,
        clamp_loss: bool = False,
        perceptual_weight: float = 1.0,
        perceptual_weights: str | None = None,
        kl_weight: float = 1e-6,
        adversarial_weight: float = 0.5,
        adaptive: bool = True,
        feature_matching_weight: float = 0.0,
        start_step: int = 50_001,
        frames: Literal["all", "random"] = "all",
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=3.6e-5, betas=(0.5, 0.9)),
        discriminator_lr: float | None = None,
        discriminator_clip: float | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        weights = {
            "pixel_weight": pixel_weight, "perceptual_weight": perceptual_weight, "kl_weight": kl_weight,
            "adversarial_weight": adversarial_weight, "feature_matching_weight": feature_matching_weight,
            "start_step": start_step,
        }  # fmt: skip
        for name, value in weights.items():
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if pixel_loss not in ("l1", "l2") or frames not in ("all", "random"):
            raise ValueError(
                f"pixel_loss must be l1 or l2 and frames all or random, got {pixel_loss!r} and {frames!r}"
            )
        if discriminator_clip is not None and not 0 < discriminator_clip < math.inf:
            raise ValueError(f"discriminator_clip must be above 0 and finite, got {discriminator_clip}")
        self.autoencoder = autoencoder
        self.frame_discriminator, self.clip_discriminator = frame_discriminator, clip_discriminator
        self.pixel_loss, self.pixel_weight, self.kl_weight = pixel_loss, pixel_weight, kl_weight
        self.clamp_loss = clamp_loss
        self.perceptual_weight, self.perceptual_weights = perceptual_weight, perceptual_weights
        self.adversarial_weight, self.adaptive = adversarial_weight, adaptive
        self.feature_matching_weight, self.start_step, self.frames = (
            feature_matching_weight,
            start_step,
            frames,
        )
        self.make_optimizer, self.make_lr_scheduler = optimizer, lr_scheduler
        self.discriminator_lr, self.discriminator_clip, self.seed = discriminator_lr, discriminator_clip, seed
        self.perceptual = self.make_perceptual() if perceptual_weight else None

    def make_perceptual(self) -> LPIPS:
        """LPIPS as a loss; it reads its weights when it is first used and has none in the ``state_dict``."""
        from videodiff.metrics.features import LPIPS  # pulls in what only a perceptual loss needs

        return LPIPS("vgg", self.perceptual_weights, exact=False)

    @property
    def video_shape(self) -> tuple[int, int, int, int]:
        """Shape ``(3, T, H, W)`` of a training clip."""
        return self.autoencoder.video_shape

    @property
    def core(self) -> nn.Module:
        return self.autoencoder

    def training_loss(self, batch: dict[str, Any]) -> Tensor:
        return self.losses(batch)[0]

    def use_keys(self, keys: type[Keys]) -> None:
        """Its coins choose frames, of which any costs the same; the last phase is the discriminators'."""
        self.start_step = 0

    def forward_once(self, device: torch.device | str) -> Tensor:
        return self.autoencoder(torch.zeros(1, *self.video_shape, device=device))[0]

    # --- start ------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        check_buckets(data, self.video_shape, None)
        options = {name: f"--model.autoencoder.{name}" for name in ("num_frames", "resolution")}
        check_clip_shape(data, self.video_shape, options)
        images = getattr(data, "images_per_video", 0)
        if images:
            raise ValueError(f"an autoencoder learns clips: data.images_per_video must be 0, got {images}")
        if self.perceptual is not None and stage != "predict":
            try:
                self.perceptual.network(self.device)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"{error}; or do without LPIPS: --model.perceptual_weight 0"
                ) from error

    @property
    def discriminators(self) -> list[nn.Module]:
        """Those there are, frames first."""
        return [d for d in (self.frame_discriminator, self.clip_discriminator) if d is not None]

    @property
    def is_adversarial(self) -> bool:
        """Whether the discriminators take part in this step."""
        return (
            bool(self.discriminators) and self.adversarial_weight > 0 and self.global_step >= self.start_step
        )

    # --- losses -----------------------------------------------------------------------------------------------

    def pixels(self, video: Tensor, rebuilt: Tensor) -> Tensor:
        """Mean absolute or squared error, a scalar."""
        error = video - rebuilt
        return error.abs().mean() if self.pixel_loss == "l1" else error.square().mean()

    def chosen_frames(self, positions: list[int], videos: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Of each of two videos the frames ``[N, 3, H, W]`` that are looked at one by one, the same of both."""
        if self.frames == "all":
            return all_frames(videos[0]), all_frames(videos[1])
        chosen = uniforms([(self.seed, "train", "frame", p) for p in positions], self.device)
        return one_frame_each(videos[0], chosen), one_frame_each(videos[1], chosen)

    def adversarial(
        self, video: Tensor, rebuilt: Tensor, frames: Tensor, rebuilt_frames: Tensor, reconstruction: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What both players add to the loss, and its parts."""
        verdict, features, discriminator_loss = [], [], []
        for judge, real, made in (
            (self.frame_discriminator, frames, rebuilt_frames),
            (self.clip_discriminator, video, rebuilt),
        ):
            if judge is None:
                continue
            seen = judge(real)
            looked_through = frozen(judge, made)
            verdict.append(-looked_through[-1].float().mean())
            features.append(feature_matching(seen, looked_through))
            discriminator_loss.append(hinge(seen[-1], judge(made.detach())[-1]))
        generator = torch.stack(verdict).sum()
        scale = torch.ones_like(generator)
        if self.adaptive:
            scale = balance(reconstruction, generator, self.autoencoder.last_layer)
        total = scale * generator
        if self.feature_matching_weight:
            total = total + self.feature_matching_weight * torch.stack(features).sum()
        judged = torch.stack(discriminator_loss).sum()
        parts = {"generator": generator, "discriminator": judged, "adversarial_scale": scale}
        return self.adversarial_weight * total + judged, parts

    def losses(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The training loss of a batch and its parts, scalars."""
        video, positions = batch["video"], batch["sample"].tolist()
        shape = tuple(self.autoencoder.latent_shape(tuple(video.shape[1:])))
        noise = normals([(self.seed, "train", "posterior", p) for p in positions], shape, self.device)
        rebuilt, kl = self.autoencoder(video, noise)
        if self.clamp_loss:
            rebuilt = clamp_through(rebuilt)
        frames, rebuilt_frames = self.chosen_frames(positions, (video, rebuilt))
        parts = {"pixel": self.pixels(video, rebuilt), "kl": kl.float().mean() / video[0, :, 0].numel()}
        reconstruction = self.pixel_weight * parts["pixel"]
        if self.perceptual is not None:
            parts["perceptual"] = self.perceptual(rebuilt_frames, frames).mean()
            reconstruction = reconstruction + self.perceptual_weight * parts["perceptual"]
        loss = reconstruction + self.kl_weight * parts["kl"]
        if self.is_adversarial:
            added, more = self.adversarial(video, rebuilt, frames, rebuilt_frames, reconstruction)
            loss, parts = loss + added, parts | more
        else:  # DDP waits for a gradient of every parameter
            loss = loss + sum(0.0 * p.sum() for d in self.discriminators for p in d.parameters())
        return loss, parts

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        first = int(batch["sample"][0])
        torch.manual_seed(key_to_seed(self.seed, "dropout", first, self.global_rank))
        loss, parts = self.losses(batch)
        count = len(batch["sample"])
        self.log("train/loss", loss.detach(), batch_size=count, sync_dist=self.trainer.world_size > 1)
        self.log_dict({f"train/{name}": value.detach() for name, value in parts.items()}, batch_size=count)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self.is_adversarial:
            return
        for discriminator in self.discriminators:  # a zero gradient is not none: moments and decay would act
            for parameter in discriminator.parameters():
                parameter.grad = None

    # --- looking ----------------------------------------------------------------------------------------------

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log_scores(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log_scores(batch, "test")

    def log_scores(self, batch: dict[str, Any], name: str) -> None:
        """Log how well clips come back from the mode of their latents, and mean and deviation of the scaled latents."""
        from videodiff.metrics.reconstruction import psnr, ssim

        video, rebuilt = batch["video"], self.rebuild(batch["video"])
        scores = {
            "l1": (video - rebuilt).abs().mean(),
            "loss": self.pixel_weight * self.pixels(video, rebuilt),
        }
        scores["psnr"] = psnr(video, rebuilt, value_range=(-1.0, 1.0)).mean().float()
        if min(video.shape[-2:]) >= 11:
            scores["ssim"] = ssim(video, rebuilt, value_range=(-1.0, 1.0)).mean().float()
        if self.perceptual is not None:
            scores["lpips"] = self.perceptual(all_frames(rebuilt), all_frames(video)).mean()
            scores["loss"] = scores["loss"] + self.perceptual_weight * scores["lpips"]
        latent = self.autoencoder.encode(video)
        scores |= {"latent_mean": latent.mean(), "latent_std": latent.std()}
        self.log_dict(
            {f"{name}/{key}": value for key, value in scores.items()},
            batch_size=num_counted(batch),  # type: ignore[arg-type]  # a float, for the reason told there
            on_epoch=True, on_step=False, sync_dist=True,
        )  # fmt: skip

    @torch.no_grad()
    def rebuild(self, video: Tensor) -> Tensor:
        """Clips ``[B, 3, T, H, W]`` in [-1, 1] through the mode of their latents and back, fp32 in [-1, 1]."""
        return self.autoencoder.decode(self.autoencoder.encode(video)).float().clamp(-1, 1)

    def predict_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Reconstruct each clip.

        Returns:
            ``video`` and ``truth`` ``[B, 3, T, H, W]`` in [-1, 1]; ``given`` 0 (no frame is taken over); ``sample``.
        """
        video = batch["video"]
        return {"video": self.rebuild(video), "truth": video, "given": 0, "sample": batch["sample"]}

    # --- optimizer --------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.autoencoder.parameters() if p.requires_grad]}
        ]
        judges = [p for d in self.discriminators for p in d.parameters()]
        if judges:
            rate = {} if self.discriminator_lr is None else {"lr": self.discriminator_lr}
            groups.append({"params": judges, **rate})
        return with_rate(self, self.make_optimizer, groups, self.make_lr_scheduler)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip each player by itself: a discriminator's large gradient must not shrink the autoencoder's.

        Gradients are those of all processes here, so every process clips by the same norm.
        """
        own = self.discriminators if self.discriminator_clip is not None else []
        if gradient_clip_val or own:
            check_unscaled(self.trainer, optimizer)
        for group in optimizer.param_groups[:1] if own else optimizer.param_groups:
            clip(group["params"], gradient_clip_val, gradient_clip_algorithm)
        for discriminator in own:
            clip(discriminator.parameters(), self.discriminator_clip, "norm")
