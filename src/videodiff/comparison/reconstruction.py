"""Reconstruction of real clips by the first stage of a latent model, and its training cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from videodiff.checkpoints import load_checkpoint, resolve_checkpoint, trusted_config
from videodiff.comparison.training import training_of
from videodiff.data.pixels import to_float, to_uint8
from videodiff.data.resize import resize
from videodiff.evaluation.plan import Batch
from videodiff.frame_size import FrameSize
from videodiff.metrics.entry import Entry
from videodiff.metrics.video_pairs import PairMetric, pair_metrics


@torch.no_grad()
def reconstruct(stage: Any, clips: Tensor, device: torch.device, rule: str = "antialias") -> Tensor:
    """Clips uint8 ``[B, T, H, W, 3]`` through a first stage and back, piece by piece of the length it was made for.

    A last piece that is shorter is filled up with its last frame, which is cut off again. Clips of another size than
    the stage's are brought to it by `rule`, and back.
    """
    size, frames, shown = int(stage.video_shape[1]), clips.shape[1], FrameSize(*clips.shape[2:4])
    own = FrameSize(*map(int, stage.video_shape[2:]))
    missing = -frames % size
    video = torch.cat([clips, clips[:, -1:].expand(-1, missing, -1, -1, -1)], 1)
    if shown != own:
        video = resize(video, own, rule)
    video = to_float(video).permute(0, 4, 1, 2, 3)
    pieces = [
        stage.decode(stage.encode(piece.to(device))).float().cpu() for piece in video.split(size, dim=2)
    ]
    rebuilt = torch.cat(pieces, 2)[:, :, :frames].clamp(-1, 1)
    rebuilt = to_uint8(rebuilt).permute(0, 2, 3, 4, 1).contiguous()
    return rebuilt if shown == own else resize(rebuilt, shown, rule)


class Reconstruction:
    """PSNR, SSIM and (where its weights are at hand) LPIPS over real clips.

    Args:
        stage: the first stage.
        device: where it lies.
        keep: reconstructions to keep for the page.
        rule: by which clips of another size than the stage's are brought to it and back.

    Attributes:
        kept: the first reconstructions, uint8 ``[keep, T, H, W, 3]``.
    """

    def __init__(self, stage: Any, device: torch.device, keep: int, rule: str = "antialias") -> None:
        self.stage, self.device, self.keep, self.rule = stage, device, keep, rule
        self.kept: list[Tensor] = []

    def measure(self, batches: Iterable[Batch]) -> dict[str, Entry]:
        """The metrics by name, each with its interval over clips."""
        found: dict[str, PairMetric] = {}
        for clips, rebuilt in self.pairs(batches):
            found = found or pair_metrics(min(clips.shape[2:4]))
            for metric in found.values():
                metric.update(clips, rebuilt)
        return {name: metric.entry() for name, metric in found.items()}

    def pairs(self, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
        """Clips and their reconstructions; the first are kept."""
        left = self.keep
        for batch in batches:
            rebuilt = reconstruct(self.stage, batch.clips, self.device, self.rule)
            if left > 0:
                self.kept.append(rebuilt[:left])
                left -= len(rebuilt)
            yield batch.clips, rebuilt


def stage_training(stage: Any) -> dict[str, Any] | None:
    """Training of a first stage from its own run, with the run's name; None if it is not known."""
    spec = stage.checkpoint
    if spec is None:
        return None
    try:
        path = resolve_checkpoint(spec)
        checkpoint = load_checkpoint(path)
        config = trusted_config(checkpoint, path)
    except (OSError, ValueError):
        return None
    found = training_of(path, config, checkpoint.get("global_step"))
    return {"run": spec, **vars(found)}
