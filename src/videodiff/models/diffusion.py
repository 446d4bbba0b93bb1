"""The diffusion model of all families: the training step and the optimiser; sampling is in ``sampling.py``.

What tells families apart is not here: the autoencoder says what a latent is (``networks/latents.py``), conditioners
the conditions of a sample (``conditioning/``), and a plan for long video (``sampling/``).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from videodiff.conditioning import Conditioner, Conditioners, Example, Keys
from videodiff.diffusion import (
    Condition,
    Errors,
    NoiseSchedule,
    Prediction,
    Sampler,
    TrainingTimes,
    Weighting,
    check_end,
    diffusion_errors,
)
from videodiff.diffusion.denoiser import call_network
from videodiff.diffusion.windows import Window
from videodiff.frame_size import FrameSize, Resolution
from videodiff.models.clip_shapes import check_buckets, check_clip_shape
from videodiff.models.clipping import check_unscaled, clip
from videodiff.models.optimizer import LRSchedulerCallable, groups_by_rate, with_rate
from videodiff.models.sampling import SamplingModule
from videodiff.models.trained import OptimizerCallable, TrainedModule
from videodiff.networks import Autoencoder, PixelSpace, as_network
from videodiff.sampling import Autoregressive, LongVideo
from videodiff.sampling.continuation import continued
from videodiff.say import say
from videodiff.seeding import key_to_seed

HOOKS = ("prepare", "condition_on", "encode_given")  # what conditioners and latents do now


def num_counted(batch: dict[str, Any]) -> float:
    """Clips of a validation or test batch that count: none where it is a stand-in for a process without clips.

    A float, since Lightning averages the counts of the processes too, and cuts an integer: 3 clips on 2 would be 1.
    """
    return 0.0 if batch.get("stand_in") else float(len(batch["sample"]))


class DiffusionModule(SamplingModule, TrainedModule):
    """A denoising network, its noise schedule and its sampler, trained and sampled as one.

    Args:
        net: the network, ``(z [B, C, *S], time [B], Condition) -> [B, C, *S]``.
        schedule: the noise schedule, shared by training and sampling.
        sampler: the loop over time that ``generate`` runs.
        autoencoder: video <-> latent; none means pixels. It is frozen: its own training is another run.
        conditioners: the conditions of a sample, applied in this order.
        plan: how a video longer than a clip is generated; by default window by window, overlapping by half a clip.
        prediction: what the network's output means: noise (eps), data (x), velocity (v) or noise less data (flow).
        weighting: weight of each noise level in the loss: simple, truncated_snr (Salimans & Ho 2022), min_snr (Hang
            et al. 2023), flow (that of a simple loss of flow, for any prediction) or, with a time for each unit,
            fused_snr (Chen et al. 2024).
        min_snr_gamma: where min_snr and fused_snr cut the signal-to-noise ratio, above 0; they take 5.
        times: distribution of the noise levels in training; none is uniform in the schedule's time.
        loss_norm: l2 (mean squared error) or l1 (mean absolute error).
        clamp_loss: compare estimates of x as the sampler's threshold will leave them, clipped to [-1, 1]; see
            ``diffusion_loss``. For prediction x of pixels, most of which are black.
        guidance_scale: classifier-free guidance at sampling; 1 is no guidance.
        guidance_rescale: share of a guided estimate that is brought back to the standard deviation of the conditional
            one, from 0, none, to 1; against the contrast that a large scale adds (Lin et al. 2024, who take 0.7).
        threshold: keep estimates of x in [-1, 1] while sampling: static clamp, dynamic (Imagen) or none.
        threshold_quantile: of ``|x|`` in each sample, which a dynamic threshold divides by where it is above 1; in
            (0, 1] (Saharia et al. 2022, who take 0.995).
        optimizer: parameters -> optimizer.
        lr_scheduler: optimizer -> learning-rate scheduler, stepped once per optimizer step; none keeps the rate.
            ``LearningRate`` is a warm-up with constant, linear, cosine or stable-decay behind it.
        rate_factors: pattern of parameter names (``net.embedding.*``) -> factor of the learning rate; the first that
            matches counts.
        seed: of training noise, times and condition drops; the command line sets it from ``seed_everything``.
        compile: compile the network's repeated blocks in place before training (worth it on a GPU).
        num_frames: units of a clip (frames of pixels, latent frames) for a network that states none. None is what the
            autoencoder was trained on; in pixels the command line sets it from ``data.num_frames``.
        resolution: height and width of pixels for a network that states none; the command line sets it from
            ``data.resolution``.

    Raises:
        ValueError: for a number out of its range, or one that the choice beside it leaves without effect.
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: NoiseSchedule,
        sampler: Sampler,
        autoencoder: Autoencoder | None = None,
        conditioners: Sequence[Conditioner] = (),
        plan: LongVideo | None = None,
        prediction: Prediction = "v",
        weighting: Weighting = "simple",
        min_snr_gamma: float = 5.0,
        times: TrainingTimes | None = None,
        loss_norm: Literal["l2", "l1"] = "l2",
        clamp_loss: bool = False,
        guidance_scale: float = 1.0,
        guidance_rescale: float = 0.0,
        threshold: Literal["static", "dynamic", "none"] = "static",
        threshold_quantile: float = 0.995,
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=1e-4),
        lr_scheduler: LRSchedulerCallable | None = None,
        rate_factors: dict[str, float] | None = None,
        seed: int = 0,
        compile: bool = False,
        num_frames: int | None = None,
        resolution: Resolution | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= guidance_scale < math.inf:
            raise ValueError(f"guidance_scale must be at least 0 (1 is no guidance), got {guidance_scale}")
        if not 0 <= guidance_rescale <= 1:
            raise ValueError(f"guidance_rescale must lie in [0, 1], got {guidance_rescale}")
        if threshold not in ("static", "dynamic", "none"):
            raise ValueError(f"threshold must be static, dynamic or none, got {threshold!r}")
        if not 0 < threshold_quantile <= 1:
            raise ValueError(f"threshold_quantile must lie in (0, 1], got {threshold_quantile}")
        if threshold != "dynamic" and threshold_quantile != 0.995:
            raise ValueError(
                f"threshold_quantile {threshold_quantile} is of threshold dynamic and has no effect on {threshold}"
            )
        if not 0 < min_snr_gamma < math.inf:
            raise ValueError(f"min_snr_gamma must be above 0 and finite, got {min_snr_gamma}")
        if weighting not in ("min_snr", "fused_snr") and min_snr_gamma != 5:
            raise ValueError(
                f"min_snr_gamma {min_snr_gamma} is of weightings min_snr and fused_snr and has no effect on {weighting}"
            )
        if clamp_loss and (prediction != "x" or threshold == "none"):
            raise ValueError(
                "clamp_loss trains what a threshold clips: it needs prediction x and a threshold, "
                f"got prediction {prediction} and threshold {threshold}"
            )
        check_end(prediction, schedule)  # here, and not when the trained model is first asked for a video
        self.net, self.schedule, self.sampler = net, schedule, sampler
        part = "--model.net" if resolution is None else "--model"
        self.size_options = {name: f"{part}.{name}" for name in ("num_frames", "resolution")}
        # beside the module tree: the weights of a plain module keep their names
        self.__dict__["network"] = as_network(net, num_frames, resolution)
        self.autoencoder = (autoencoder or PixelSpace()).requires_grad_(False)
        self.prediction, self.weighting, self.loss_norm = prediction, weighting, loss_norm
        self.min_snr_gamma, self.clamp_loss, self.times = min_snr_gamma, clamp_loss, times
        self.guidance_scale, self.threshold = guidance_scale, threshold
        self.guidance_rescale, self.threshold_quantile = guidance_rescale, threshold_quantile
        self.make_optimizer, self.make_lr_scheduler = optimizer, lr_scheduler
        self.rate_factors = rate_factors or {}
        self.seed, self.compile_net, self.keys = seed, compile, Keys
        self.conditioners = Conditioners(conditioners)
        self.plan = plan or Autoregressive(self.autoencoder.latents(self.network).clip_units // 2)
        for conditioner in self.conditioners:
            conditioner.attach(self.network, self.latents)
        self.plan.check(self.latents.clip_units)
        self.network.check_latents(self.latents)
        if not self.has_unit_times and (weighting == "fused_snr" or self.plan.needs_unit_times):
            what = "weighting fused_snr" if weighting == "fused_snr" else f"plan {type(self.plan).__name__}"
            raise ValueError(
                f"{what} is for units with noise levels of their own: put videodiff.conditioning.Forcing among the "
                "conditioners"
            )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if old := [name for name in HOOKS if name in vars(cls)]:
            raise TypeError(
                f"{cls.__name__} overrides {', '.join(old)}, which conditioners and latents do now: give a Conditioner "
                "with learn and tell in conditioners=[...] (docs/add_a_model.md)"
            )

    # --- training ---------------------------------------------------------------------------------------------

    def keys_of(self, batch: dict[str, Any], split: str) -> Keys:
        """The random numbers of a batch."""
        return self.keys(self.seed, split, batch["sample"].tolist(), self.device)

    def example(self, batch: dict[str, Any], split: str) -> Example:
        """A batch as it is learnt: what the conditioners make of it, one after another, less what is dropped."""
        example = Example(batch, self.latents, self.keys_of(batch, split))
        for conditioner in self.conditioners:
            example = conditioner.learn(example)
            if split == "train" and conditioner.drop > 0:
                keep = example.keys.uniforms(split, "drop") >= conditioner.drop
                example = replace(example, cond=example.cond.drop(keep, conditioner.fields))
        return example

    def losses(self, batch: dict[str, Any], split: str) -> Tensor:
        """The loss of each sample, ``[B]`` fp32: the mean over all that it learns, of which an image is as a frame."""
        return self.errors(batch, split)[0].mean()

    def errors(self, batch: dict[str, Any], split: str) -> tuple[Errors, Condition]:
        """The errors of all places, and what the network was told."""
        example = self.example(batch, split)
        x, keys = example.x, example.keys
        t = self.draw_times(keys.uniforms(split, "time") if example.times is None else example.times)
        eps = self.limited(keys.normals(split, "noise", shape=tuple(x.shape[1:])))
        how = (self.prediction, self.weighting, self.loss_norm, self.min_snr_gamma, self.clamp_loss)
        told = (example.cond, *how, example.known, self.network.is_causal)
        return diffusion_errors(self.net, self.schedule, x, eps, t, *told), example.cond

    def draw_times(self, u: Tensor) -> Tensor:
        """Training times from uniform numbers in [0, 1), shaped as they are."""
        return self.schedule.draw_times(u) if self.times is None else self.times.draw(u, self.schedule)

    def latents_of(self, video: Tensor) -> Tensor:
        """What is kept of training clips ``[B, 3, T, H, W]`` so that none is encoded again: ``[B, C, U, *S]``, fp32.

        Training takes it as ``batch["latent"]`` in place of ``batch["video"]``.
        """
        return self.latents.encode(video)

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        self.check_data(data)
        if stage == "fit":
            self.check_samplers()
            used = {name for c in self.conditioners if c.is_used for name in c.learns_from}
            there: dict[str, str] | None = getattr(data, "annotations", lambda: None)()
            for name in sorted((there or {}).keys() - used):
                say(f"{(there or {})[name]} of the data: no part of this model learns from them")
            for conditioner in self.conditioners if there is not None else ():
                conditioner.check_training(there or {})
        if stage == "fit" and self.compile_net:
            self.network.compile_blocks()

    @property
    def sample_frames(self) -> int:
        """Frames that a clip of the data must have at least."""
        return max([self.video_shape[1], *(c.sample_frames(self.latents) for c in self.conditioners)])

    def check_data(self, data: Any) -> None:
        """Refuse data whose clips or classes are not what the model learns.

        Raises:
            ValueError: naming the option of the data.
        """
        frames, resolution = getattr(data, "num_frames", None), getattr(data, "resolution", None)
        images = getattr(data, "images_per_video", 0)
        if images and not self.latents.takes_images:
            raise ValueError(
                f"the latent of this first stage is one of a whole clip of {self.video_shape[1]} frames, in which a "
                f"still image has no place: data.images_per_video must be 0, got {images}"
            )
        if images and not self.network.takes_images:
            raise ValueError(
                f"{type(self.net).__name__} takes no still images with a clip: data.images_per_video must be 0, got "
                f"{images} (a network that does says takes_images = True, as UNet3D with norm frame)"
            )
        if images and not any(c.takes_images for c in self.conditioners):
            raise ValueError(
                f"{type(self).__name__} learns no still images beside its clips (it has no conditioner Images): "
                f"data.images_per_video must be 0, got {images}"
            )
        setters = [c for c in self.conditioners if c.sets_frames]
        check_buckets(data, self.video_shape, None if setters else self.network, self.latents)
        if not setters:
            latent = self.first_stage
            options = self.size_options if latent is None else latent.size_options
            check_clip_shape(data, self.video_shape, options)
        for conditioner in setters:
            if frames is not None:
                conditioner.check_frames(frames, self.latents)
        if setters and resolution is not None:
            size, own = FrameSize.of(resolution, "data.resolution"), FrameSize(*self.video_shape[2:])
            if size != own:
                raise ValueError(
                    f"data.resolution must be what the first stage was trained on, {own}, got {size}"
                )
        self.check_classes(data)
        for conditioner in self.conditioners:
            conditioner.check_data(data)

    def check_classes(self, data: Any) -> None:
        """Refuse data with more classes than the network was built for."""
        known, needed = self.num_classes, getattr(data, "num_classes", None)
        if known is not None and needed is not None and needed > known:
            raise ValueError(
                f"the data have {needed} classes, the network {known}; set --model.net.num_classes {needed}, "
                "or --data.classes none to train without them"
            )

    @property
    def core(self) -> nn.Module:
        return self.net

    @property
    def calls_per_clip(self) -> int:
        if not self.has_unit_times:
            return self.sampler.calls(self.schedule)
        levels = self.levels(self.sampler, Window(tuple(range(self.latents.clip_units))))
        return int((levels[1:] != levels[:-1]).any(1).sum())

    @property
    def encoded_share(self) -> float:
        return math.prod(conditioner.encoded_share for conditioner in self.conditioners)

    def training_loss(self, batch: dict[str, Any]) -> Tensor:
        return self.losses(batch, "train").mean()

    def use_keys(self, keys: type[Keys]) -> None:
        self.keys = keys

    def example_batch(self, data: Mapping[str, Any], size: int, device: torch.device | str) -> dict[str, Any]:
        latents, (_, _, height, width) = self.latents, self.video_shape
        frames = max(latents.whole(int(data.get("num_frames") or 0)), self.sample_frames)
        if data.get("is_bucket"):  # of a network that takes any shape
            frames, (height, width) = int(data["num_frames"]), FrameSize.of(data["resolution"])
        takes_images = any(conditioner.takes_images for conditioner in self.conditioners)
        images = int(data.get("images_per_video") or 0) if takes_images else 0
        batch: dict[str, Any] = {"video": torch.empty(size, 3, frames + images, height, width, device=device)}
        if images:
            batch["num_images"] = images
        if self.num_classes is not None:
            batch["label"] = torch.zeros(size, dtype=torch.long, device=device)
            if images:
                batch["image_labels"] = torch.zeros(size, images, dtype=torch.long, device=device)
        for conditioner in self.conditioners:
            batch |= conditioner.example(size, frames + images, device)
        if images and "caption" in batch:
            batch["image_captions"] = [[f"{i} {text}" for i in range(images)] for text in batch["caption"]]
        return batch

    def forward_once(self, device: torch.device | str) -> Tensor:
        shape = self.latents.network_shape(self.latents.clip_units)
        z, time = torch.zeros(1, *shape, device=device), torch.ones(1, device=device)
        return call_network(self.net, z, time, self.network.example_condition(shape[1:], device))

    def compute_once(self) -> None:
        for conditioner in self.conditioners:
            conditioner.compute_once()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        # Dropout is the one consumer of the global generator: give it a key too, so that a resumed step repeats it.
        first = int(batch["sample"][0])
        torch.manual_seed(key_to_seed(self.seed, "dropout", first, self.global_rank))
        errors, cond = self.errors(batch, "train")
        loss = errors.mean().mean()
        shown = {"train/loss": loss.detach()}
        if any(cond.images):  # beside it the means of the clips' frames and of the images
            of_units = errors.of_units().detach().mean(0)
            clips = len(cond.images) - sum(cond.images)
            shown |= {
                "train/loss_clips": of_units[:clips].mean(),
                "train/loss_images": of_units[clips:].mean(),
            }
        self.log_dict(shown, batch_size=len(batch["sample"]), sync_dist=self.trainer.world_size > 1)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log_losses(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log_losses(batch, "test")

    def predict_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Continue each clip from its first frames, see :func:`~videodiff.sampling.continuation.continued`."""
        return continued(self, batch, self.seed)

    def log_losses(
        self, batch: dict[str, Any], split: str, module: pl.LightningModule | None = None, name: str = "loss"
    ) -> None:
        """Log the mean over the whole set; every sample has its own fixed noise, so two checkpoints see the same."""
        (module or self).log(
            f"{split}/{name}",
            self.losses(batch, split).mean(),
            batch_size=num_counted(batch),  # type: ignore[arg-type]  # a float, for the reason told there
            on_epoch=True,
            on_step=False,
            sync_dist=True,
        )

    def configure_optimizers(self) -> Any:
        parts = [(name, self.get_submodule(name)) for name in ("net", "conditioners")]
        named = [(n, p) for name, part in parts for n, p in part.named_parameters(name) if p.requires_grad]
        if not self.rate_factors:
            return with_rate(self, self.make_optimizer, [p for _, p in named], self.make_lr_scheduler)
        groups, factors = groups_by_rate(named, self.rate_factors)
        return with_rate(self, self.make_optimizer, groups, self.make_lr_scheduler, factors)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as Lightning would, also where it refuses: a fused optimizer under bf16-mixed, without a loss scale."""
        if gradient_clip_val:
            check_unscaled(self.trainer, optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        clip(parameters, gradient_clip_val, gradient_clip_algorithm)
