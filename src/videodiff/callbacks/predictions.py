"""Writes predictions: lossless clips, a sheet beside the true clips, and their PSNR beside a trivial baseline."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from videodiff import atomic
from videodiff.callbacks.prediction_journal import RECORD, PredictionJournal
from videodiff.data import video_io
from videodiff.metrics.intervals import mean_difference_interval
from videodiff.say import counted


class PredictionWriter(pl.Callback):
    """Writes what ``predict_step`` returns: ``clip_<index>.mkv``, ``sheet.mp4`` and ``predictions.json``.

    Batches whose clips a prediction that was interrupted here has finished are not predicted again.

    The PSNR is that of the generated frames only (peak 2, as pixels lie in [-1, 1]), averaged over clips; beside it is
    that of repeating the last given frame, which any model should beat, and their difference clip by clip with a 95 %
    interval. Where no frame is given (the reconstructions of an autoencoder) there is no such baseline. Beside the PSNR
    of a clip stands what it was told in words.

    Args:
        directory: where to write.
        fps: frames per second of the files.
        sheet_clips: clips shown on the sheet.
    """

    def __init__(self, directory: str | Path, fps: int = 8, sheet_clips: int = 8) -> None:
        self.directory, self.fps, self.sheet_clips = Path(directory), fps, sheet_clips
        self.journal = PredictionJournal(directory)
        self.done: dict[int, dict[str, Any]] = {}
        self.scores: list[dict[str, Any]] = []
        self.shown: list[Tensor] = []

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.done = self.journal.done()
        if not self.done:
            return
        if trainer.is_global_zero:
            print(f"{counted(len(self.done), 'clip')} already there", file=sys.stderr, flush=True)
        predict = pl_module.predict_step

        def predict_missing(batch: dict[str, Any], *args: Any) -> dict[str, Any]:
            # A whole batch or nothing: what a clip looks like to the last bit may depend on those beside it.
            return {} if self.done.keys() >= set(batch["sample"].tolist()) else predict(batch, *args)

        pl_module.predict_step = predict_missing  # type: ignore[method-assign]  # of this one module, for this run

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        *_: Any,
    ) -> None:
        if batch.get("stand_in"):  # of a process without clips; the process that has this one writes it
            return
        if not outputs:
            self.take_over(batch)
            return
        video, truth, given = outputs["video"].float(), outputs["truth"].float(), outputs["given"]
        scores = {"psnr": psnr(video[:, :, given:], truth[:, :, given:])}
        if given:
            repeated = truth[:, :, given - 1 : given].expand_as(truth)
            scores["psnr_repeat_last"] = psnr(repeated[:, :, given:], truth[:, :, given:])
        clips, truths = as_frames(video), as_frames(truth)
        for i, index in enumerate(outputs["sample"].tolist()):
            video_io.write_lossless(self.journal.clip(index), clips[i], self.fps)
            told = {name: texts[i] for name, texts in outputs.get("texts", {}).items()}
            self.scores.append(
                {"clip": index, "given": given, **{k: v[i].item() for k, v in scores.items()}, **told}
            )
            if index not in self.done:
                self.journal.add(self.scores[-1])
            self.show(truths[i], clips[i])

    def take_over(self, batch: dict[str, Any]) -> None:
        """Scores and clips of a batch that an interrupted prediction has finished."""
        for index, truth in zip(batch["sample"].tolist(), as_frames(batch["video"].float()), strict=True):
            self.scores.append(self.done[index])
            if len(self.shown) < self.sheet_clips:
                self.show(truth, video_io.read_video(self.journal.clip(index)))

    def show(self, truth: Tensor, clip: Tensor) -> None:
        """Put a clip on the sheet, uint8 ``[T, H, W, 3]``: truth above, prediction below; while there is room."""
        if len(self.shown) < self.sheet_clips:
            self.shown.append(torch.cat([truth, clip], dim=1))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        scores = self.scores
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, scores)
            scores = [score for part in parts for score in part]
        if trainer.is_global_zero and scores:
            scores.sort(key=lambda score: score["clip"])
            means: dict[str, Any] = {
                key: float(np.mean([score[key] for score in scores]))
                for key in ("psnr", "psnr_repeat_last")
                if key in scores[0]
            }
            if "psnr_repeat_last" in means and len(scores) > 1:
                ours, theirs = (np.array([score[key] for score in scores]) for key in means)
                gain = mean_difference_interval(ours, theirs)
                means["psnr_gain"] = {"value": gain.value, "interval": [gain.low, gain.high]}
                print(
                    f"PSNR of the generated frames {means['psnr']:.2f} dB, of repeating the last given frame "
                    f"{means['psnr_repeat_last']:.2f} dB; difference {gain.value:+.2f} dB, 95 % interval "
                    f"{gain.low:+.2f} to {gain.high:+.2f} ({counted(len(scores), 'clip')})"
                )
            record = {**means, "count": len(scores), "given": scores[0]["given"], "clips": scores}
            sheet = video_io.video_grid(torch.stack(self.shown), columns=len(self.shown))
            height, width = self.shown[0].shape[1:3]
            scale = video_io.scale_to_see((height // 2, width), sheet.shape[1:3])
            video_io.write_mp4(self.directory / "sheet.mp4", sheet, self.fps, scale=scale)
            atomic.write_json(self.directory / RECORD, record)  # last: it says that the folder is complete
            self.journal.close()


def psnr(guess: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each clip in dB, ``[B, C, T, H, W] -> [B]``; pixels in [-1, 1] (peak 2)."""
    error = (guess.double() - truth.double()).square().flatten(1).mean(1)
    return 10 * torch.log10(4 / error.clamp(min=1e-12))


def as_frames(video: Tensor) -> Tensor:
    """Pixels ``[B, 3, T, H, W]`` in [-1, 1] -> uint8 ``[B, T, H, W, 3]``."""
    return video_io.to_uint8(video).permute(0, 2, 3, 4, 1).cpu()
