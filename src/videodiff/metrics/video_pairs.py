"""PSNR, SSIM and LPIPS of reconstructions as torchmetrics classes: a value per clip, gathered, averaged over clips."""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from videodiff import weights
from videodiff.metrics.clip_metric import ClipMetric, Table
from videodiff.metrics.entry import Entry, mean_entry
from videodiff.metrics.features.lpips import SMALLEST, trunk_file
from videodiff.metrics.reconstruction import SSIM_WINDOW, mean_of_clips, psnr, ssim

FRAMES_AT_ONCE = 32


def pair_metrics(side: int) -> dict[str, PairMetric]:
    """PSNR, SSIM and LPIPS by name, those that frames of this shorter side and the weights on this machine allow.

    Nothing is downloaded for a figure that nobody asked for.
    """
    found: dict[str, PairMetric] = {"psnr": PSNR(sync_on_compute=False)}
    if side >= SSIM_WINDOW:
        found["ssim"] = SSIM(sync_on_compute=False)
    if side >= SMALLEST["alex"] and lpips_is_at_hand():
        found["lpips"] = LPIPSMetric(sync_on_compute=False)
    return found


def lpips_is_at_hand() -> bool:
    """Whether the weights of LPIPS lie on this machine."""
    folders = [os.environ.get("VIDEODIFF_WEIGHTS"), weights.cache_folder()]
    names = trunk_file("alex").filenames
    return any(
        Path(folder).expanduser().joinpath(name).is_file() for folder in folders if folder for name in names
    )


class PairMetric(ClipMetric):
    """Compares each clip with its reconstruction.

    A subclass gives `name` and ``values``. The value of every clip is kept (:meth:`per_clip`), so that intervals and
    paired differences of two models can be taken.

    Args:
        num_clips: how many clips the protocol asks for; fewer make ``compute`` warn.
        kwargs: of ``torchmetrics.Metric``.
    """

    higher_is_better = True
    name: str

    def __init__(self, num_clips: int | None = None, **kwargs: Any) -> None:
        super().__init__(num_clips=num_clips, **kwargs)
        self._add_table("clip", Table(1))

    @abstractmethod
    def values(self, real: Tensor, generated: Tensor) -> Tensor:
        """The value of each pair, ``[B]``, of checked uint8 clips."""

    def update(self, real: Tensor, generated: Tensor, index: Tensor | None = None) -> None:
        """Add clips and their reconstructions.

        Args:
            real: uint8 ``[B, T, H, W, 3]``.
            generated: uint8, the reconstructions in the same order.
            index: number of each clip in its set, ``[B]``; repeats are dropped.

        Raises:
            TypeError: if the clips are not uint8.
            ValueError: if the shapes differ from each other or the length from earlier clips.
        """
        real, generated = self._check_clips(real, "real"), self._check_clips(generated, "generated")
        if real.shape != generated.shape:
            raise ValueError(
                f"clips {list(real.shape)} and reconstructions {list(generated.shape)} must have one shape"
            )
        if len(real):
            with torch.random.fork_rng(
                devices=[]
            ):  # a network made at its first use draws no number of the run
                values = self.values(real, generated)
            self._append("clip", values[:, None], index)
            self._remember(real)

    def per_clip(self) -> Tensor:
        """Values of all clips of all processes in their order, float64 ``[N]``; call it on every process."""
        with self._over_processes():
            return torch.from_numpy(self._gathered("clip")[0][:, 0])

    def entry(self) -> Entry:
        """Mean and interval as results hold them; a PSNR that is infinite is left out and counted."""
        return mean_entry(self.per_clip().numpy())

    def compute(self) -> Tensor:
        """Mean over clips, float64.

        Raises:
            ValueError: if there is no clip.
        """
        values = torch.from_numpy(self._gathered("clip")[0][:, 0])
        if not len(values):
            raise ValueError(f"{self.name} needs at least 1 clip, got 0")
        self._check_count("reconstructed", len(values))
        return mean_of_clips(values, self.name)


class PSNR(PairMetric):
    """Mean over clips of :func:`~videodiff.metrics.reconstruction.psnr` in dB.

    Args:
        reduce: mean square over whole clips (``psnr``), or dB per frame (``psnr_frame``).
        num_clips: how many clips the protocol asks for.
        kwargs: of ``torchmetrics.Metric``.
    """

    def __init__(
        self, reduce: Literal["clip", "frame"] = "clip", num_clips: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(num_clips, **kwargs)
        if reduce not in ("clip", "frame"):
            raise ValueError(f"reduce must be clip or frame, got {reduce!r}")
        self.reduce: Literal["clip", "frame"] = reduce
        self.name = "psnr" if reduce == "clip" else "psnr_frame"

    def values(self, real: Tensor, generated: Tensor) -> Tensor:
        return psnr(real, generated, self.reduce)


class SSIM(PairMetric):
    """Mean over clips of :func:`~videodiff.metrics.reconstruction.ssim`, the valid region alone."""

    name = "ssim"

    def values(self, real: Tensor, generated: Tensor) -> Tensor:
        return ssim(real, generated)


class LPIPSMetric(PairMetric):
    """Learned perceptual distance, mean over frames and clips (Zhang et al. 2018, version 0.1).

    Args:
        lpips: the network, two of ``[b, 3, H, W]`` in [-1, 1] -> ``[b]``, such as ``videodiff.metrics.features.LPIPS``;
            it is no submodule of the metric. None makes the one over AlexNet.
        num_clips: how many clips the protocol asks for.
        kwargs: of ``torchmetrics.Metric``.
    """

    higher_is_better = False
    lpips: nn.Module

    def __init__(self, lpips: nn.Module | None = None, num_clips: int | None = None, **kwargs: Any) -> None:
        super().__init__(num_clips, **kwargs)
        if lpips is None:
            from videodiff.metrics.features import LPIPS

            lpips = LPIPS(net="alex")
        self.__dict__["lpips"] = lpips.eval()
        self.name = f"lpips_{getattr(lpips, 'net', type(lpips).__name__.lower())}"

    @torch.no_grad()
    def values(self, real: Tensor, generated: Tensor) -> Tensor:
        pairs = [x.movedim(-1, 2).float() / 127.5 - 1 for x in (real, generated)]  # [B, T, 3, H, W]
        rows = []
        for x, y in zip(*pairs, strict=True):
            # The same pieces for every batch size, so that a clip's value does not depend on its neighbours.
            pieces = zip(x.split(FRAMES_AT_ONCE), y.split(FRAMES_AT_ONCE), strict=True)
            rows.append(torch.cat([self.lpips(*piece).flatten() for piece in pieces]).double().mean())
        return torch.stack(rows)
