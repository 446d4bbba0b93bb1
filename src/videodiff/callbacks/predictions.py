"""Predictions to files: a lossless clip each, a sheet beside the truth, and their PSNR beside a trivial baseline."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from videodiff.data import video_io
from videodiff.metrics.intervals import mean_difference_interval


class PredictionWriter(pl.Callback):
    """Writes what ``predict_step`` returns: ``clip_<index>.mkv``, ``sheet.mp4`` and ``predictions.json``.

    The PSNR is that of the drawn frames only (peak 2, as pixels lie in [-1, 1]), averaged over clips; beside it stands
    that of repeating the last given frame, which any model should beat, and their difference clip by clip with a 95 %
    interval. Where no frame is given (the reconstructions of an autoencoder) there is no such baseline.

    Args:
        directory: where to write.
        fps: frames per second of the files.
        sheet_clips: clips shown on the sheet.
    """

    def __init__(self, directory: str | Path, fps: int = 8, sheet_clips: int = 8) -> None:
        self.directory, self.fps, self.sheet_clips = Path(directory), fps, sheet_clips
        self.scores: list[dict[str, float]] = []
        self.shown: list[Tensor] = []

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
        video, truth, given = outputs["video"].float(), outputs["truth"].float(), outputs["given"]
        scores = {"psnr": psnr(video[:, :, given:], truth[:, :, given:])}
        if given:
            repeated = truth[:, :, given - 1 : given].expand_as(truth)
            scores["psnr_repeat_last"] = psnr(repeated[:, :, given:], truth[:, :, given:])
        clips, truths = as_frames(video), as_frames(truth)
        for i, index in enumerate(outputs["sample"].tolist()):
            video_io.write_lossless(self.directory / f"clip_{index:05d}.mkv", clips[i], self.fps)
            self.scores.append({"clip": index, "given": given, **{k: v[i].item() for k, v in scores.items()}})
            if len(self.shown) < self.sheet_clips:
                self.shown.append(torch.cat([truths[i], clips[i]], dim=1))  # truth above, prediction below

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
                    f"PSNR of the drawn frames {means['psnr']:.2f} dB, of repeating the last given frame "
                    f"{means['psnr_repeat_last']:.2f} dB; difference {gain.value:+.2f} dB, 95 % interval "
                    f"{gain.low:+.2f} to {gain.high:+.2f} ({len(scores)} clips)"
                )
            record = {**means, "count": len(scores), "given": scores[0]["given"], "clips": scores}
            (self.directory / "predictions.json").write_text(json.dumps(record, indent=2) + "\n")
            sheet = video_io.video_grid(torch.stack(self.shown), columns=len(self.shown))
            video_io.write_mp4(self.directory / "sheet.mp4", sheet, self.fps)


def psnr(guess: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each clip in dB, ``[B, C, T, H, W] -> [B]``; pixels in [-1, 1] (peak 2)."""
    error = (guess.double() - truth.double()).square().flatten(1).mean(1)
    return 10 * torch.log10(4 / error.clamp(min=1e-12))


def as_frames(video: Tensor) -> Tensor:
    """Pixels ``[B, 3, T, H, W]`` in [-1, 1] -> uint8 ``[B, T, H, W, 3]``."""
    return video_io.to_uint8(video).permute(0, 2, 3, 4, 1).cpu()
