"""Generates sheets of samples during training."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from videodiff.callbacks.ema import EMA
from videodiff.callbacks.shown import show_picture, show_video
from videodiff.callbacks.watchdog import Watchdog
from videodiff.conditioning.request import Request
from videodiff.data.video_io import scale_to_see, to_uint8, video_grid, write_mp4
from videodiff.sampling.video_model import generates_video, video_model
from videodiff.trainer import callbacks_of


class SampleLogger(Callback):
    """Generate a sheet of videos from fixed noise at regular steps, with the averaged weights if there are any.

    An autoencoder generates none: its sheet shows clips of the first validation batch (of the training batch before the
    first validation) with their reconstructions to the right, and the planes of a triplane autoencoder are shown beside
    it by the loggers. The sheet, small clips enlarged by whole numbers, goes to ``samples/step_<n>.mp4`` in the run
    folder and to every logger that can show it: TensorBoard (an animated GIF), Weights & Biases, MLflow. Rank 0 draws;
    training is not disturbed (mode, weights and random state are put back).

    Args:
        every_n_steps: optimizer steps between sheets; 0 generates none.
        num_videos: videos on a sheet.
        num_frames: their length; none means one clip of the model.
        seed: of their noise, so that sheets of different steps show the same videos getting better.
        fps: frames per second of the files.
        label: class of each video for a class-conditional model, repeated as needed; None = unconditional.
        prompt: what each video shows, for a model that takes words, repeated as needed; None is the captions of the
            first validation clips (of the training batch before the first validation).

    Raises:
        ValueError: if a count or fps is not positive.
    """

    def __init__(
        self,
        every_n_steps: int = 1000,
        num_videos: int = 9,
        num_frames: int | None = None,
        seed: int = 0,
        fps: float = 8.0,
        label: tuple[int, ...] | None = None,
        prompt: tuple[str, ...] | None = None,
    ) -> None:
        if every_n_steps < 0 or num_videos < 1 or fps <= 0 or (num_frames is not None and num_frames < 1):
            raise ValueError(
                "samples: num_videos, num_frames and fps must be positive and every_n_steps not negative, "
                f"got {every_n_steps}, {num_videos}, {num_frames}, {fps}"
            )
        self.every_n_steps, self.num_videos, self.num_frames = every_n_steps, num_videos, num_frames
        self.seed, self.fps, self.label, self.prompt = seed, fps, label, prompt
        self.step = 0
        self.originals: Tensor | None = None  # validation clips [N, 3, T, H, W], for modules that reconstruct
        self.captions: list[str] | None = None  # of validation clips, for models that take words

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse a sheet that the model cannot generate, before the first step.

        Raises:
            ValueError: naming the options of the sheet.
        """
        if stage != "fit" or not self.every_n_steps or not generates_video(pl_module):
            return
        model = video_model(pl_module)
        try:
            model.check_request(self.request, self.num_frames or model.video_shape[1])
        except ValueError as error:
            set_here = {
                "num_frames": self.num_frames,
                "label": self.label and list(self.label),
                "prompt": self.prompt and list(self.prompt),
            }
            words = " and ".join(f"samples.{name} {value}" for name, value in set_here.items() if value)
            raise ValueError(f"{words or 'samples'} cannot be generated: {error}") from None

    @property
    def request(self) -> Request:
        """The conditions of the videos on a sheet, as far as its options say them."""
        label = torch.tensor(self.label) if self.label else None
        return Request(label=label, prompt=tuple(self.prompt or ())).of_videos(range(self.num_videos))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.step = trainer.global_step

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        *args: Any,
    ) -> None:
        if self.originals is None and batch_idx == 0 and pl_module.rebuilds:
            self.originals = batch["video"][: self.num_videos].cpu()
        if self.captions is None and batch_idx == 0:
            self.captions = batch.get("caption")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self.step:
            return
        self.step = step
        if self.every_n_steps and step % self.every_n_steps == 0 and trainer.is_global_zero:
            self.log_videos(trainer, self.draw(trainer, pl_module, batch), step)
            self.log_picture(trainer, self.generate_picture(trainer, pl_module, batch), step)

    @torch.no_grad()
    def draw(self, trainer: pl.Trainer, pl_module: Any, batch: Any = None) -> Tensor:
        """Videos as uint8 ``[N, T, H, W, 3]`` on the CPU; ``batch`` is what to reconstruct for want of another."""
        arguments: dict[str, Any] = {"num_frames": self.num_frames, "seed": self.seed}
        request = self.request
        captions = self.captions or (batch or {}).get("caption")
        if not pl_module.rebuilds and captions and not request.prompt and "prompt" in pl_module.answers:
            request = replace(request, prompt=tuple(captions)).of_videos(range(self.num_videos))
        arguments["request"] = request
        dogs = [c for c in callbacks_of(trainer) if isinstance(c, Watchdog)]

        def beat(done: int, total: int) -> None:
            for dog in dogs:
                dog.beat()

        arguments["progress"] = beat
        with self.looking(trainer, pl_module):
            if pl_module.rebuilds:
                clips = self.clips(pl_module, batch)
                videos = torch.cat([clips, pl_module.rebuild(clips)], dim=-1)  # side by side
            else:
                videos = pl_module.generate(self.num_videos, **arguments)
        return to_uint8(videos).permute(0, 2, 3, 4, 1).cpu()  # [N, 3, T, H, W] -> [N, T, H, W, 3]

    @torch.no_grad()
    def generate_picture(self, trainer: pl.Trainer, pl_module: Any, batch: Any) -> Tensor | None:
        """The latents of the same clips as an autoencoder shows them: uint8 ``[height, width]``, or none."""
        if not pl_module.rebuilds:
            return None
        with self.looking(trainer, pl_module):
            return pl_module.autoencoder.picture(pl_module.autoencoder.encode(self.clips(pl_module, batch)))

    def clips(self, pl_module: pl.LightningModule, batch: Any) -> Tensor:
        """Clips ``[N, 3, T, H, W]`` to reconstruct, on the module's device."""
        clips = batch["video"][: self.num_videos] if self.originals is None else self.originals
        return clips.to(pl_module.device)

    @contextmanager
    def looking(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterator[None]:
        """Averaged weights in evaluation mode and the run's precision; afterwards all is as it was."""
        average = next((c for c in callbacks_of(trainer) if isinstance(c, EMA)), None) or EMA()
        modes = {module: module.training for module in pl_module.modules()}
        devices = [pl_module.device] if pl_module.device.type == "cuda" else []
        pl_module.eval()
        try:
            with (
                torch.random.fork_rng(devices),
                trainer.precision_plugin.forward_context(),
                average.averaged(),
            ):
                yield
        finally:
            for module, training in modes.items():
                module.training = training

    def log_picture(self, trainer: pl.Trainer, picture: Tensor | None, step: int) -> None:
        """Hand a picture of latents to every logger that shows pictures."""
        if picture is not None:
            show_picture(trainer.loggers, "latents", picture, step)

    def log_videos(self, trainer: pl.Trainer, videos: Tensor, step: int) -> None:
        """Write the sheet to the run folder and to every logger that shows videos; a full disk does not end the run."""
        sheet = video_grid(videos)
        scale = scale_to_see(videos.shape[2:4], sheet.shape[1:3])
        file = Path(trainer.default_root_dir) / "samples" / f"step_{step:06d}.mp4"
        try:
            write_mp4(file, sheet, fps=self.fps, scale=scale)
        except OSError as err:
            print(f"samples of step {step} not written: {err}", file=sys.stderr, flush=True)
        show_video(trainer.loggers, "samples", file, sheet, step, self.fps, scale)
